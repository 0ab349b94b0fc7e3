"""What any ledger must do, in memory or in PostgreSQL: the same tests run against both."""

import asyncio
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest

from libs.errors import RequestIdReused
from libs.testkit.clock import FakeClock
from services.account.application.charge_window_fee import ChargeWindowFee
from services.account.application.close_purse_item import ClosePurseItem
from services.account.application.commit_reservation import CommitReservation
from services.account.application.expire_reservations import ExpireReservations
from services.account.application.fold_batch import FoldBatch
from services.account.application.get_balance import GetBalance
from services.account.application.get_journal import GetJournal
from services.account.application.list_accounts import ListAccounts
from services.account.application.list_entries import ListEntries
from services.account.application.list_journals import ListJournals
from services.account.application.list_purse_items import ListPurseItems
from services.account.application.open_account import OpenAccount
from services.account.application.open_purses import OpenPurses
from services.account.application.ports import Transaction
from services.account.application.post_journal import PostJournal
from services.account.application.post_linked_journals import PostLinkedJournals
from services.account.application.posting_queue import PostingQueue
from services.account.application.reserve import Reserve
from services.account.application.reverse_journal import ReverseJournal
from services.account.application.void_reservation import VoidReservation
from services.account.domain.accounts import Account
from services.account.domain.batch import IssuedCards, PostedBatch
from services.account.domain.book import Journal, Posting, TimeAxis
from services.account.domain.chart import Chart
from services.account.domain.errors import (
    AccountUnknown,
    ChartNumberUnknown,
    CommitAboveHeld,
    FactMalformed,
    InsufficientBalance,
    ItemClosed,
    ItemUnknown,
    JournalNotReversible,
    JournalReversed,
    JournalUnbalanced,
    JournalUnknown,
    LimitExceeded,
    PurseLegMismatch,
    PurseUnknown,
    ReservationResolved,
    ReservationUnknown,
)
from services.account.domain.folding import ItemKind, ItemOutcome
from services.account.domain.purse import Purse, PurseKey
from services.account.domain.reservation import Reservation, ReservationState
from tests.unit.account.builders import (
    NOON,
    Row,
    a_batch,
    a_key,
    a_load,
    a_posting,
    a_request,
    credit,
    debit,
    issued,
)

# How far a terminal's clock may be off, seconds.
TOLERANCE_S = 300


class Ledger:
    """A ledger under test: its use cases over one kind of transaction."""

    def __init__(self, transaction: Transaction, chart: Chart, clock: FakeClock) -> None:
        self.transaction = transaction
        self.chart = chart
        self.clock = clock
        new_id: Callable[[], uuid.UUID] = uuid.uuid4
        self.open_account = OpenAccount(transaction, chart, clock)
        self.list_accounts = ListAccounts(transaction, chart)
        self.list_entries = ListEntries(transaction)
        queue = PostingQueue(transaction, chart, clock, new_id)
        self.post_journal = PostJournal(queue, chart)
        self.post_linked_journals = PostLinkedJournals(queue, chart)
        self.reverse_journal = ReverseJournal(transaction, chart, clock, new_id)
        self.get_journal = GetJournal(transaction)
        self.list_journals = ListJournals(transaction)
        self.get_balance = GetBalance(transaction)
        self.list_purse_items = ListPurseItems(transaction)
        self.close_purse_item = ClosePurseItem(transaction, clock)
        self.reserve = Reserve(transaction, chart, clock)
        self.commit_reservation = CommitReservation(transaction, chart, clock, new_id, TOLERANCE_S)
        self.void_reservation = VoidReservation(transaction, chart, clock, TOLERANCE_S)
        self.expiry = ExpireReservations(transaction, chart, clock, 1.0, TOLERANCE_S)
        self._fold_batch = FoldBatch(chart, clock, new_id, TOLERANCE_S)
        self._open_purses = OpenPurses(chart, clock, new_id, TOLERANCE_S)
        self._charge_window_fee = ChargeWindowFee(chart, clock, new_id)

    async def post(self, posting: Posting) -> Journal:
        return await self.post_journal(posting, a_request())

    async def hold(self, posting: Posting, seconds: float | None = None) -> Reservation:
        expire_time = None if seconds is None else self.clock.now() + timedelta(seconds=seconds)
        return await self.reserve(posting, expire_time, a_request())

    async def fold(self, batch: PostedBatch) -> None:
        async with self.transaction() as uow:
            await self._fold_batch(uow, batch)
            await uow.commit()

    async def fold_rows(self, *rows: Row) -> None:
        await self.fold(a_batch(*rows))

    async def issue(self, cards: IssuedCards) -> None:
        async with self.transaction() as uow:
            await self._open_purses(uow, cards, str(uuid.uuid4()))
            await uow.commit()

    async def charge(self, window: str, participant: str, fee_fen: int) -> None:
        async with self.transaction() as uow:
            await self._charge_window_fee(uow, window, participant, fee_fen, NOON)
            await uow.commit()

    async def account(self, name: str) -> Account:
        async with self.transaction() as uow:
            return await uow.accounts.get(name)

    async def purse(self, key: PurseKey) -> Purse:
        async with self.transaction() as uow:
            return await uow.purses.get(key)

    async def reservation(self, reservation_id: uuid.UUID) -> Reservation:
        async with self.transaction() as uow:
            return await uow.reservations.get(reservation_id)


