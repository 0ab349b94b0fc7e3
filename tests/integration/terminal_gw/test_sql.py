"""Terminals and uploads in PostgreSQL."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from libs.testkit.clock import FakeClock
from services.terminal_gw.adapters.unit_of_work import GatewayUnitOfWork
from tests.unit.terminal_gw.suite import Database, TerminalsSuite, UploadsSuite

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls


@pytest.fixture
async def engine(gateway_database: "DatabaseUrls") -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(gateway_database.application.replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    await engine.dispose()


@pytest.fixture
def gateway_rows(engine: AsyncEngine) -> Database:
    return lambda: GatewayUnitOfWork(engine, FakeClock())


class TestSqlTerminals(TerminalsSuite):
    pass


class TestSqlUploads(UploadsSuite):
    pass


async def test_the_service_cannot_write_over_a_byte_or_forget_a_refusal(engine: AsyncEngine) -> None:
    for statement in ("UPDATE upload_part SET data = data", "DELETE FROM refused_upload"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with engine.begin() as connection:
                await connection.execute(text(statement))
