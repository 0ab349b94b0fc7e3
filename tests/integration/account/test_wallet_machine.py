"""The state machine of wallets over PostgreSQL, and the proof of what it leaves behind."""

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
from tests.unit.account.suites import Ledger
from tests.unit.account.wallet_machine import WalletMachine
from tests.unit.account.wallet_suites import Wallets


@pytest.mark.slow
def test_wallets_in_postgres_are_the_dictionary(migrated: DatabaseUrls) -> None:
    class MachineInPostgres(WalletMachine):
        async def make_wallets(self) -> Wallets:
            with psycopg.connect(migrated.owner, autocommit=True) as connection:
                connection.execute(EMPTY)
            address = migrated.application.replace("postgresql://", "postgresql+psycopg://", 1)
            self.engine = create_async_engine(address, pool_size=10)
            chart, clock, remembered = standard_chart(), FakeClock(), AccountIds()
            return Wallets(Ledger(lambda: AccountUnitOfWork(self.engine, chart, clock, remembered), chart, clock))

        async def prove(self) -> Proof:
            async with self.wallets.ledger.transaction() as uow:
                return await uow.proofs.prove(300)

        async def leave(self) -> None:
            proof = await self.prove()
            assert [line for line in proof.lines if line.broken_count] == []
            await self.engine.dispose()

    run_state_machine_as_test(
        MachineInPostgres,
        settings=settings(
            max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
