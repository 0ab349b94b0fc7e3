"""Bank flows over PostgreSQL: the same suites as the fakes', and the proof over what they leave."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.testkit.clock import FakeClock
from services.account.adapters.chart_file import standard_chart
from services.account.adapters.sql_accounts import AccountIds
from services.account.adapters.unit_of_work import AccountUnitOfWork
from tests.unit.account.bank_suites import BankSuite, Flows, FlowSuite, MatchSuite, TakingBackSuite, flows
from tests.unit.account.suites import Ledger

__all__ = ["flows"]


@pytest.fixture
async def bank_flows(engine: AsyncEngine) -> Flows:
    chart, clock, remembered = standard_chart(), FakeClock(), AccountIds()

    def transaction() -> AccountUnitOfWork:
        return AccountUnitOfWork(engine, chart, clock, remembered)

    return Flows(Ledger(transaction, chart, clock), transaction, clock)


@pytest.fixture(autouse=True)
async def proven(bank_flows: Flows) -> AsyncIterator[None]:
    """After every test the books prove themselves, whatever state its flows were left in."""
    yield
    async with bank_flows.transaction() as uow:
        proof = await uow.proofs.prove(300)
    assert [(line.statement, line.first_broken) for line in proof.lines if line.broken_count] == []


class TestFlowsInPostgres(FlowSuite): ...


class TestTakingBackInPostgres(TakingBackSuite): ...


class TestBanksInPostgres(BankSuite): ...


class TestMatchInPostgres(MatchSuite): ...
