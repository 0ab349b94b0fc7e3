"""A migrated database per test, on the session's real server."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from libs.runtime.migrate import upgrade
from libs.testkit.clock import FakeClock
from services.card.adapters.holder_cipher import HolderCipher
from services.card.adapters.sql import SqlUnitOfWork
from services.card.application.ports import OpenUnitOfWork

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls

SECRET = bytes(range(32))


@pytest.fixture(scope="session")
def card_database(database: "Callable[[str], DatabaseUrls]") -> "DatabaseUrls":
    """One database for the session: a migration costs more than emptying the tables."""
    urls = database("card")
    upgrade("card", urls.owner)
    return urls


@pytest.fixture
def empty_database(card_database: "DatabaseUrls") -> "DatabaseUrls":
    with psycopg.connect(card_database.owner) as connection:
        tables = "load, holder, stock_level, card_move, card, product, request_claim, outbox, inbox, dead_letter"
        connection.execute(f"TRUNCATE {tables}")
    return card_database


@pytest.fixture
async def engine(empty_database: "DatabaseUrls") -> AsyncIterator[AsyncEngine]:
    url = empty_database.application.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_async_engine(url, pool_size=5, max_overflow=0)
    yield engine
    await engine.dispose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def unit_of_work(engine: AsyncEngine, clock: FakeClock) -> OpenUnitOfWork:
    return partial(SqlUnitOfWork, engine, HolderCipher(SECRET), clock)
