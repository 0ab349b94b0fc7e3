"""The list in PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from libs.testkit.clock import FakeClock
from services.blacklist.adapters.sql import BlacklistUnitOfWork
from services.blacklist.application.prove import Prove
from tests.unit.blacklist.fakes import DAY, NOON, a_card
from tests.unit.blacklist.suite import COURT, Database, EntriesSuite, change

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls


def _engine(url: str) -> AsyncEngine:
    return create_async_engine(url.replace("postgresql://", "postgresql+psycopg://"), pool_size=8)


@pytest.fixture
async def engine(list_database: "DatabaseUrls") -> AsyncIterator[AsyncEngine]:
    engine = _engine(list_database.application)
    yield engine
    await engine.dispose()


@pytest.fixture
def lists(engine: AsyncEngine) -> Database:
    return lambda: BlacklistUnitOfWork(engine, FakeClock(NOON))


class TestSqlEntries(EntriesSuite):
    pass


async def test_changes_at_once_make_versions_without_holes(lists: Database) -> None:
    cards = [a_card(serial) for serial in range(12)]
    await asyncio.gather(*(change(lists, card, lambda entry: entry.decide(COURT)) for card in cards))
    await asyncio.gather(*(change(lists, card, lambda entry: entry.remove(NOON)) for card in cards[:5]))
    proof = await Prove(lists)()
    assert proof.version == 17
    assert not any(line.broken_count for line in proof.lines)
    assert [line.checked_count for line in proof.lines[:4]] == [17, 1, 12, 7]


async def test_the_service_itself_cannot_rewrite_the_chain(engine: AsyncEngine, lists: Database) -> None:
    await change(lists, a_card(), lambda entry: entry.decide(COURT))
    for statement in ("UPDATE list_change SET reason = 1", "DELETE FROM list_change", "DELETE FROM list_head"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with engine.begin() as connection:
                await connection.execute(text(statement))


@pytest.mark.parametrize(
    ("tampering", "line"),
    [
        ("UPDATE list_change SET mode = 1 WHERE version = 2", 0),
        ("DELETE FROM list_change WHERE version = 2", 0),
        ("UPDATE list_head SET chain_hash = decode(repeat('11', 32), 'hex')", 1),
        ("UPDATE entry SET listed = false", 2),
        ("UPDATE entry SET effective_time = now()", 2),
        ("DELETE FROM entry", 2),
        ("UPDATE list_head SET entry_count = 7", 3),
    ],
)
async def test_a_proof_finds_what_the_owner_of_the_database_changed(
    list_database: "DatabaseUrls", lists: Database, tampering: str, line: int
) -> None:
    for serial in range(3):
        await change(lists, a_card(serial), lambda entry: entry.decide(COURT))
    owner = _engine(list_database.owner)
    async with owner.begin() as connection:
        await connection.execute(text(tampering))
    await owner.dispose()
    proof = await Prove(lists)()
    assert proof.lines[line].broken_count > 0
    assert proof.lines[line].first_broken


async def test_a_remembered_cancellation_survives_and_stops_the_late_report(lists: Database) -> None:
    await change(lists, a_card(), lambda entry: entry.cancel_loss(NOON + DAY))
    late = await change(lists, a_card(), lambda entry: entry.report_loss(NOON, NOON + DAY))
    assert not late.listed
    async with lists() as uow:
        assert (await uow.entries.head()).version == 0
