"""The behaviour of the ledger over PostgreSQL: the same suites as the fakes'."""

from tests.unit.account.suites import FoldingSuite, PostingSuite, ReservationSuite


class TestPostingInPostgres(PostingSuite): ...


class TestReservationsInPostgres(ReservationSuite): ...


class TestFoldingInPostgres(FoldingSuite): ...
