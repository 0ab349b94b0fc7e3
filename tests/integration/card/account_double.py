"""A ledger of our own for tests of one service: the account contract, in memory, over a real connection."""

from dataclasses import dataclass, field
from functools import partial

import grpc
from citycard.account.v1 import account_pb2, error_reason_pb2
from citycard.account.v1 import account_service_pb2 as pb
from citycard.account.v1.account_service_pb2_grpc import (
    AccountServiceServicer,
    add_AccountServiceServicer_to_server,
)

from libs.errors import NotFound, Refusal
from libs.runtime.identity import Context
from libs.runtime.server import ServiceParts

# Named so that its enum is in the pool for the error texts.
_REASONS = error_reason_pb2.ErrorReason
PENDING = account_pb2.RESERVATION_STATE_PENDING
COMMITTED = account_pb2.RESERVATION_STATE_COMMITTED
VOIDED = account_pb2.RESERVATION_STATE_VOIDED


class LimitExceeded(Refusal):
    reason = "LIMIT_EXCEEDED"


class PurseUnknown(NotFound):
    reason = "PURSE_UNKNOWN"


class ReservationUnknown(NotFound):
    reason = "RESERVATION_UNKNOWN"


class ReservationResolved(Refusal):
    reason = "RESERVATION_RESOLVED"


@dataclass
class AccountDouble(AccountServiceServicer):
    """Answers what the card service asks; purses are known once they are in `balances`."""

    balances: dict[str, int] = field(default_factory=dict)
    reservations: dict[str, account_pb2.Reservation] = field(default_factory=dict)
    limit_fen: int = 10**9

    def total(self, state: "account_pb2.ReservationState") -> int:
        found = [one for one in self.reservations.values() if one.state == state]
        return sum(one.legs[0].amount_fen for one in found)

    async def Reserve(self, request: pb.ReserveRequest, context: Context) -> account_pb2.Reservation:
        name = f"reservations/{request.request_id}"
        if name not in self.reservations:
            legs = request.posting.legs
            sides = {account_pb2.SIDE_DEBIT: 0, account_pb2.SIDE_CREDIT: 0}
            for leg in legs:
                sides[leg.side] += leg.amount_fen
            assert sides[account_pb2.SIDE_DEBIT] == sides[account_pb2.SIDE_CREDIT]
            if any(leg.purse and leg.purse not in self.balances for leg in legs):
                raise PurseUnknown(purse=legs[-1].purse)
            if self.total(PENDING) + self.total(COMMITTED) + legs[0].amount_fen > self.limit_fen:
                raise LimitExceeded(account=legs[0].account)
            self.reservations[name] = account_pb2.Reservation(
                name=name, state=PENDING, legs=legs, event=request.posting.event, reference=request.posting.reference
            )
        return self.reservations[name]

    async def CommitReservation(
        self, request: pb.CommitReservationRequest, context: Context
    ) -> account_pb2.Reservation:
        return self._end(request.name, COMMITTED)

    async def VoidReservation(self, request: pb.VoidReservationRequest, context: Context) -> account_pb2.Reservation:
        return self._end(request.name, VOIDED)

    async def GetPurse(self, request: pb.GetPurseRequest, context: Context) -> account_pb2.Purse:
        if request.name not in self.balances:
            raise PurseUnknown(purse=request.name)
        return account_pb2.Purse(name=request.name, balance_fen=self.balances[request.name])

    def _end(self, name: str, state: "account_pb2.ReservationState") -> account_pb2.Reservation:
        found = self.reservations.get(name)
        if found is None:
            raise ReservationUnknown(reservation=name)
        if found.state not in (PENDING, state):
            raise ReservationResolved(reservation=name, state=found.state)
        if found.state == PENDING and state == COMMITTED:
            self.balances[found.legs[-1].purse] += found.legs[-1].amount_fen
        found.state = state
        return found

    def parts(self) -> ServiceParts:
        def register(server: grpc.aio.Server) -> None:
            partial(add_AccountServiceServicer_to_server, self)(server)

        return ServiceParts("account", register, ("citycard.account.v1.AccountService",))
