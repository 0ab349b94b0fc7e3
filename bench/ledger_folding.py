"""Bulk folding: from the bytes of an event until its movements are in the purses and in the book, on one core."""

import asyncio
import os
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import psutil
import psycopg
from citycard.clearing.v1.events_pb2 import PostingLine, RecordsPosted
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bench.result import Context, Result
from city.postgres import DatabaseUrls
from city.servers import LocalServers
from libs.clock import SystemClock
from libs.runtime.database import driver_connection
from services.account.adapters.chart_file import standard_chart
from services.account.adapters.events_in import batch_from_pb
from services.account.adapters.sql_accounts import AccountIds
from services.account.adapters.unit_of_work import AccountUnitOfWork
from services.account.application.fold_batch import FoldBatch

# `CITYCARD_BENCH_PURSES=50000` makes a short run of it.
_PURSES: Final = int(os.environ.get("CITYCARD_BENCH_PURSES", "5_000_000"))
_BATCHES: Final = 12
_ROWS: Final = 20_000
# So many that every page was written once since the last checkpoint, as it was in a city that runs since the morning:
# the first change of a page after a checkpoint writes all of it to the log.
_WARM_UP: Final = 25
_GOAL_PER_S: Final = 60_000
_OPENING_FEN: Final = 100_000
_FARE_FEN: Final = 200

_FILL: Final = """
INSERT INTO purse (scheme, card_number, generation, opening_fen)
SELECT 1, decode(lpad(number::text, 20, '0'), 'hex'), 1, %(opening)s
FROM generate_series(0, CAST(%(count)s AS bigint) - 1) AS number
"""
_BARE_TABLES: Final = """
CREATE TABLE bare_purse (card_number bigint PRIMARY KEY, debits bigint NOT NULL, counter_max integer NOT NULL)
    WITH (fillfactor = 70);
CREATE TABLE bare_movement (card_number bigint NOT NULL, counter integer NOT NULL, amount bigint NOT NULL,
    balance_before bigint NOT NULL, time_s bigint NOT NULL);
CREATE INDEX ON bare_movement (card_number, counter);
CREATE TEMPORARY TABLE staging (LIKE bare_movement)
"""
_BARE_FOLD: Final = """
WITH sums AS (SELECT card_number, sum(amount) AS debits, max(counter) AS counter_max FROM staging GROUP BY 1)
UPDATE bare_purse SET debits = bare_purse.debits + sums.debits, counter_max = sums.counter_max
FROM sums WHERE sums.card_number = bare_purse.card_number
"""


@dataclass(frozen=True, slots=True)
class _Batch:
    """One event as it comes, and its cards for the bare thing."""

    event: bytes
    cards: npt.NDArray[np.int64]
    counters: npt.NDArray[np.int64]


def measure(context: Context, servers: LocalServers, urls: DatabaseUrls) -> list[Result]:
    """Movements per second of ours and of the bare database, client and server side together on one core."""
    context.say(f"writing {_PURSES:,} purses")
    with psycopg.connect(servers.postgres.superuser_url(urls.name), autocommit=True) as connection:
        connection.execute(_FILL, {"count": _PURSES, "opening": _OPENING_FEN})
        connection.execute("VACUUM ANALYZE purse")
    batches = _batches()
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        ours, ours_cpu = asyncio.run(_ours(context, urls, batches))
        bare, bare_cpu = _bare(context, servers, urls, batches)
    finally:
        os.sched_setaffinity(0, before)
    what = (
        "COPY of the same movements into a bare table and one UPDATE of bare purses by their sums, same server and core"
    )
    return [
        Result("ledger.fold", ours, "movements/s", bare, what, goal=_GOAL_PER_S),
        # What it costs, whoever else uses the core at the time.
        Result("ledger.fold_cpu", ours_cpu, "movements/CPU s", bare_cpu, what),
    ]


def _batches() -> list[_Batch]:
    """Taps of random cards; counters and balances go on from batch to batch, so that everything adds up."""
    draw = np.random.default_rng(7)
    taps = np.zeros(_PURSES, dtype=np.int64)
    now_s = int(datetime.now(UTC).timestamp())
    made = []
    for _ in range(_WARM_UP + _BATCHES):
        cards = draw.integers(0, _PURSES, _ROWS)
        order = np.argsort(cards, kind="stable")
        begins = np.searchsorted(cards[order], cards[order])
        rank = np.empty(_ROWS, dtype=np.int64)
        rank[order] = np.arange(_ROWS) - begins
        counters = taps[cards] + rank
        np.add.at(taps, cards, 1)
        numbers = b"".join(bytes.fromhex(f"{card:020d}") for card in cards.tolist())
        event = RecordsPosted(
            batch_id=str(uuid.uuid4()),
            lines=[
                PostingLine(
                    debit_account="accounts/2201", credit_account="accounts/2203.operator-1",
                    amount_fen=_ROWS * _FARE_FEN, record_count=_ROWS,
                )
            ],
            movement_total_fen=_ROWS * _FARE_FEN,
            card_numbers=numbers,
            schemes=b"\1" * _ROWS,
            generations=[1] * _ROWS,
            counters=counters.tolist(),
            amounts_fen=[_FARE_FEN] * _ROWS,
            balances_before_fen=(_OPENING_FEN - _FARE_FEN * counters).tolist(),
            times_s=(now_s + counters).tolist(),
        )  # fmt: skip
        event.post_time.GetCurrentTime()
        made.append(_Batch(event.SerializeToString(), cards, counters))
    return made