class PostingSuite:
    """PostJournal, limits, accounts, entries."""

    async def test_a_journal_whose_sides_differ_leaves_nothing_behind(self, ledger: Ledger) -> None:
        with pytest.raises(JournalUnbalanced) as refused:
            await ledger.post(a_posting(debit("1221.north", 100), credit("2202", 99)))
        assert refused.value.facts == {"asset": "CNY/2", "debits_fen": "100", "credits_fen": "99"}
        with pytest.raises(AccountUnknown):
            await ledger.account("2202")

    async def test_unbalanced_is_said_before_a_missing_purse_and_that_before_an_unknown_number(
        self, ledger: Ledger
    ) -> None:
        with pytest.raises(JournalUnbalanced):
            await ledger.post(a_posting(debit("9999", 2), credit("2201", 1)))
        with pytest.raises(PurseLegMismatch):
            await ledger.post(a_posting(debit("9999", 1), credit("2201", 1)))
        with pytest.raises(ChartNumberUnknown):
            await ledger.post(a_posting(debit("9999", 1), credit("2201", 1, a_key())))

    async def test_a_purse_on_another_account_is_refused(self, ledger: Ledger) -> None:
        with pytest.raises(PurseLegMismatch) as refused:
            await ledger.post(a_posting(debit("1221.north", 1), credit("2202", 1, a_key())))
        assert refused.value.facts == {"account": "2202"}

    async def test_an_unknown_purse_is_refused_before_any_limit_is_looked_at(self, ledger: Ledger) -> None:
        await ledger.open_account("1221.north", 1, a_request())
        with pytest.raises(PurseUnknown) as refused:
            await ledger.post(a_posting(debit("1221.north", 5), credit("2201", 5, a_key(7))))
        assert refused.value.facts == {"purse": a_key(7).name}

    async def test_the_limit_counts_what_is_held_and_names_its_figures(self, ledger: Ledger) -> None:
        await ledger.open_account("1221.north", 1000, a_request())
        await ledger.post(a_posting(debit("1221.north", 300), credit("2202", 300)))
        await ledger.hold(a_posting(debit("1221.north", 600), credit("2202", 600)))
        with pytest.raises(LimitExceeded) as refused:
            await ledger.post(a_posting(debit("1221.north", 101), credit("2202", 101)))
        facts = {"account": "1221.north", "limit_fen": "1000", "balance_fen": "900", "amount_fen": "101"}
        assert refused.value.facts == facts
        await ledger.post(a_posting(debit("1221.north", 100), credit("2202", 100)))

    async def test_what_shrinks_a_balance_passes_any_limit(self, ledger: Ledger) -> None:
        await ledger.post(a_posting(debit("1221.north", 500), credit("2202", 500)))
        await ledger.open_account("1221.north", 10, a_request())
        await ledger.post(a_posting(debit("1002", 400), credit("1221.north", 400)))
        assert (await ledger.account("1221.north")).balance_fen == 100

    async def test_a_limit_of_a_liability_counts_its_credits(self, ledger: Ledger) -> None:
        await ledger.open_account("2206", 50, a_request())
        with pytest.raises(LimitExceeded):
            await ledger.post(a_posting(debit("1221.north", 51), credit("2206", 51)))

    async def test_the_same_request_posts_once_and_gets_the_first_answer(self, ledger: Ledger) -> None:
        request = a_request()
        first = await ledger.post_journal(a_posting(), request)
        again = await ledger.post_journal(a_posting(), request)
        assert again == first
        assert (await ledger.account("2202")).credits_fen == 100

    async def test_the_same_request_with_other_content_is_refused(self, ledger: Ledger) -> None:
        one = uuid.uuid4()
        await ledger.post_journal(a_posting(), a_request(one, "first"))
        with pytest.raises(RequestIdReused):
            await ledger.post_journal(a_posting(), a_request(one, "second"))

    async def test_a_refused_request_may_be_tried_again_under_its_id(self, ledger: Ledger) -> None:
        request = a_request()
        posting = a_posting(debit("1221.north", 5), credit("2201", 5, a_key()), event="load")
        with pytest.raises(PurseUnknown):
            await ledger.post_journal(posting, request)
        await ledger.issue(issued(a_key()))
        await ledger.post_journal(posting, request)
        assert (await ledger.purse(a_key())).loads_fen == 5

    async def test_balances_grow_on_their_own_side_by_kind(self, ledger: Ledger) -> None:
        await ledger.post(a_posting(debit("1221.north", 70), credit("2202", 50), credit("6001", 20)))
        await ledger.post(a_posting(debit("6402", 5), credit("1221.north", 5)))
        balances = {name: (await ledger.account(name)).balance_fen for name in ("1221.north", "2202", "6001", "6402")}
        assert balances == {"1221.north": 65, "2202": 50, "6001": 20, "6402": 5}

    async def test_journals_are_numbered_without_gaps_over_refused_ones(self, ledger: Ledger) -> None:
        first = await ledger.post(a_posting())
        with pytest.raises(JournalUnbalanced):
            await ledger.post(a_posting(debit("1221.north", 1)))
        await ledger.open_account("1221.south", 1, a_request())
        with pytest.raises(LimitExceeded):
            await ledger.post(a_posting(debit("1221.south", 2), credit("2202", 2)))
        assert (await ledger.post(a_posting())).sequence == first.sequence + 1

    async def test_both_legs_of_one_account_in_one_journal_are_two_entries(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key()))
        await ledger.post(a_load(a_key(), 40))
        entries = await ledger.list_entries("2207", (0, 0), 10)
        assert [(entry.leg.side.name, entry.leg.amount_fen) for entry in entries] == [("CREDIT", 40), ("DEBIT", 40)]
        held = await ledger.account("2207")
        assert (held.debits_fen, held.credits_fen, held.balance_fen) == (40, 40, 0)

    async def test_entries_page_by_place_and_name_their_purse(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key(1), a_key(2)))
        for number in (1, 2, 1):
            await ledger.post(a_load(a_key(number), number))
        first = await ledger.list_entries("2201", (0, 0), 2)
        rest = await ledger.list_entries("2201", (first[-1].sequence, first[-1].leg_number), 2)
        assert [entry.leg.purse for entry in first + rest] == [a_key(1), a_key(2), a_key(1)]
        assert rest[0].event_time == NOON

    async def test_entries_of_an_account_that_was_never_opened_are_refused(self, ledger: Ledger) -> None:
        with pytest.raises(AccountUnknown):
            await ledger.list_entries("2202", (0, 0), 10)

    async def test_opening_twice_changes_the_limit_and_keeps_the_balance(self, ledger: Ledger) -> None:
        await ledger.post(a_posting())
        opened = await ledger.open_account("1221.north", 5000, a_request())
        assert (opened.balance_fen, opened.balance_limit_fen) == (100, 5000)
        assert await ledger.account("1221.north") == opened

    async def test_an_account_outside_of_the_chart_is_not_opened(self, ledger: Ledger) -> None:
        with pytest.raises(ChartNumberUnknown) as refused:
            await ledger.open_account("7000.metro", 0, a_request())
        assert refused.value.facts == {"chart_number": "7000"}

    async def test_accounts_are_listed_by_name_in_pages(self, ledger: Ledger) -> None:
        for name in ("2203.metro", "1221.north", "2203.bus", "2202"):
            await ledger.open_account(name, 0, a_request())
        first = await ledger.list_accounts("", 3, "", None)
        assert [account.name for account in first] == ["1221.north", "2202", "2203.bus"]
        assert [account.name for account in await ledger.list_accounts("2203.bus", 3, "", None)] == ["2203.metro"]
        assert [account.name for account in await ledger.list_accounts("", 9, "2203", None)] == [
            "2203.bus",
            "2203.metro",
        ]

    async def test_a_participant_lists_its_own_accounts_and_not_those_of_an_outlet_of_its_name(
        self, ledger: Ledger
    ) -> None:
        for name in ("2203.metro", "2205.metro", "1221.metro", "2203.bus", "2202"):
            await ledger.open_account(name, 0, a_request())
        seen = await ledger.list_accounts("", 9, "", "metro")
        assert [account.name for account in seen] == ["2203.metro", "2205.metro"]
        assert await ledger.list_accounts("", 9, "1221", "metro") == []


