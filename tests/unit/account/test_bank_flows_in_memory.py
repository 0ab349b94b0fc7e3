"""Bank flows over the fakes: no database, the same suites as PostgreSQL's."""

import pytest

from libs.testkit.clock import FakeClock
from services.account.adapters.chart_file import standard_chart
from tests.unit.account.bank_fakes import BankFakeBooks
from tests.unit.account.bank_suites import BankSuite, Flows, FlowSuite, MatchSuite, TakingBackSuite, flows
from tests.unit.account.suites import Ledger

__all__ = ["flows"]


@pytest.fixture
def bank_flows() -> Flows:
    books, clock = BankFakeBooks(standard_chart()), FakeClock()
    return Flows(Ledger(books, books.chart, clock), books, clock)


class TestFlowsInMemory(FlowSuite): ...


class TestTakingBackInMemory(TakingBackSuite): ...


class TestBanksInMemory(BankSuite): ...


class TestMatchInMemory(MatchSuite): ...
