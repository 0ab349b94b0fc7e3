"""The state machine over PostgreSQL, and the proof of what it leaves behind."""

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy.ext.asyncio import create_async_engine

from city.postgres import DatabaseUrls
from libs.testkit.clock import FakeClock
from services.account.adapters.chart_file import standard_chart
from services.account.adapters.sql_accounts import AccountIds
from services.account.adapters.unit_of_work import AccountUnitOfWork
from services.account.domain.proof import Proof
from tests.integration.account.conftest import EMPTY
from tests.unit.account.machine import LedgerMachine
from tests.unit.account.suites import Ledger


@pytest.mark.slow
def test_the_ledger_in_postgres_is_the_dictionary(migrated: DatabaseUrls) -> None:
    class MachineInPostgres(LedgerMachine):
        async def make_ledger(self) -> Ledger:
            with psycopg.connect(migrated.owner, autocommit=True) as connection:
                connection.execute(EMPTY)
            address = migrated.application.replace("postgresql://", "postgresql+psycopg://", 1)
            self.engine = create_async_engine(address, pool_size=10)
            chart, clock, remembered = standard_chart(), FakeClock(), AccountIds()
            return Ledger(lambda: AccountUnitOfWork(self.engine, chart, clock, remembered), chart, clock)

        async def prove(self) -> Proof:
            async with self.ledger.transaction() as uow:
                return await uow.proofs.prove(300)

        async def leave(self) -> None:
            await self.engine.dispose()

        def teardown(self) -> None:
            self.check_purses()
            proof = self.run(self.prove())
            assert isinstance(proof, Proof)
            # Rides print nonsense on purpose, so purses are not compared with it; all else must hold.
            assert [line for line in proof.lines if line.broken_count and line.invariant != "I5"] == []
            super().teardown()

    run_state_machine_as_test(
        MachineInPostgres,
        settings=settings(
            max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