class AssetSuite:
    """Units beside money, floors, overdrafts."""

    async def test_a_journal_balances_in_every_asset_or_not_at_all(self, ledger: Ledger) -> None:
        points = (debit("3001.mall", 50), credit("3002.jt-1", 50))
        await ledger.post(a_posting(*points, debit("1221.north", 7), credit("2202", 7)))
        assert (await ledger.account("3002.jt-1")).asset == "POINT/0"
        with pytest.raises(JournalUnbalanced) as refused:
            await ledger.post(a_posting(debit("3001.mall", 7), credit("2202", 7)))
        assert refused.value.facts == {"asset": "CNY/2", "debits_fen": "0", "credits_fen": "7"}
        with pytest.raises(JournalUnbalanced) as refused:
            await ledger.post(a_posting(debit("2202", 7), credit("2202", 7), *points, credit("3012.jt-1", 1)))
        assert refused.value.facts["asset"] == "RIDE/0"

    async def test_a_floored_account_gives_what_it_holds_and_no_more(self, ledger: Ledger) -> None:
        await ledger.post(a_posting(debit("1002", 100), credit("2211.jt-1", 100)))
        with pytest.raises(InsufficientBalance) as refused:
            await ledger.post(a_posting(debit("2211.jt-1", 101), credit("2203.metro", 101)))
        assert refused.value.facts == {
            "account": "2211.jt-1",
            "balance_fen": "100",
            "held_fen": "0",
            "overdraft_fen": "0",
            "amount_fen": "101",
        }
        await ledger.post(a_posting(debit("2211.jt-1", 100), credit("2203.metro", 100)))

    async def test_what_is_held_is_not_spent_twice_and_what_is_promised_is_not_spent_at_all(
        self, ledger: Ledger
    ) -> None:
        await ledger.post(a_posting(debit("1002", 100), credit("2211.jt-1", 100)))
        await ledger.hold(a_posting(debit("2211.jt-1", 60), credit("2203.metro", 60)))
        await ledger.hold(a_posting(debit("1002", 500), credit("2211.jt-1", 500)))
        with pytest.raises(InsufficientBalance) as refused:
            await ledger.hold(a_posting(debit("2211.jt-1", 41), credit("2203.metro", 41)))
        assert refused.value.facts["held_fen"] == "60"
        await ledger.hold(a_posting(debit("2211.jt-1", 40), credit("2203.metro", 40)))

    async def test_an_overdraft_is_granted_per_account_and_kept_when_only_the_limit_changes(
        self, ledger: Ledger
    ) -> None:
        await ledger.open_account("2211.jt-1", 0, a_request(), 30)
        assert (await ledger.open_account("2211.jt-1", 500, a_request())).overdraft_fen == 30
        await ledger.post(a_posting(debit("2211.jt-1", 30), credit("2203.metro", 30)))
        with pytest.raises(InsufficientBalance):
            await ledger.post(a_posting(debit("2211.jt-1", 1), credit("2203.metro", 1)))
        assert (await ledger.account("2211.jt-1")).balance_fen == -30

    async def test_an_account_that_the_chart_does_not_floor_may_be_floored_by_hand(self, ledger: Ledger) -> None:
        assert (await ledger.open_account("2203.bus", 0, a_request())).overdraft_fen is None
        await ledger.open_account("2203.bus", 0, a_request(), 0)
        with pytest.raises(InsufficientBalance):
            await ledger.post(a_posting(debit("2203.bus", 1), credit("6002", 1)))

    async def test_the_floor_is_said_before_the_limit_and_the_first_account_by_name_is_named(
        self, ledger: Ledger
    ) -> None:
        await ledger.open_account("2202", 1, a_request())
        legs = (debit("2211.jt-2", 5), debit("2211.jt-1", 5), credit("2202", 10))
        with pytest.raises(InsufficientBalance) as refused:
            await ledger.post(a_posting(*legs))
        assert refused.value.facts["account"] == "2211.jt-1"

    async def test_what_one_leg_brings_another_leg_of_the_same_journal_may_take(self, ledger: Ledger) -> None:
        through = (debit("1002", 9), credit("2211.jt-1", 9), debit("2211.jt-1", 9), credit("2203.metro", 9))
        await ledger.post(a_posting(*through))
        assert (await ledger.account("2203.metro")).balance_fen == 9


