"""The behaviour of the ledger over PostgreSQL: the same suites as the fakes'."""

from tests.unit.account.suites import (
    AssetSuite,
    BookSuite,
    FoldingSuite,
    ItemSuite,
    PartSuite,
    PostingSuite,
    ReservationSuite,
)


class TestPostingInPostgres(PostingSuite): ...


class TestReservationsInPostgres(ReservationSuite): ...


class TestFoldingInPostgres(FoldingSuite): ...


class TestAssetsInPostgres(AssetSuite): ...


class TestBookInPostgres(BookSuite): ...


class TestPartsInPostgres(PartSuite): ...


class TestItemsInPostgres(ItemSuite): ...
