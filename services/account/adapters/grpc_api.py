"""The service's calls: translate, call one use case, translate back."""

from dataclasses import dataclass

from citycard.account.v1 import account_pb2, error_reason_pb2
from citycard.account.v1 import account_service_pb2 as pb
from citycard.account.v1.account_service_pb2_grpc import AccountServiceServicer

from libs.clock import Clock
from libs.errors import NotYours
from libs.runtime.identity import Context, Role, caller
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.account.adapters import translate
from services.account.application.commit_reservation import CommitReservation
from services.account.application.get_account import GetAccount
from services.account.application.get_purse import GetPurse
from services.account.application.get_reservation import GetReservation
from services.account.application.list_accounts import ListAccounts
from services.account.application.list_entries import ListEntries
from services.account.application.open_account import OpenAccount
from services.account.application.post_journal import PostJournal
from services.account.application.prove import Prove
from services.account.application.reserve import Reserve
from services.account.application.void_reservation import VoidReservation
from services.account.domain.chart import Chart, OwnedBy, chart_number_of, owner_of

# Loaded so that the chassis finds the texts of the reasons.
REASONS = error_reason_pb2.ErrorReason


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the API calls, one per RPC."""

    open_account: OpenAccount
    get_account: GetAccount
    list_accounts: ListAccounts
    post_journal: PostJournal
    reserve: Reserve
    commit_reservation: CommitReservation
    void_reservation: VoidReservation
    get_reservation: GetReservation
    list_entries: ListEntries
    get_purse: GetPurse
    prove: Prove


class AccountApi(AccountServiceServicer):
    """citycard.account.v1.AccountService."""

    def __init__(self, use_cases: UseCases, chart: Chart, clock: Clock) -> None:
        self._do = use_cases
        self._chart = chart
        self._clock = clock

    async def OpenAccount(self, request: pb.OpenAccountRequest, context: Context) -> account_pb2.Account:
        """Open an account or change its limit."""
        account = await self._do.open_account(
            translate.account_name(request.name), request.balance_limit_fen, request_key(request, context)
        )
        return translate.account_to_pb(account, self._chart)

    async def GetAccount(self, request: pb.GetAccountRequest, context: Context) -> account_pb2.Account:
        """One account."""
        name = translate.account_name(request.name)
        self._must_own(name, context)
        return translate.account_to_pb(await self._do.get_account(name), self._chart)

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Context) -> pb.ListAccountsResponse:
        """A page of accounts."""
        size = page_size(request.page_size)
        listed = f"ListAccounts?chart_number={request.chart_number}"
        after = page_key(listed, request.page_token, (str,))
        identity = caller(context)
        participant = identity.participant if identity.kind is Role.PARTICIPANT else None
        found = await self._do.list_accounts(
            str(after[0]) if after else "", size + 1, request.chart_number, participant
        )
        page = found[:size]
        return pb.ListAccountsResponse(
            accounts=[translate.account_to_pb(account, self._chart) for account in page],
            next_page_token=page_token(listed, (page[-1].name,)) if len(found) > size else "",
        )

    async def PostJournal(self, request: pb.PostJournalRequest, context: Context) -> account_pb2.Journal:
        """Post one journal."""
        posting = translate.posting(request.posting, self._clock.now())
        return translate.journal_to_pb(await self._do.post_journal(posting, request_key(request, context)))

    async def Reserve(self, request: pb.ReserveRequest, context: Context) -> account_pb2.Reservation:
        """Hold legs pending."""
        posting = translate.posting(request.posting, self._clock.now())
        expire_time = translate.moment(request.expire_time) if request.HasField("expire_time") else None
        reservation = await self._do.reserve(posting, expire_time, request_key(request, context))
        return translate.reservation_to_pb(reservation)

    async def CommitReservation(
        self, request: pb.CommitReservationRequest, context: Context
    ) -> account_pb2.Reservation:
        """Post what was held."""
        return translate.reservation_to_pb(await self._do.commit_reservation(translate.reservation_id(request.name)))

    async def VoidReservation(self, request: pb.VoidReservationRequest, context: Context) -> account_pb2.Reservation:
        """Give up what was held."""
        return translate.reservation_to_pb(await self._do.void_reservation(translate.reservation_id(request.name)))

    async def GetReservation(self, request: pb.GetReservationRequest, context: Context) -> account_pb2.Reservation:
        """One reservation."""
        return translate.reservation_to_pb(await self._do.get_reservation(translate.reservation_id(request.name)))

    async def ListEntries(self, request: pb.ListEntriesRequest, context: Context) -> pb.ListEntriesResponse:
        """A page of an account's entries."""
        name = translate.account_name(request.account)
        self._must_own(name, context)
        size = page_size(request.page_size)
        listed = f"ListEntries?account={name}"
        key = page_key(listed, request.page_token, (int, int))
        after = (int(key[0] or 0), int(key[1] or 0)) if key else (0, 0)
        found = await self._do.list_entries(name, after, size + 1)
        page = found[:size]
        return pb.ListEntriesResponse(
            entries=[translate.entry_to_pb(entry) for entry in page],
            next_page_token=page_token(listed, (page[-1].sequence, page[-1].leg_number)) if len(found) > size else "",
        )

    async def GetPurse(self, request: pb.GetPurseRequest, context: Context) -> account_pb2.Purse:
        """One purse."""
        return translate.purse_to_pb(await self._do.get_purse(translate.purse_key(request.name)))

    async def Prove(self, request: pb.ProveRequest, context: Context) -> pb.ProveResponse:
        """Recompute what must hold."""
        return translate.proof_to_pb(await self._do.prove())

    def _must_own(self, account: str, context: Context) -> None:
        """Let a participant see only accounts whose owners are participants, and among them its own.

        Raises:
            NotYours: Another's account, the centre's, or an outlet's of the same name.
        """
        identity = caller(context)
        if identity.kind is not Role.PARTICIPANT:
            return
        line = self._chart.lines.get(chart_number_of(account))
        if line is None or line.owned_by is not OwnedBy.PARTICIPANT:
            raise NotYours
        identity.must_own(owner_of(account))