class BookSuite:
    """Linked journals, reversals, moments of the past, statements."""

    async def test_linked_journals_stand_side_by_side_and_a_later_one_spends_what_an_earlier_brings(
        self, ledger: Ledger
    ) -> None:
        bring = a_posting(debit("1002", 10), credit("2211.jt-1", 10))
        spend = a_posting(debit("2211.jt-1", 10), credit("2203.metro", 10))
        request = a_request()
        first, second = await ledger.post_linked_journals([bring, spend], request)
        assert (second.sequence, first.posting) == (first.sequence + 1, bring)
        assert await ledger.post_linked_journals([bring, spend], request) == (first, second)
        assert (await ledger.account("2203.metro")).balance_fen == 10

    async def test_one_refused_journal_refuses_all_that_are_linked_with_it(self, ledger: Ledger) -> None:
        bring = a_posting(debit("1002", 10), credit("2211.jt-1", 10))
        spend = a_posting(debit("2211.jt-1", 11), credit("2203.metro", 11))
        with pytest.raises(InsufficientBalance) as refused:
            await ledger.post_linked_journals([bring, spend], a_request())
        assert refused.value.facts["posting"] == "2"
        with pytest.raises(AccountUnknown):
            await ledger.account("2211.jt-1")
        with pytest.raises(JournalUnbalanced) as unbalanced:
            await ledger.post_linked_journals([bring, a_posting(debit("1002", 1))], a_request())
        assert unbalanced.value.facts["posting"] == "2"

    async def test_refused_and_accepted_requests_that_come_together_do_not_disturb_one_another(
        self, ledger: Ledger
    ) -> None:
        await ledger.open_account("1221.south", 150, a_request())
        amounts = [100, 100, 50, 1]
        outcomes = await asyncio.gather(
            *(ledger.post(a_posting(debit("1221.south", n), credit("2202", n))) for n in amounts),
            return_exceptions=True,
        )
        assert [isinstance(outcome, LimitExceeded) for outcome in outcomes] == [False, True, False, True]
        sequences = [outcome.sequence for outcome in outcomes if isinstance(outcome, Journal)]
        assert sequences[1] == sequences[0] + 1

    async def test_a_reversal_is_the_opposite_and_is_posted_once(self, ledger: Ledger) -> None:
        journal = await ledger.post(a_posting(debit("1221.north", 70), credit("2202", 50), credit("6001", 20)))
        ledger.clock.advance(hours=1)
        request = a_request()
        reversal = await ledger.reverse_journal(journal.id, request)
        assert await ledger.reverse_journal(journal.id, request) == reversal
        assert (reversal.posting.event, reversal.posting.reference) == ("reversal", f"journals/{journal.id}")
        assert [(await ledger.account(name)).balance_fen for name in ("1221.north", "2202", "6001")] == [0, 0, 0]
        with pytest.raises(JournalReversed):
            await ledger.reverse_journal(journal.id, a_request())
        with pytest.raises(JournalNotReversible):
            await ledger.reverse_journal(reversal.id, a_request())
        with pytest.raises(JournalUnknown):
            await ledger.reverse_journal(uuid.uuid4(), a_request())

    async def test_a_reversal_takes_nothing_that_was_spent_and_no_batch_back(self, ledger: Ledger) -> None:
        journal = await ledger.post(a_posting(debit("1002", 10), credit("2211.jt-1", 10)))
        await ledger.post(a_posting(debit("2211.jt-1", 4), credit("2203.metro", 4)))
        with pytest.raises(InsufficientBalance):
            await ledger.reverse_journal(journal.id, a_request())
        await ledger.issue(issued(a_key(), opening_fen=5))
        (batch,) = await ledger.list_journals(journal.sequence + 1, 10, "")
        with pytest.raises(JournalNotReversible) as refused:
            await ledger.reverse_journal(batch.id, a_request())
        assert refused.value.facts["event"] == "cards_issued"

    async def test_a_reversed_load_is_a_correction_of_the_purse(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key()))
        journal = await ledger.post(a_load(a_key(), 40))
        await ledger.reverse_journal(journal.id, a_request())
        purse = await ledger.purse(a_key())
        assert (purse.loads_fen, purse.corrections_debit_fen, purse.balance_fen) == (40, 40, 0)

    async def test_journals_are_found_by_id_by_place_and_by_reference(self, ledger: Ledger) -> None:
        journals = [await ledger.post(a_posting(reference=f"tests/{n % 2}")) for n in range(4)]
        assert await ledger.get_journal(journals[1].id) == journals[1]
        assert await ledger.get_journal(journals[2].sequence) == journals[2]
        assert await ledger.list_journals(0, 3, "") == journals[:3]
        assert await ledger.list_journals(journals[0].sequence, 3, "tests/0") == [journals[2]]
        with pytest.raises(JournalUnknown):
            await ledger.get_journal(99)

    async def test_a_balance_of_the_past_is_what_the_book_said_then(self, ledger: Ledger) -> None:
        moments = []
        for amount in (1, 2, 4):
            await ledger.post(a_posting(debit("1221.north", amount), credit("2202", amount)))
            moments.append(ledger.clock.now())
            ledger.clock.advance(hours=1)
        before = moments[0] - timedelta(microseconds=1)
        balances = [(await ledger.get_balance("2202", at, TimeAxis.POST_TIME)).balance_fen for at in (before, *moments)]
        assert balances == [0, 1, 3, 7]
        with pytest.raises(AccountUnknown):
            await ledger.get_balance("2203.nobody", moments[0], TimeAxis.POST_TIME)

    async def test_a_late_event_changes_the_balance_by_event_time_and_not_the_one_by_posting_time(
        self, ledger: Ledger
    ) -> None:
        yesterday = ledger.clock.now()
        ledger.clock.advance(days=3)
        await ledger.post(a_posting(at=yesterday))
        await ledger.post(a_posting(at=ledger.clock.now()))
        by_post = await ledger.get_balance("2202", yesterday, TimeAxis.POST_TIME)
        by_event = await ledger.get_balance("2202", yesterday, TimeAxis.EVENT_TIME)
        assert (by_post.balance_fen, by_event.balance_fen) == (0, 100)

    async def test_posting_times_never_go_back_though_clocks_do(self, ledger: Ledger) -> None:
        first = await ledger.post(a_posting())
        ledger.clock.set(first.post_time - timedelta(seconds=5))
        assert (await ledger.post(a_posting())).post_time == first.post_time

    async def test_entries_tell_the_balance_after_their_journal(self, ledger: Ledger) -> None:
        for amount in (5, 6):
            legs = (debit("2202", amount), credit("2202", amount), debit("1221.north", 1), credit("2202", 1))
            await ledger.post(a_posting(*legs))
        entries = await ledger.list_entries("2202", (0, 0), 10)
        assert [(entry.debits_after_fen, entry.credits_after_fen) for entry in entries] == [(5, 6)] * 3 + [(11, 13)] * 3


