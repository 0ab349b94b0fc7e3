"""Units of work, request claims and migrations against a real PostgreSQL."""

import asyncio
import datetime as dt
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy.exc
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.errors import RequestIdReused
from libs.runtime.database import UnitOfWork, check_database, create_engine, driver_connection
from libs.runtime.housekeeping import Keep, prune
from libs.runtime.migrate import upgrade
from libs.runtime.outbox import PAYLOAD_BYTES_MAX, EventTooLong
from libs.runtime.refusals import dependency_of
from libs.runtime.requests import RequestKey
from libs.testkit.clock import FakeClock
from libs.testkit.echo import EchoSettings, Said

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls
    from city.servers import LocalServers

KEY = RequestKey("citycard://outlet/1", "p.S/A", "7d7a4190-6a11-4cfa-9e62-f191c1ab228d", b"\x01" * 32)
OTHER = RequestKey(KEY.caller, KEY.method, KEY.request_id, b"\x02" * 32)


@dataclass(frozen=True, slots=True)
class Receipt:
    number: int
    mac: bytes
    at: dt.datetime


RECEIPT = Receipt(1, b"\xff\x80", dt.datetime(2018, 9, 1, 4, tzinfo=dt.UTC))


async def count(engine: AsyncEngine, table: str) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def write(uow: UnitOfWork, words: str) -> None:
    await uow.connection.execute(text("INSERT INTO effect (text) VALUES (:words)"), {"words": words})


async def use_case(engine: AsyncEngine, key: RequestKey, receipt: Receipt, *, pause_s: float = 0.0) -> Receipt:
    async with UnitOfWork(engine) as uow:
        if not await uow.requests.claim(key):
            return await uow.requests.first_answer(key, Receipt)
        await write(uow, f"paid {receipt.number}")
        await asyncio.sleep(pause_s)
        await uow.outbox.add([Said(text="paid")])
        await uow.requests.answer(key, receipt)
        await uow.commit()
    return receipt


async def test_leaving_without_commit_leaves_nothing(engine: AsyncEngine) -> None:
    async with UnitOfWork(engine) as uow:
        assert await uow.requests.claim(KEY)
        await write(uow, "paid")
        await uow.outbox.add([Said(text="paid")])

    async def fails() -> None:
        async with UnitOfWork(engine) as uow:
            await write(uow, "paid")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fails()
    assert [await count(engine, table) for table in ("effect", "outbox", "request_claim")] == [0, 0, 0]


async def test_a_retry_gets_the_first_answer_and_does_nothing(engine: AsyncEngine) -> None:
    first = await use_case(engine, KEY, RECEIPT)
    again = await use_case(engine, KEY, Receipt(2, b"", RECEIPT.at))
    assert again == first == RECEIPT
    assert [await count(engine, table) for table in ("effect", "outbox")] == [1, 1]


async def test_two_at_once_have_one_effect_and_one_answer(engine: AsyncEngine) -> None:
    answers = await asyncio.gather(
        *(use_case(engine, KEY, Receipt(number, b"", RECEIPT.at), pause_s=0.2) for number in range(4))
    )
    assert len(set(answers)) == 1
    assert [await count(engine, table) for table in ("effect", "outbox", "request_claim")] == [1, 1, 1]


