"""The behaviour of the ledger over the fakes: no database, the same suites as PostgreSQL's."""

import pytest

from libs.testkit.clock import FakeClock
from services.account.adapters.chart_file import standard_chart
from services.account.domain.events import BatchFolded, ReservationExpired
from tests.unit.account.builders import a_batch, a_key, a_posting
from tests.unit.account.fakes import FakeBooks
from tests.unit.account.suites import (
    AssetSuite,
    BookSuite,
    FoldingSuite,
    ItemSuite,
    Ledger,
    PartSuite,
    PostingSuite,
    ReservationSuite,
)


@pytest.fixture
def books() -> FakeBooks:
    return FakeBooks(standard_chart())


@pytest.fixture
def ledger(books: FakeBooks) -> Ledger:
    return Ledger(books, books.chart, FakeClock())


class TestPostingInMemory(PostingSuite): ...


class TestReservationsInMemory(ReservationSuite): ...


class TestFoldingInMemory(FoldingSuite): ...


class TestAssetsInMemory(AssetSuite): ...


class TestBookInMemory(BookSuite): ...


class TestPartsInMemory(PartSuite): ...


class TestItemsInMemory(ItemSuite): ...


async def test_a_folded_batch_is_told_with_its_totals_and_its_journal(books: FakeBooks, ledger: Ledger) -> None:
    batch = a_batch((a_key(1), 0, 5, 9), (a_key(2), 0, 7, 9))
    await ledger.fold(batch)
    await ledger.fold(batch)
    journal = books.state.journals[-1][0]
    assert books.state.events == [BatchFolded(batch.batch_id, 2, 12, journal.id, ledger.clock.now())]


async def test_an_expired_reservation_is_told_once(books: FakeBooks, ledger: Ledger) -> None:
    held = await ledger.hold(a_posting(), seconds=1)
    ledger.clock.advance(seconds=2)
    await ledger.expiry.sweep()
    await ledger.expiry.sweep()
    assert books.state.events == [ReservationExpired(held.id, "tests/1", ledger.clock.now())]