class PartSuite:
    """Parts of what is held."""

    async def test_a_part_is_posted_and_the_rest_given_up(self, ledger: Ledger) -> None:
        held = await ledger.hold(a_posting(debit("1221.north", 100), credit("2202", 60), credit("2206", 40)))
        committed = await ledger.commit_reservation(held.id, (50, 50, 0))
        assert committed.partial
        assert await ledger.commit_reservation(held.id) == committed
        accounts = [await ledger.account(name) for name in ("1221.north", "2202", "2206")]
        assert [account.balance_fen for account in accounts] == [50, 50, 0]
        assert not any(account.pending_debits_fen or account.pending_credits_fen for account in accounts)
        assert committed.journal is not None
        journal = await ledger.get_journal(committed.journal)
        assert journal.posting.legs == (debit("1221.north", 50), credit("2202", 50))

    async def test_everything_in_figures_is_everything(self, ledger: Ledger) -> None:
        held = await ledger.hold(a_posting())
        assert not (await ledger.commit_reservation(held.id, (100, 100))).partial

    async def test_more_than_is_held_is_refused_and_stays_held(self, ledger: Ledger) -> None:
        held = await ledger.hold(a_posting())
        for amounts in ((101, 101), (100,), (100, 100, 1)):
            with pytest.raises(CommitAboveHeld):
                await ledger.commit_reservation(held.id, amounts)
        with pytest.raises(JournalUnbalanced):
            await ledger.commit_reservation(held.id, (50, 49))
        with pytest.raises(JournalUnbalanced):
            await ledger.commit_reservation(held.id, (0, 0))
        assert (await ledger.account("2202")).pending_credits_fen == 100

    async def test_a_part_of_a_load_is_a_load_of_that_part(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key()))
        held = await ledger.hold(a_load(a_key(), 500))
        await ledger.commit_reservation(held.id, (200, 200, 200, 200))
        purse = await ledger.purse(a_key())
        assert (purse.loads_fen, purse.pending_loads_fen, purse.balance_fen) == (200, 0, 200)


