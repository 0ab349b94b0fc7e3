"""The account service as this service needs it."""

import asyncio
from typing import TYPE_CHECKING

import grpc
from citycard.account.v1 import account_pb2
from citycard.account.v1 import account_service_pb2 as pb

from libs.errors import DependencyUnavailable
from libs.runtime.refusals import ErrorDetail, error_info
from services.card.adapters.events_out import timestamp
from services.card.application.ports import LedgerDisagrees, PurseNotOpen
from services.card.domain.card import Card
from services.card.domain.errors import OutletCreditExhausted
from services.card.domain.load import Load

if TYPE_CHECKING:
    from citycard.account.v1.account_service_pb2_grpc import AccountServiceAsyncStub

_ACCOUNT = "account"
# The issue of a card reaches the ledger by an event. A customer who loads the card at the same counter a second after
# buying it shall not be sent away: the ledger is asked again for as long, in seconds.
_OPENING_WAIT_S = (0.1, 0.2, 0.4, 0.8)
_DEBIT, _CREDIT = account_pb2.SIDE_DEBIT, account_pb2.SIDE_CREDIT


def load_legs(load: Load) -> list[account_pb2.Leg]:
    """What a load books: the outlet owes, the money is in doubt; confirmed, it is on the card.

    Section 9 of clearing-and-ledger.md knows two journals. They are held as one reservation, so that nothing is posted
    for a load that is not decided; pending credits of 2207 are the loads in doubt.
    """
    amount = load.order.amount_fen
    return [
        account_pb2.Leg(account=f"accounts/1221.{load.order.outlet}", side=_DEBIT, amount_fen=amount),
        account_pb2.Leg(account="accounts/2207", side=_CREDIT, amount_fen=amount),
        account_pb2.Leg(account="accounts/2207", side=_DEBIT, amount_fen=amount),
        account_pb2.Leg(account="accounts/2201", side=_CREDIT, amount_fen=amount, purse=f"purses/{load.purse}"),
    ]


class GrpcLedger:
    """`Ledger` over the account service.

    Args:
        stub: From `libs.runtime.client.Clients`, which retries and limits the time of every call.
    """

    def __init__(self, stub: "AccountServiceAsyncStub") -> None:
        self._stub = stub

    async def reserve(self, load: Load) -> str:
        """Hold the money of a load under the load's own id."""
        request = pb.ReserveRequest(
            request_id=load.id,
            posting=pb.Posting(
                event="load",
                reference=load.name,
                legs=load_legs(load),
                # Not the present moment: a repetition must have the same content.
                event_time=timestamp(load.create_time),
            ),
        )
        for pause_s in (*_OPENING_WAIT_S, None):
            try:
                return (await self._stub.Reserve(request)).name
            except grpc.RpcError as error:
                detail = _refusal(error)
                if detail.reason == "LIMIT_EXCEEDED":
                    raise OutletCreditExhausted(outlet=load.order.outlet) from error
                if detail.reason != "PURSE_UNKNOWN":
                    raise
                if pause_s is None:
                    raise PurseNotOpen(dependency=_ACCOUNT) from error
                await asyncio.sleep(pause_s)
        raise AssertionError("the last round returns or raises")

    async def commit(self, reservation: str) -> None:
        """Post what is held."""
        try:
            await self._stub.CommitReservation(pb.CommitReservationRequest(name=reservation))
        except grpc.RpcError as error:
            raise _disagreement(error, reservation) from error

    async def void(self, reservation: str) -> None:
        """Give up what is held."""
        try:
            await self._stub.VoidReservation(pb.VoidReservationRequest(name=reservation))
        except grpc.RpcError as error:
            raise _disagreement(error, reservation) from error

    async def balance(self, card: Card) -> int | None:
        """The centre's view of the purse; None when the ledger has not heard of it."""
        try:
            return (await self._stub.GetPurse(pb.GetPurseRequest(name=f"purses/{card.purse}"))).balance_fen
        except grpc.RpcError as error:
            if _refusal(error).reason == "PURSE_UNKNOWN":
                return None
            raise


def _refusal(error: grpc.RpcError) -> ErrorDetail:
    """What the ledger said; raises DependencyUnavailable when it said nothing."""
    detail = error_info(error)
    if detail.code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    ):
        raise DependencyUnavailable(dependency=_ACCOUNT) from error
    return detail


def _disagreement(error: grpc.RpcError, reservation: str) -> Exception:
    reason = _refusal(error).reason
    if reason in ("RESERVATION_RESOLVED", "RESERVATION_UNKNOWN"):
        return LedgerDisagrees(f"{reservation}: {reason}")
    return error
