"""The service's calls: translate, call one use case, translate back."""

from collections.abc import AsyncIterator
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
from services.account.application.close_purse_item import ClosePurseItem
from services.account.application.commit_reservation import CommitReservation
from services.account.application.get_account import GetAccount
from services.account.application.get_balance import GetBalance
from services.account.application.get_journal import GetJournal
from services.account.application.get_purse import GetPurse
from services.account.application.get_reservation import GetReservation
from services.account.application.list_accounts import ListAccounts
from services.account.application.list_entries import ListEntries
from services.account.application.list_journals import ListJournals
from services.account.application.list_purse_items import ListPurseItems
from services.account.application.open_account import OpenAccount
from services.account.application.post_journal import PostJournal
from services.account.application.post_linked_journals import PostLinkedJournals
from services.account.application.prove import Prove
from services.account.application.reserve import Reserve
from services.account.application.reverse_journal import ReverseJournal
from services.account.application.void_reservation import VoidReservation
from services.account.domain.chart import Chart, OwnedBy, chart_number_of, owner_of

# Loaded so that the chassis finds the texts of the reasons.
REASONS = error_reason_pb2.ErrorReason
# Entries of a stream that are read in one transaction.
_STREAMED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the API calls, one per RPC."""

    open_account: OpenAccount
    get_account: GetAccount
    list_accounts: ListAccounts
    post_journal: PostJournal
    post_linked_journals: PostLinkedJournals
    reverse_journal: ReverseJournal
    get_journal: GetJournal
    list_journals: ListJournals
    get_balance: GetBalance
    list_purse_items: ListPurseItems
    close_purse_item: ClosePurseItem
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
            translate.account_name(request.name),
            request.balance_limit_fen,
            request_key(request, context),
            request.overdraft_fen if request.HasField("overdraft_fen") else None,
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

    async def PostLinkedJournals(
        self, request: pb.PostLinkedJournalsRequest, context: Context
    ) -> pb.PostLinkedJournalsResponse:
        """Post journals that belong together."""
        now = self._clock.now()
        postings = [translate.posting(posting, now) for posting in request.postings]
        journals = await self._do.post_linked_journals(postings, request_key(request, context))
        return pb.PostLinkedJournalsResponse(journals=[translate.journal_to_pb(journal) for journal in journals])

    async def ReverseJournal(self, request: pb.ReverseJournalRequest, context: Context) -> account_pb2.Journal:
        """Post the opposite of a journal."""
        which = translate.journal_id(request.name)
        return translate.journal_to_pb(await self._do.reverse_journal(which, request_key(request, context)))

    async def GetJournal(self, request: pb.GetJournalRequest, context: Context) -> account_pb2.Journal:
        """One journal."""
        return translate.journal_to_pb(await self._do.get_journal(translate.journal_or_place(request.name)))

    async def ListJournals(self, request: pb.ListJournalsRequest, context: Context) -> pb.ListJournalsResponse:
        """A page of the book."""
        size = page_size(request.page_size)
        listed = f"ListJournals?reference={request.reference}"
        key = page_key(listed, request.page_token, (int,))
        found = await self._do.list_journals(int(key[0] or 0) if key else 0, size + 1, request.reference)
        page = found[:size]
        return pb.ListJournalsResponse(
            journals=[translate.journal_to_pb(journal) for journal in page],
            next_page_token=page_token(listed, (page[-1].sequence,)) if len(found) > size else "",
        )

    async def ListChart(self, request: pb.ListChartRequest, context: Context) -> pb.ListChartResponse:
        """The chart of accounts."""
        return pb.ListChartResponse(
            lines=[translate.chart_line_to_pb(line) for _, line in sorted(self._chart.lines.items())]
        )

    async def GetBalance(self, request: pb.GetBalanceRequest, context: Context) -> account_pb2.Balance:
        """The balance of any moment."""
        name = translate.account_name(request.account)
        self._must_own(name, context)
        at = translate.moment(request.as_of_time) if request.HasField("as_of_time") else self._clock.now()
        account = await self._do.get_balance(name, at, translate.time_axis(request.axis))
        return translate.balance_to_pb(account, at)

    async def StreamEntries(
        self, request: pb.StreamEntriesRequest, context: Context
    ) -> AsyncIterator[pb.StreamEntriesResponse]:
        """All entries of an account, page after page, each in a transaction of its own."""
        name = translate.account_name(request.account)
        self._must_own(name, context)
        after = (request.after_sequence, request.after_leg_number)
        kind = self._chart.line(name).kind
        while page := await self._do.list_entries(name, after, _STREAMED_AT_ONCE):
            for entry in page:
                yield pb.StreamEntriesResponse(entry=translate.entry_to_pb(entry, kind))
            after = (page[-1].sequence, page[-1].leg_number)

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
        reservation = await self._do.commit_reservation(translate.reservation_id(request.name), request.amounts_fen)
        return translate.reservation_to_pb(reservation)

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
            entries=[translate.entry_to_pb(entry, self._chart.line(name).kind) for entry in page],
            next_page_token=page_token(listed, (page[-1].sequence, page[-1].leg_number)) if len(found) > size else "",
        )

    async def GetPurse(self, request: pb.GetPurseRequest, context: Context) -> account_pb2.Purse:
        """One purse."""
        return translate.purse_to_pb(await self._do.get_purse(translate.purse_key(request.name)))

    async def ListPurseItems(self, request: pb.ListPurseItemsRequest, context: Context) -> pb.ListPurseItemsResponse:
        """A page of what does not add up."""
        size = page_size(request.page_size)
        listed = f"ListPurseItems?{request.include_closed}&{request.kind}&{request.purse}"
        key = page_key(listed, request.page_token, (int,))
        found = await self._do.list_purse_items(
            int(key[0] or 0) if key else 0,
            size + 1,
            open_only=not request.include_closed,
            kind=translate.item_kind(request.kind),
            key=translate.purse_key(request.purse) if request.purse else None,
        )
        page = found[:size]
        return pb.ListPurseItemsResponse(
            items=[translate.item_to_pb(item) for item in page],
            next_page_token=page_token(listed, (page[-1].id,)) if len(found) > size else "",
        )

    async def ClosePurseItem(self, request: pb.ClosePurseItemRequest, context: Context) -> account_pb2.PurseItem:
        """End an item by a decision."""
        number = int(request.name.removeprefix("purseItems/"))
        item = await self._do.close_purse_item(number, request.note, request_key(request, context))
        return translate.item_to_pb(item)

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
