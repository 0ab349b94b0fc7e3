"""The ledger over a real PostgreSQL: one database per session, emptied before each test."""

from collections.abc import AsyncIterator, Callable

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from city.postgres import DatabaseUrls
from libs.runtime.migrate import upgrade
from libs.testkit.clock import FakeClock
from services.account.adapters.chart_file import standard_chart
from services.account.adapters.sql_accounts import AccountIds
from services.account.adapters.unit_of_work import AccountUnitOfWork
from tests.unit.account.suites import Ledger

EMPTY = (
    "TRUNCATE account, purse, journal, entry, reservation, reservation_leg, batch_fold, purse_opening, movement,"
    " purse_item, product, float_close, float_day, float_line, float_book, dormant_purse, bank_statement, bank_line,"
    " bank_match, bank_item,"
    " bank, bank_day, bank_flow, bank_leg, bank_file, bank_file_line, bank_break,"
    " wallet, wallet_lot, wallet_rule, wallet_debit, wallet_tender, wallet_tender_lot, top_up,"
    " request_claim, outbox, inbox, dead_letter RESTART IDENTITY;"
    " DELETE FROM dormancy_rule WHERE set_by <> 'standard';"
    " UPDATE book SET sequence = 0, post_time = NULL, hash = decode(repeat('00', 32), 'hex')"
)


@pytest.fixture(scope="session")
def migrated(database: Callable[[str], DatabaseUrls]) -> DatabaseUrls:
    urls = database("account")
    assert upgrade("account", urls.owner) == "base→0005"
    return urls


@pytest.fixture
def books(migrated: DatabaseUrls) -> DatabaseUrls:
    """The database with nothing in it."""
    with psycopg.connect(migrated.owner, autocommit=True) as connection:
        connection.execute(EMPTY)
    return migrated


@pytest.fixture
async def engine(books: DatabaseUrls) -> AsyncIterator[AsyncEngine]:
    address = books.application.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_async_engine(address, pool_size=10, connect_args={"options": "-c lock_timeout=20s"})
    yield engine
    await engine.dispose()


@pytest.fixture
def ledger(engine: AsyncEngine) -> Ledger:
    chart, clock, remembered = standard_chart(), FakeClock(), AccountIds()
    return Ledger(lambda: AccountUnitOfWork(engine, chart, clock, remembered), chart, clock)