class ItemSuite:
    """What does not add up on a card is never silent."""

    async def items(self, ledger: Ledger, *, open_only: bool = True) -> list[tuple[str, int, int, int]]:
        found = await ledger.list_purse_items(0, 100, open_only=open_only, kind=None, key=None)
        return [(item.kind.name, item.counter_from, item.counter_to, item.amount_fen) for item in found]

    async def test_a_card_that_adds_up_has_no_items(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key(), opening_fen=100))
        await ledger.fold_rows((a_key(), 0, 10, 100), (a_key(), 1, 20, 90))
        await ledger.post(a_load(a_key(), 50, at=NOON + timedelta(minutes=1, seconds=30)))
        await ledger.fold_rows((a_key(), 2, 30, 120))
        assert await self.items(ledger, open_only=False) == []

    async def test_missing_counters_are_gaps_before_between_and_over_batches(self, ledger: Ledger) -> None:
        await ledger.fold_rows((a_key(), 2, 1, 9), (a_key(), 5, 1, 6))
        await ledger.fold_rows((a_key(), 7, 1, 4))
        assert await self.items(ledger) == [("GAP", 0, 1, 0), ("GAP", 3, 4, 0), ("GAP", 6, 6, 0)]

    async def test_a_late_record_shortens_splits_or_closes_its_gap_which_keeps_its_age(self, ledger: Ledger) -> None:
        await ledger.fold_rows((a_key(), 5, 1, 9))
        found = ledger.clock.now()
        ledger.clock.advance(days=1)
        await ledger.fold_rows((a_key(), 2, 1, 9), (a_key(), 4, 1, 9))
        assert sorted(await self.items(ledger)) == [("GAP", 0, 1, 0), ("GAP", 3, 3, 0)]
        still = await ledger.list_purse_items(0, 9, open_only=True, kind=None, key=a_key())
        assert {item.open_time for item in still} == {found}
        await ledger.fold_rows((a_key(), 0, 1, 9), (a_key(), 1, 1, 9), (a_key(), 3, 1, 9))
        assert [kind for kind, *_ in await self.items(ledger)] == ["BALANCE"]

    async def test_a_record_that_comes_after_its_gap_was_given_up_is_no_repetition(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key(), opening_fen=1000))
        await ledger.fold_rows((a_key(), 3, 10, 970))
        (gap,) = await ledger.list_purse_items(0, 9, open_only=True, kind=ItemKind.GAP, key=None)
        await ledger.close_purse_item(gap.id, "lost with the terminal", a_request())
        await ledger.fold_rows((a_key(), 1, 10, 990))
        await ledger.fold_rows((a_key(), 1, 10, 990))
        purse = await ledger.purse(a_key())
        assert (purse.counter_count, purse.repeats_fen) == (2, 10)
        assert await self.items(ledger) == [("REPEAT", 1, 1, 10)]
        listed = await ledger.list_purse_items(0, 100, open_only=False, kind=ItemKind.GAP, key=None)
        assert [(item.counter_from, item.counter_to, item.outcome) for item in listed] == [
            (0, 2, ItemOutcome.FILLED), (0, 0, ItemOutcome.DECIDED), (2, 2, ItemOutcome.DECIDED),
        ]  # fmt: skip

    async def test_a_counter_that_comes_again_is_an_item_with_its_amount_and_explains_the_balance(
        self, ledger: Ledger
    ) -> None:
        await ledger.issue(issued(a_key(), opening_fen=100))
        await ledger.fold_rows((a_key(), 0, 10, 100), (a_key(), 0, 30, 100))
        await ledger.fold_rows((a_key(), 0, 5, 100), (a_key(), 1, 1, 90))
        assert await self.items(ledger) == [("REPEAT", 0, 0, 30), ("REPEAT", 0, 0, 5)]
        assert (await ledger.purse(a_key())).repeats_fen == 35

    async def test_a_balance_that_nothing_explains_is_an_item_until_it_is_explained(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key(), opening_fen=100))
        await ledger.fold_rows((a_key(), 0, 10, 130))
        assert await self.items(ledger) == [("BALANCE", 0, 0, -30)]
        await ledger.fold_rows((a_key(), 1, 10, 120))
        assert await self.items(ledger) == [("BALANCE", 1, 1, -30)]
        held = await ledger.hold(a_load(a_key(), 30, at=NOON - timedelta(hours=1)))
        await ledger.commit_reservation(held.id)
        assert await self.items(ledger) == []
        assert len(await self.items(ledger, open_only=False)) == 1

    async def test_a_load_in_doubt_makes_a_balance_incomparable_and_giving_it_up_shows_the_difference(
        self, ledger: Ledger
    ) -> None:
        await ledger.issue(issued(a_key(), opening_fen=100))
        held = await ledger.hold(a_load(a_key(), 30, at=NOON - timedelta(hours=1)))
        await ledger.fold_rows((a_key(), 0, 10, 130))
        assert await self.items(ledger) == []
        await ledger.void_reservation(held.id)
        assert await self.items(ledger) == [("BALANCE", 0, 0, -30)]

    async def test_news_of_the_issue_that_comes_late_explains_the_balance(self, ledger: Ledger) -> None:
        await ledger.fold_rows((a_key(), 0, 10, 100))
        assert await self.items(ledger) == [("BALANCE", 0, 0, -100)]
        await ledger.issue(issued(a_key(), opening_fen=100))
        assert await self.items(ledger) == []

    async def test_a_person_closes_an_item_once_and_the_same_difference_is_not_asked_again(
        self, ledger: Ledger
    ) -> None:
        await ledger.issue(issued(a_key(), opening_fen=100))
        await ledger.fold_rows((a_key(), 0, 10, 130))
        (item,) = await ledger.list_purse_items(0, 9, open_only=True, kind=ItemKind.BALANCE, key=None)
        request = a_request()
        closed = await ledger.close_purse_item(item.id, "磁头故障", request)
        assert (closed.outcome, closed.note) == (ItemOutcome.DECIDED, "磁头故障")
        assert await ledger.close_purse_item(item.id, "磁头故障", request) == closed
        with pytest.raises(ItemClosed):
            await ledger.close_purse_item(item.id, "again", a_request())
        with pytest.raises(ItemUnknown):
            await ledger.close_purse_item(item.id + 1, "none", a_request())
        await ledger.fold_rows((a_key(), 1, 10, 120))
        assert await self.items(ledger) == []
        await ledger.fold_rows((a_key(), 2, 10, 100))
        assert await self.items(ledger) == [("BALANCE", 2, 2, -20)]


