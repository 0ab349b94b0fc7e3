"""Lines that clearing decided beside records and fees."""

import uuid
from datetime import UTC, datetime

import pytest

from libs.testkit.clock import FakeClock
from services.account.adapters.chart_file import standard_chart
from services.account.application.post_book_lines import BookLine, PostBookLines
from services.account.domain.errors import FactMalformed
from tests.unit.account.fakes import FakeBooks
from tests.unit.account.suites import Ledger

AT = datetime(2025, 1, 2, tzinfo=UTC)
PAID = (BookLine("2205.bus", "2203.bus", 300), BookLine("2205.bus", "2206", 50))


@pytest.fixture
def ledger() -> Ledger:
    books = FakeBooks(standard_chart())
    return Ledger(books, books.chart, FakeClock())


async def post(ledger: Ledger, event: str, reference: str, *lines: BookLine) -> None:
    async with ledger.transaction() as uow:
        await PostBookLines(ledger.chart, ledger.clock, uuid.uuid4)(uow, event, reference, lines, AT)
        await uow.commit()


async def test_the_lines_of_a_decision_are_one_journal_booked_once(ledger: Ledger) -> None:
    await post(ledger, "suspense_decided", "suspenseItems/1", *PAID)
    await post(ledger, "suspense_decided", "suspenseItems/1", *PAID)
    await post(ledger, "suspense_decided", "suspenseItems/2", *PAID)
    suspense = await ledger.account("2205.bus")
    assert (suspense.debits_fen, (await ledger.account("2203.bus")).credits_fen) == (700, 600)
    assert (await ledger.account("2206")).credits_fen == 100


@pytest.mark.parametrize(
    ("event", "reference", "lines"),
    [
        ("suspense_decided", "suspenseItems/1", ()),
        ("suspense_decided", "", PAID),
        ("records_posted", "batches/1", PAID),
        ("suspense_decided", "suspenseItems/1", (BookLine("2205.bus", "2203.bus", 0),)),
        ("suspense_decided", "suspenseItems/1", (BookLine("2205.bus", "2203.bus", -5),)),
        ("suspense_decided", "suspenseItems/1", (BookLine("2205.bus", "9999", 5),)),
        ("suspense_decided", "suspenseItems/1", (BookLine("no account", "2203.bus", 5),)),
        ("suspense_decided", "suspenseItems/1", (BookLine("2201", "2203.bus", 5),)),
    ],
)
async def test_lines_that_contradict_themselves_change_nothing(
    ledger: Ledger, event: str, reference: str, lines: tuple[BookLine, ...]
) -> None:
    with pytest.raises(FactMalformed):
        await post(ledger, event, reference, *lines)