async def test_other_content_under_the_same_id_is_refused_even_at_the_same_moment(engine: AsyncEngine) -> None:
    results = await asyncio.gather(
        use_case(engine, KEY, RECEIPT, pause_s=0.2),
        use_case(engine, OTHER, RECEIPT, pause_s=0.2),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["Receipt", "RequestIdReused"]
    assert await count(engine, "effect") == 1
    refused = next(result for result in results if isinstance(result, RequestIdReused))
    assert refused.facts == {"request_id": KEY.request_id}


async def test_when_the_first_fails_the_waiting_second_takes_over(engine: AsyncEngine) -> None:
    async with UnitOfWork(engine) as uow:
        assert await uow.requests.claim(KEY)
        await write(uow, "lost")
        waiting = asyncio.create_task(use_case(engine, KEY, RECEIPT))
        await asyncio.sleep(0.3)
        assert not waiting.done()
    assert await waiting == RECEIPT
    assert await count(engine, "effect") == 1


async def test_another_caller_or_method_may_use_the_same_id(engine: AsyncEngine) -> None:
    for key in (
        KEY,
        RequestKey("citycard://outlet/2", KEY.method, KEY.request_id, KEY.digest),
        RequestKey(KEY.caller, "p.S/B", KEY.request_id, KEY.digest),
    ):
        await use_case(engine, key, RECEIPT)
    assert await count(engine, "effect") == 3


async def test_an_answer_needs_its_claim(engine: AsyncEngine) -> None:
    async with UnitOfWork(engine) as uow:
        with pytest.raises(AssertionError, match="only after claiming"):
            await uow.requests.answer(KEY, RECEIPT)


async def test_what_is_older_than_its_time_is_cleared_away_and_the_rest_stays(engine: AsyncEngine) -> None:
    day = dt.timedelta(days=1)
    async with UnitOfWork(engine) as uow:
        for request_id, age in (("old", 41), ("young", 39)):
            await uow.requests.claim(RequestKey(KEY.caller, KEY.method, request_id, KEY.digest))
            statement = (
                "UPDATE request_claim SET claimed_at = now() - make_interval(days => :age) WHERE request_id = :id"
            )
            await uow.connection.execute(text(statement), {"age": age, "id": request_id})
        for age in (21, 19):
            await uow.inbox.claim("a", uuid.uuid4())
            await uow.connection.execute(
                text("UPDATE inbox SET handled_at = now() - make_interval(days => :age) WHERE handled_at > now() - :d"),
                {"age": age, "d": day},
            )
        # One was published long ago, one lately, one waits since long: what waits is never cleared away.
        await uow.outbox.add([Said(text=one) for one in ("long ago", "lately", "waits")])
        ages = "(VALUES (1, 11), (2, 9)) AS a (place, days)"
        await uow.connection.execute(
            text(
                f"UPDATE outbox SET published_at = now() - make_interval(days => a.days) FROM {ages} "
                "WHERE outbox.id = (SELECT min(id) FROM outbox) + a.place - 1"
            )
        )
        await uow.commit()
    keep = Keep(outbox=10 * day, inbox=20 * day, requests=40 * day)
    assert await prune(engine, keep) == {"outbox": 1, "inbox": 1, "request_claim": 1}
    assert await prune(engine, keep) == {"outbox": 0, "inbox": 0, "request_claim": 0}
    assert await count(engine, "outbox") == 2
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT request_id FROM request_claim")) == "young"


async def test_events_carry_the_clock_of_the_service(engine: AsyncEngine) -> None:
    async with UnitOfWork(engine, FakeClock()) as uow:
        ids = await uow.outbox.add([Said(text="a"), Said(text="b")])
        await uow.outbox.add([])
        await uow.commit()
    async with engine.connect() as connection:
        rows = list(await connection.execute(text("SELECT * FROM outbox ORDER BY id")))
    assert [row.event_id for row in rows] == ids
    assert {row.occurred_at for row in rows} == {FakeClock().now()}
    assert {(row.subject, row.published_at) for row in rows} == {("citycard.echo.v1.Said", None)}
    assert [Said.FromString(row.payload).text for row in rows] == ["a", "b"]


async def test_an_event_that_no_broker_would_take_is_refused_before_commit(engine: AsyncEngine) -> None:
    async with UnitOfWork(engine) as uow:
        with pytest.raises(EventTooLong, match=r"citycard\.echo\.v1\.Said"):
            await uow.outbox.add([Said(text="x" * PAYLOAD_BYTES_MAX)])


async def test_copy_is_part_of_the_transaction(engine: AsyncEngine) -> None:
    for commit in (False, True):
        async with UnitOfWork(engine) as uow:
            await write(uow, "before")
            driver = await driver_connection(uow.connection)
            async with driver.cursor() as cursor, cursor.copy("COPY effect (text) FROM STDIN") as copy:
                for number in range(10):
                    await copy.write_row((f"row {number}",))
            if commit:
                await uow.commit()
        assert await count(engine, "effect") == (11 if commit else 0)


async def test_a_lock_that_does_not_come_is_a_missing_dependency(settings: EchoSettings, engine: AsyncEngine) -> None:
    impatient = create_engine(settings.model_copy(update={"database_lock_timeout_s": 0.1}))
    try:
        async with UnitOfWork(engine) as holder:
            await holder.requests.claim(KEY)
            async with UnitOfWork(impatient) as waiter:
                with pytest.raises(sqlalchemy.exc.OperationalError) as late:
                    await waiter.requests.claim(KEY)
        assert dependency_of(late.value) == "database"
    finally:
        await impatient.dispose()


async def test_a_restart_of_the_database_is_survived(engine: AsyncEngine, servers: "LocalServers") -> None:
    await check_database(engine)
    await asyncio.to_thread(servers.restart, "postgres")
    await check_database(engine)


async def test_a_database_that_is_away_is_said(settings: EchoSettings) -> None:
    nowhere = create_engine(settings.model_copy(update={"database_url": "postgresql://a@127.0.0.1:1/a"}))
    with pytest.raises(sqlalchemy.exc.OperationalError) as away:
        await check_database(nowhere)
    assert dependency_of(away.value) == "database"


async def test_a_migration_runs_once_whoever_runs_it(
    database: "Callable[[str], DatabaseUrls]", migrations: Path
) -> None:
    urls = database("card")
    program = "import sys, pathlib\nfrom libs.runtime.migrate import upgrade\n"
    program += "print(upgrade('card', sys.argv[1], script=pathlib.Path(sys.argv[2])))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    async def process() -> str:
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, urls.owner, str(migrations),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        out, _ = await started.communicate()
        return out.decode().strip()

    moves = await asyncio.gather(
        process(), process(), asyncio.to_thread(upgrade, "card", urls.owner, script=migrations)
    )
    assert sorted(moves) == ["0001→0001", "0001→0001", "base→0001"]


async def test_a_failing_migration_leaves_nothing(
    database: "Callable[[str], DatabaseUrls]", migrations: Path, tmp_path: Path, settings: EchoSettings
) -> None:
    broken = shutil.copytree(migrations, tmp_path / "m")
    (broken / "versions" / "0002.py").write_text(
        'from alembic import op\nrevision, down_revision = "0002", "0001"\n'
        'def upgrade():\n    op.execute("CREATE TABLE half (id int)")\n    op.execute("SELECT 1/0")\n'
    )
    urls = database("card")
    with pytest.raises(sqlalchemy.exc.DataError):
        await asyncio.to_thread(upgrade, "card", urls.owner, script=broken)
    owner = create_engine(settings.model_copy(update={"database_url": urls.owner}))
    assert await count(owner, "pg_tables WHERE schemaname = 'public'") == 0
    await owner.dispose()


async def test_the_application_role_uses_tables_and_cannot_change_the_schema(
    engine: AsyncEngine, effects: Callable[[], Any]
) -> None:
    async with UnitOfWork(engine) as uow:
        await write(uow, "a")
        await uow.commit()
    assert await effects() == ["a"]
    for statement in (
        "CREATE TABLE mine (id int)",
        "DROP TABLE outbox",
        "UPDATE effect SET text = 'b'",
        "DELETE FROM effect",
    ):
        async with engine.connect() as connection:
            with pytest.raises(sqlalchemy.exc.ProgrammingError):
                await connection.execute(text(statement))


def test_a_service_without_migrations_is_said() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        upgrade("nowhere", "postgresql://a@127.0.0.1:1/a")