async def _ours(context: Context, urls: DatabaseUrls, batches: list[_Batch]) -> tuple[float, float]:
    """Movements per second through the use case, each batch in the transaction of its event."""
    address = urls.application.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_async_engine(address, pool_size=1, max_overflow=0)
    chart, clock, remembered = standard_chart(), SystemClock(), AccountIds()
    fold = FoldBatch(chart, clock, uuid.uuid4, 300)

    async def one(batch: _Batch) -> None:
        async with AccountUnitOfWork(engine, chart, clock, remembered) as uow:
            event_id = uuid.uuid4()
            assert await uow.inbox.claim("bench", event_id), "a new event"
            await fold(uow, batch_from_pb(RecordsPosted.FromString(batch.event), chart))
            await uow.commit()

    try:
        server_side = await _pin(engine)
        for batch in batches[:_WARM_UP]:
            await one(batch)
        began, cpu_began = time.perf_counter(), _cpu_s(server_side)
        for batch in batches[_WARM_UP:]:
            await one(batch)
        seconds, cpu_s = time.perf_counter() - began, _cpu_s(server_side) - cpu_began
        async with AccountUnitOfWork(engine, chart, clock, remembered) as uow:
            items = await uow.purses.list_items(0, 10, True, None, None)
            assert not items, f"everything adds up: {items[:1]}"
    finally:
        await engine.dispose()
    rows = _BATCHES * _ROWS
    context.say(f"{rows / seconds:,.0f} movements/s into {_PURSES:,} purses, {rows / cpu_s:,.0f} per CPU second")
    return rows / seconds, rows / cpu_s


async def _pin(engine: AsyncEngine) -> int:
    """Bring the server's side of our only connection to our own core; its process id."""
    async with engine.connect() as connection:
        driver = await driver_connection(connection)
        os.sched_setaffinity(driver.info.backend_pid, os.sched_getaffinity(0))
        return driver.info.backend_pid


def _cpu_s(server_side: int) -> float:
    """What this process and the server's side have used so far, seconds."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in (os.getpid(), server_side))


def _bare(context: Context, servers: LocalServers, urls: DatabaseUrls, batches: list[_Batch]) -> tuple[float, float]:
    """The same cards and amounts in the least that a database must do for them."""
    with psycopg.connect(servers.postgres.superuser_url(urls.name), autocommit=True) as connection:
        os.sched_setaffinity(connection.info.backend_pid, os.sched_getaffinity(0))
        for statement in _BARE_TABLES.split(";"):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO bare_purse SELECT number, 0, -1 FROM generate_series(0, %s::bigint - 1) AS number", (_PURSES,)
        )
        connection.execute("VACUUM ANALYZE bare_purse")
        streams = [_stream(batch) for batch in batches]
        began = cpu_began = 0.0
        for number, stream in enumerate(streams):
            if number == _WARM_UP:
                began, cpu_began = time.perf_counter(), _cpu_s(connection.info.backend_pid)
            with connection.transaction(), connection.cursor() as cursor:
                cursor.execute("TRUNCATE staging")
                with cursor.copy("COPY staging FROM STDIN (FORMAT binary)") as copy:
                    copy.write(stream)
                cursor.execute("INSERT INTO bare_movement SELECT * FROM staging")
                cursor.execute(_BARE_FOLD)
        seconds, cpu_s = time.perf_counter() - began, _cpu_s(connection.info.backend_pid) - cpu_began
        connection.execute("DROP TABLE bare_purse, bare_movement")
    rows = _BATCHES * _ROWS
    context.say(f"{rows / seconds:,.0f} movements/s in the bare database, {rows / cpu_s:,.0f} per CPU second")
    return rows / seconds, rows / cpu_s


def _stream(batch: _Batch) -> bytes:
    """The movements of a batch as a binary COPY stream."""
    names = ("card", "counter", "amount", "before", "time")
    fields = [(name + part, form) for name in names for part, form in (("#", ">i4"), ("", ">i8"))]
    fields = [(name, ">i4" if name == "counter" else form) for name, form in fields]
    rows = np.zeros(len(batch.cards), dtype=[("columns", ">i2"), *fields])
    rows["columns"] = len(names)
    for name in names:
        rows[name + "#"] = 4 if name == "counter" else 8
    rows["card"], rows["counter"], rows["amount"] = batch.cards, batch.counters, _FARE_FEN
    rows["before"] = _OPENING_FEN - _FARE_FEN * batch.counters
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows.tobytes() + b"\xff\xff"