class ReservationSuite:
    """Reserve, commit, void, expire."""

    async def test_what_is_held_is_pending_and_not_posted(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key()))
        await ledger.hold(a_load(a_key(), 500))
        owed, doubt, purse = (
            await ledger.account("1221.north"),
            await ledger.account("2207"),
            await ledger.purse(a_key()),
        )
        assert (owed.balance_fen, owed.pending_debits_fen) == (0, 500)
        assert (doubt.pending_debits_fen, doubt.pending_credits_fen) == (500, 500)
        assert (purse.balance_fen, purse.pending_loads_fen) == (0, 500)

    async def test_committing_posts_the_legs_under_their_own_event_time(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key()))
        held = await ledger.hold(a_load(a_key(), 500))
        ledger.clock.advance(minutes=3)
        committed = await ledger.commit_reservation(held.id)
        assert committed.state is ReservationState.COMMITTED
        (entry,) = await ledger.list_entries("2201", (0, 0), 10)
        assert (entry.journal, entry.event_time, entry.leg.purse) == (committed.journal, NOON, a_key())
        owed, purse = await ledger.account("1221.north"), await ledger.purse(a_key())
        assert (owed.balance_fen, owed.pending_debits_fen) == (500, 0)
        assert (purse.balance_fen, purse.loads_fen, purse.pending_loads_fen) == (500, 500, 0)

    async def test_committing_twice_posts_once(self, ledger: Ledger) -> None:
        held = await ledger.hold(a_posting())
        first = await ledger.commit_reservation(held.id)
        assert await ledger.commit_reservation(held.id) == first
        assert (await ledger.account("2202")).credits_fen == 100

    async def test_voiding_twice_gives_up_once(self, ledger: Ledger) -> None:
        held = await ledger.hold(a_posting())
        await ledger.void_reservation(held.id)
        assert (await ledger.void_reservation(held.id)).state is ReservationState.VOIDED
        account = await ledger.account("2202")
        assert (account.credits_fen, account.pending_credits_fen) == (0, 0)

    async def test_a_voided_one_is_not_committed_and_a_committed_one_is_not_voided(self, ledger: Ledger) -> None:
        given_up, posted = await ledger.hold(a_posting()), await ledger.hold(a_posting())
        await ledger.void_reservation(given_up.id)
        await ledger.commit_reservation(posted.id)
        with pytest.raises(ReservationResolved) as refused:
            await ledger.commit_reservation(given_up.id)
        assert refused.value.facts == {"reservation": str(given_up.id), "state": "VOIDED"}
        with pytest.raises(ReservationResolved):
            await ledger.void_reservation(posted.id)

    async def test_an_unknown_reservation_is_refused(self, ledger: Ledger) -> None:
        with pytest.raises(ReservationUnknown):
            await ledger.commit_reservation(uuid.uuid4())
        with pytest.raises(ReservationUnknown):
            await ledger.void_reservation(uuid.uuid4())
        with pytest.raises(ReservationUnknown):
            await ledger.reservation(uuid.uuid4())

    async def test_an_overdue_one_is_not_committed_even_before_the_sweep(self, ledger: Ledger) -> None:
        held = await ledger.hold(a_posting(), seconds=60)
        ledger.clock.advance(seconds=60)
        with pytest.raises(ReservationResolved) as refused:
            await ledger.commit_reservation(held.id)
        assert refused.value.facts["state"] == "EXPIRED"

    async def test_the_sweep_frees_what_is_overdue_once_and_nothing_else(self, ledger: Ledger) -> None:
        soon, later = await ledger.hold(a_posting(), seconds=60), await ledger.hold(a_posting(), seconds=600)
        never = await ledger.hold(a_posting())
        ledger.clock.advance(seconds=61)
        assert await ledger.expiry.sweep() == 1
        assert await ledger.expiry.sweep() == 0
        states = [(await ledger.reservation(held.id)).state.name for held in (soon, later, never)]
        assert states == ["EXPIRED", "PENDING", "PENDING"]
        assert (await ledger.account("2202")).pending_credits_fen == 200
        assert (await ledger.void_reservation(soon.id)).state is ReservationState.EXPIRED

    async def test_a_held_amount_is_posted_although_the_limit_shrank_meanwhile(self, ledger: Ledger) -> None:
        held = await ledger.hold(a_posting())
        await ledger.open_account("1221.north", 1, a_request())
        assert (await ledger.commit_reservation(held.id)).state is ReservationState.COMMITTED

    async def test_what_was_given_up_frees_the_limit(self, ledger: Ledger) -> None:
        await ledger.open_account("1221.north", 100, a_request())
        held = await ledger.hold(a_posting())
        with pytest.raises(LimitExceeded):
            await ledger.hold(a_posting())
        await ledger.void_reservation(held.id)
        await ledger.hold(a_posting())

    async def test_a_refused_reservation_holds_nothing(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key()))
        await ledger.open_account("1221.north", 10, a_request())
        request = a_request()
        with pytest.raises(LimitExceeded):
            await ledger.reserve(a_load(a_key(), 11), None, request)
        with pytest.raises(ReservationUnknown):
            await ledger.reservation(uuid.UUID(request.request_id))
        assert (await ledger.purse(a_key())).pending_loads_fen == 0

    async def test_a_reservation_is_named_as_its_request_and_made_once(self, ledger: Ledger) -> None:
        request = a_request()
        first = await ledger.reserve(a_posting(), None, request)
        assert str(first.id) == request.request_id
        assert await ledger.reserve(a_posting(), None, request) == first
        assert (await ledger.account("2202")).pending_credits_fen == 100

    async def test_two_callers_with_one_request_id_do_not_share_a_reservation(self, ledger: Ledger) -> None:
        one = uuid.uuid4()
        await ledger.reserve(a_posting(), None, a_request(one))
        with pytest.raises(RequestIdReused):
            await ledger.reserve(a_posting(), None, a_request(one, caller="citycard://service/clearing"))
        assert (await ledger.account("2202")).pending_credits_fen == 100


