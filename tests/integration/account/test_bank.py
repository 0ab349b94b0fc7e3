"""The bank's statements beside the book: what has no counterpart is an item that explains the difference."""

import asyncio
from dataclasses import replace
from datetime import date, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from city.postgres import DatabaseUrls
from libs.errors import RequestIdReused
from libs.testkit.clock import FakeClock
from services.account.adapters.chart_file import standard_chart
from services.account.adapters.float_unit_of_work import AccountFloatUnitOfWork
from services.account.adapters.sql_accounts import AccountIds
from services.account.application.close_bank_item import CloseBankItem
from services.account.application.close_float_days import CloseFloatDays
from services.account.application.get_bank_reconciliation import GetBankReconciliation
from services.account.application.list_bank_items import ListBankItems
from services.account.application.upload_bank_statement import UploadBankStatement
from services.account.domain.bank_statement import (
    BankItem,
    BankItemKind,
    BankItemOutcome,
    BankLine,
    BankStatement,
    Reconciliation,
)
from services.account.domain.errors import (
    AccountUnknown,
    BankItemClosed,
    BankItemsDiffer,
    BankItemUnknown,
    BankStatementConflict,
    BankStatementUnbalanced,
)
from tests.integration.account.conftest import EMPTY
from tests.unit.account.builders import NOON, a_posting, a_request, credit, debit
from tests.unit.account.suites import Ledger

FIRST = date(2018, 9, 1)
DAY = timedelta(days=1)
NOT_IN_BOOK, NOT_AT_BANK, OPENING, CHAIN = BankItemKind


class Bank:
    """The bank beside a ledger under test."""

    def __init__(self, engine: AsyncEngine, clock: FakeClock) -> None:
        chart, remembered = standard_chart(), AccountIds()
        transaction = lambda: AccountFloatUnitOfWork(engine, chart, clock, remembered)  # noqa: E731 (one line)
        self.clock = clock
        self.upload_statement = UploadBankStatement(transaction, clock)
        self.reconciliation = GetBankReconciliation(transaction)
        self.list_items = ListBankItems(transaction)
        self.close_item = CloseBankItem(transaction, clock)
        self.close_days = CloseFloatDays(transaction, clock, 1.0)

    async def upload(
        self, day: date, opening: int, *lines: tuple[int, str], closing: int | None = None
    ) -> Reconciliation:
        total = opening + sum(amount for amount, _ in lines)
        rows = tuple(BankLine(amount, reference, "words") for amount, reference in lines)
        statement = BankStatement("1002", day, opening, total if closing is None else closing, rows, self.clock.now())
        return await self.upload_statement(statement, a_request())

    async def items(self, *, include_closed: bool = False) -> list[BankItem]:
        return await self.list_items(0, 100, None, include_closed=include_closed)


@pytest.fixture
def bank(engine: AsyncEngine, ledger: Ledger) -> Bank:
    return Bank(engine, ledger.clock)


async def paid_in(ledger: Ledger, amount: int, reference: str, at: datetime = NOON) -> None:
    legs = (debit("1002", amount), credit("1221.north", amount))
    await ledger.post(a_posting(*legs, event="handed_over", reference=reference, at=at))


async def paid_out(ledger: Ledger, amount: int, reference: str, at: datetime = NOON) -> None:
    legs = (debit("2203.metro", amount), credit("1002", amount))
    await ledger.post(a_posting(*legs, event="payout", reference=reference, at=at))


def seen(items: list[BankItem]) -> list[tuple[BankItemKind, int, str]]:
    return [(item.kind, item.amount_fen, item.reference) for item in items]


async def test_a_statement_that_says_what_the_book_says_leaves_nothing_open(ledger: Ledger, bank: Bank) -> None:
    await paid_in(ledger, 500, "a")
    await paid_in(ledger, 500, "a")
    await paid_out(ledger, 200, "b")
    found = await bank.upload(FIRST, 0, (500, "a"), (-200, "b"), (500, "a"))
    assert found.agrees
    assert (found.bank_fen, found.booked_fen, await bank.items()) == (800, 800, [])


