"""The behaviour of wallets over the fakes: no database, the same suites as PostgreSQL's."""

import pytest

from libs.testkit.clock import FakeClock
from services.account.adapters.chart_file import standard_chart
from tests.unit.account.fakes import FakeBooks
from tests.unit.account.suites import Ledger
from tests.unit.account.wallet_move_suites import MandateSuite, MoveSuite
from tests.unit.account.wallet_suites import (
    CreditSuite,
    DebitSuite,
    GrantSuite,
    HoldSuite,
    LotSuite,
    MemberSuite,
    OpeningSuite,
    TenderSuite,
    Wallets,
)


@pytest.fixture
def wallets() -> Wallets:
    books = FakeBooks(standard_chart())
    return Wallets(Ledger(books, books.chart, FakeClock()))


class TestOpeningInMemory(OpeningSuite): ...


class TestCreditsInMemory(CreditSuite): ...


class TestGrantsInMemory(GrantSuite): ...


class TestDebitsInMemory(DebitSuite): ...


class TestLotsInMemory(LotSuite): ...


class TestHoldsInMemory(HoldSuite): ...


class TestTendersInMemory(TenderSuite): ...


class TestMembersInMemory(MemberSuite): ...


class TestMovesInMemory(MoveSuite): ...


class TestMandatesInMemory(MandateSuite): ...