class FoldingSuite:
    """Batches, issued cards, window fees."""

    async def test_a_batch_debits_its_purses_and_credits_its_lines(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key(1), a_key(2), opening_fen=1000))
        await ledger.fold_rows((a_key(2), 0, 200, 1000), (a_key(1), 0, 100, 1000), (a_key(1), 1, 50, 900))
        one, two = await ledger.purse(a_key(1)), await ledger.purse(a_key(2))
        assert (one.balance_fen, one.debits_fen, one.printed_balance_fen) == (850, 150, 850)
        assert (one.counter_max, one.counter_count, one.gap_open) == (1, 2, False)
        assert one.last_time == NOON + timedelta(minutes=1)
        assert (two.balance_fen, two.counter_max) == (800, 0)
        assert (await ledger.account("2203.metro")).balance_fen == 350
        assert (await ledger.account("2201")).balance_fen == 2000 - 350

    async def test_a_batch_that_comes_again_changes_nothing(self, ledger: Ledger) -> None:
        batch = a_batch((a_key(), 0, 200, 1000))
        await ledger.fold(batch)
        await ledger.fold(batch)
        assert (await ledger.purse(a_key())).debits_fen == 200
        assert (await ledger.account("2201")).debits_fen == 200

    async def test_a_purse_not_heard_of_is_opened_by_its_movements_and_gets_its_opening_later(
        self, ledger: Ledger
    ) -> None:
        await ledger.fold_rows((a_key(), 0, 200, 1000))
        assert (await ledger.purse(a_key())).balance_fen == -200
        await ledger.issue(issued(a_key(), opening_fen=1000))
        purse = await ledger.purse(a_key())
        assert (purse.balance_fen, purse.printed_balance_fen) == (800, 800)

    async def test_a_counter_that_comes_twice_moves_money_twice_and_counts_once(self, ledger: Ledger) -> None:
        await ledger.fold_rows((a_key(), 0, 10, 100), (a_key(), 0, 30, 100))
        await ledger.fold_rows((a_key(), 0, 5, 100), (a_key(), 1, 1, 90))
        purse = await ledger.purse(a_key())
        assert (purse.debits_fen, purse.counter_count, purse.counter_max) == (46, 2, 1)
        assert purse.printed_balance_fen == 89

    async def test_the_balance_printed_by_the_first_bearer_of_the_highest_counter_stands(self, ledger: Ledger) -> None:
        await ledger.fold_rows((a_key(), 3, 10, 100), (a_key(), 3, 30, 100))
        await ledger.fold_rows((a_key(), 3, 70, 100))
        assert (await ledger.purse(a_key())).printed_balance_fen == 90

    async def test_a_late_record_fills_its_gap_and_leaves_the_printed_balance(self, ledger: Ledger) -> None:
        await ledger.fold_rows((a_key(), 0, 10, 100), (a_key(), 2, 10, 80))
        assert (await ledger.purse(a_key())).gap_open
        await ledger.fold_rows((a_key(), 1, 10, 90))
        purse = await ledger.purse(a_key())
        assert (purse.gap_open, purse.printed_balance_fen, purse.counter_max, purse.counter_count) == (False, 70, 2, 3)

    async def test_generations_of_one_number_and_schemes_are_different_purses(self, ledger: Ledger) -> None:
        await ledger.fold_rows((a_key(), 0, 1, 10), (a_key(generation=2), 0, 2, 10), (a_key(scheme="cj"), 0, 4, 10))
        keys = (a_key(), a_key(generation=2), a_key(scheme="cj"))
        assert [(await ledger.purse(key)).debits_fen for key in keys] == [1, 2, 4]

    async def test_a_batch_of_movements_without_money_counts_them_and_posts_nothing(self, ledger: Ledger) -> None:
        await ledger.fold_rows((a_key(), 0, 0, 100))
        assert (await ledger.purse(a_key())).counter_max == 0
        with pytest.raises(AccountUnknown):
            await ledger.account("2201")

    async def test_a_batch_without_movements_is_folded_once_all_the_same(self, ledger: Ledger) -> None:
        await ledger.fold_rows()
        await ledger.fold_rows((a_key(), 0, 1, 1))
        assert (await ledger.purse(a_key())).debits_fen == 1

    async def test_lines_of_one_account_become_one_leg(self, ledger: Ledger) -> None:
        rows = ((a_key(1), 0, 5, 9), (a_key(2), 0, 7, 9))
        whole = a_batch(*rows)
        one, two = a_batch(rows[0]), a_batch(rows[1])
        lines = (*one.lines, *two.lines)
        await ledger.fold(PostedBatch(whole.batch_id, lines, 12, whole.movements, NOON))
        (entry,) = await ledger.list_entries("2203.metro", (0, 0), 10)
        assert (entry.leg.amount_fen, entry.event, entry.reference) == (
            12,
            "records_posted",
            f"batches/{whole.batch_id}",
        )

    async def test_a_batch_that_contradicts_itself_leaves_nothing(self, ledger: Ledger) -> None:
        good = a_batch((a_key(), 0, 5, 9))
        with pytest.raises(FactMalformed, match="sum to 5"):
            await ledger.fold(PostedBatch(good.batch_id, good.lines, 6, good.movements, NOON))
        with pytest.raises(PurseUnknown):
            await ledger.purse(a_key())

    async def test_issued_cards_open_purses_and_the_outlet_owes_for_them(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key(2), a_key(1), opening_fen=1000, deposit_fen=2000, price_fen=50))
        owed = await ledger.account("1221.north")
        assert owed.balance_fen == 2 * (1000 + 2000 + 50)
        balances = [(await ledger.account(name)).balance_fen for name in ("2201", "2202", "6001")]
        assert balances == [2000, 4000, 100]
        assert (await ledger.purse(a_key(1))).opening_fen == 1000

    async def test_a_card_issued_again_by_another_event_is_left_out_with_its_money(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key(1), opening_fen=1000))
        await ledger.issue(issued(a_key(1), a_key(2), opening_fen=300))
        await ledger.issue(issued(a_key(1), opening_fen=300))
        assert (await ledger.purse(a_key(1))).opening_fen == 1000
        assert (await ledger.account("2201")).balance_fen == 1300

    async def test_cards_issued_for_nothing_open_purses_without_a_journal(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key()))
        assert (await ledger.purse(a_key())).balance_fen == 0
        with pytest.raises(AccountUnknown):
            await ledger.account("1221.north")

    async def test_a_window_pays_its_fee_once_and_nothing_at_zero(self, ledger: Ledger) -> None:
        await ledger.charge("participants/metro/windows/20180901", "metro", 25)
        await ledger.charge("participants/metro/windows/20180901", "metro", 25)
        await ledger.charge("participants/metro/windows/20180902", "metro", 0)
        assert (await ledger.account("6002")).balance_fen == 25
        assert (await ledger.account("2203.metro")).balance_fen == -25

    async def test_a_fee_below_zero_or_of_nobody_is_no_fact(self, ledger: Ledger) -> None:
        with pytest.raises(FactMalformed):
            await ledger.charge("participants/metro/windows/20180901", "metro", -1)
        with pytest.raises(FactMalformed):
            await ledger.charge("participants//windows/20180901", "", 1)

    async def test_a_correction_changes_the_book_and_is_no_load(self, ledger: Ledger) -> None:
        await ledger.issue(issued(a_key(), opening_fen=100))
        await ledger.post(a_posting(debit("2201", 30, a_key()), credit("2206", 30), event="refund"))
        await ledger.post(a_posting(debit("2206", 10), credit("2201", 10, a_key()), event="refund_taken_back"))
        purse = await ledger.purse(a_key())
        assert (purse.balance_fen, purse.loads_fen, purse.debits_fen) == (80, 0, 0)
        assert (purse.corrections_debit_fen, purse.corrections_credit_fen) == (30, 10)