async def test_what_has_no_counterpart_is_open_and_explains_the_difference_exactly(ledger: Ledger, bank: Bank) -> None:
    await paid_in(ledger, 500, "a")
    await paid_out(ledger, 200, "b")
    found = await bank.upload(FIRST, 100, (499, "a"), (-3, "fee"))
    assert (found.bank_fen, found.booked_fen, found.difference_fen) == (596, 300, 296)
    assert (found.opening_fen, found.not_in_book_fen, found.not_at_bank_fen, found.chain_fen) == (100, 496, 300, 0)
    assert found.unexplained_fen == 0
    assert seen(await bank.items()) == [
        (NOT_IN_BOOK, 499, "a"), (NOT_IN_BOOK, -3, "fee"), (NOT_AT_BANK, -500, "a"), (NOT_AT_BANK, 200, "b"),
        (OPENING, 100, ""),
    ]  # fmt: skip


async def test_a_counterpart_that_comes_later_on_either_side_ends_the_item(ledger: Ledger, bank: Bank) -> None:
    await paid_in(ledger, 500, "a")
    bank.clock.advance(days=2)
    assert seen([*(await bank.upload(FIRST, 0, (70, "c"))).items]) == [(NOT_IN_BOOK, 70, "c"), (NOT_AT_BANK, -500, "a")]
    await paid_in(ledger, 70, "c", at=bank.clock.now())
    after = await bank.upload(FIRST + DAY, 70, (500, "a"))
    # The entry of the day after next is not of this day: the line is still ahead of the book, and matched all the same.
    assert (after.difference_fen, after.not_in_book_fen, after.items) == (70, 70, ())
    ended = await bank.items(include_closed=True)
    assert {item.outcome for item in ended} == {BankItemOutcome.MATCHED}
    assert (await bank.reconciliation("1002", FIRST)).difference_fen == 70 - 500


async def test_a_late_journal_ends_its_item_at_the_days_end_without_another_statement(
    ledger: Ledger, bank: Bank
) -> None:
    await bank.upload(FIRST, 0, (70, "c"))
    await paid_in(ledger, 70, "c")
    assert len(await bank.items()) == 1
    bank.clock.advance(days=1)
    await bank.close_days.close_due()
    assert await bank.items() == []
    assert (await bank.reconciliation("1002", FIRST)).agrees


async def test_the_journals_own_name_is_a_reference_too(ledger: Ledger, bank: Bank) -> None:
    await paid_in(ledger, 500, "a")
    async with ledger.transaction() as uow:
        journal = await uow.journals.get(1)
    assert (await bank.upload(FIRST, 0, (500, f"journals/{journal.id}"))).agrees


async def test_statements_that_do_not_meet_are_told_until_the_one_between_comes(ledger: Ledger, bank: Bank) -> None:
    bank.clock.advance(days=5)
    await bank.upload(FIRST, 0, (10, "x"))
    found = await bank.upload(FIRST + 2 * DAY, 30)
    assert (found.chain_fen, found.difference_fen, found.unexplained_fen) == (20, 30, 0)
    assert (CHAIN, 20, "") in seen([*found.items])
    await bank.upload(FIRST + DAY, 10, (20, "y"))
    assert seen(await bank.items()) == [(NOT_IN_BOOK, 10, "x"), (NOT_IN_BOOK, 20, "y")]
    assert (await bank.reconciliation("1002", FIRST + 2 * DAY)).chain_fen == 0


async def test_an_earlier_first_statement_moves_the_opening(ledger: Ledger, bank: Bank) -> None:
    await paid_in(ledger, 500, "a", at=NOON - DAY)
    assert (await bank.upload(FIRST, 520)).opening_fen == 20
    found = await bank.upload(FIRST - DAY, 0, (500, "a"))
    assert found.agrees is False
    assert (found.opening_fen, seen(await bank.items())) == (0, [(CHAIN, 20, "")])


async def test_a_statement_that_does_not_add_up_leaves_nothing(ledger: Ledger, bank: Bank) -> None:
    await paid_in(ledger, 500, "a")
    with pytest.raises(BankStatementUnbalanced) as refused:
        await bank.upload(FIRST, 0, (500, "a"), closing=499)
    assert refused.value.facts["lines_fen"] == "500"
    assert (await bank.reconciliation("1002", FIRST)).day is None


async def test_the_same_statement_again_changes_nothing_and_another_one_of_its_day_is_refused(
    ledger: Ledger, bank: Bank
) -> None:
    first = await bank.upload(FIRST, 0, (500, "a"))
    assert await bank.upload(FIRST, 0, (500, "a")) == first
    with pytest.raises(BankStatementConflict):
        await bank.upload(FIRST, 0, (400, "a"), (100, "a"))
    assert len(await bank.items()) == 1


async def test_two_uploads_at_once_match_each_entry_once(ledger: Ledger, bank: Bank) -> None:
    await paid_in(ledger, 500, "a")
    bank.clock.advance(days=2)
    await asyncio.gather(*(bank.upload(FIRST + n * DAY, 500 * n, (500, "a")) for n in range(3)))
    assert seen(await bank.items()) == [(NOT_IN_BOOK, 500, "a")] * 2


async def test_a_person_matches_two_items_of_one_amount_or_decides_one(ledger: Ledger, bank: Bank) -> None:
    await paid_in(ledger, 500, "a")
    await bank.upload(FIRST, 0, (500, "misspelt"), (-3, "fee"))
    line, fee, entry = await bank.items()
    with pytest.raises(BankItemsDiffer):
        await bank.close_item(fee.id, entry.id, "no", a_request())
    with pytest.raises(BankItemsDiffer):
        await bank.close_item(line.id, line.id, "no", a_request())
    request = a_request()
    closed = await bank.close_item(entry.id, line.id, "the bank misspelt it", request)
    assert closed.outcome is BankItemOutcome.MATCHED
    assert await bank.close_item(entry.id, line.id, "the bank misspelt it", request) == closed
    decided = await bank.close_item(fee.id, None, "small", a_request())
    assert (decided.outcome, decided.note) == (BankItemOutcome.DECIDED, "small")
    with pytest.raises(BankItemClosed):
        await bank.close_item(fee.id, None, "again", a_request())
    with pytest.raises(BankItemUnknown):
        await bank.close_item(99, None, "what", a_request())
    with pytest.raises(RequestIdReused):
        await bank.close_item(entry.id, None, "other", replace(request, digest=b"0" * 32))
    # Decided is not gone: the fee stays a difference of the books until somebody books it.
    found = await bank.reconciliation("1002", FIRST)
    assert (found.difference_fen, found.items, found.agrees) == (-3, (), False)


async def test_an_account_without_statements_or_entries_is_told_so(ledger: Ledger, bank: Bank) -> None:
    with pytest.raises(AccountUnknown):
        await bank.reconciliation("1003", FIRST)


amounts = st.integers(1, 3)
sides = st.lists(st.tuples(amounts, st.sampled_from("abc"), st.integers(0, 3), st.booleans()), max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(book=sides, told=sides, gap=st.integers(-2, 2))
async def test_bank_less_book_is_always_explained(
    engine: AsyncEngine,
    books: DatabaseUrls,
    book: list[tuple[int, str, int, bool]],
    told: list[tuple[int, str, int, bool]],
    gap: int,
) -> None:
    with psycopg.connect(books.owner, autocommit=True) as connection:
        connection.execute(EMPTY)
    # Short keys of accounts do not outlive the emptying.
    clock, chart, remembered = FakeClock(NOON + 4 * DAY), standard_chart(), AccountIds()
    ledger = Ledger(lambda: AccountFloatUnitOfWork(engine, chart, clock, remembered), chart, clock)
    bank = Bank(engine, clock)
    for amount, reference, day, inwards in book:
        await (paid_in if inwards else paid_out)(ledger, amount, reference, NOON + day * DAY)
    closing = 5
    for day in (2, 0, 1):
        lines = [(amount if inwards else -amount, reference) for amount, reference, on, inwards in told if on == day]
        closing = (await bank.upload(FIRST + day * DAY, closing + gap * day, *lines)).bank_fen
    for day in range(3):
        assert (await bank.reconciliation("1002", FIRST + day * DAY)).unexplained_fen == 0
