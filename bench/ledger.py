"""The ledger: postings beside pgbench, one hot account, years of history, bulk folding, bytes per entry."""

import asyncio
import os
import shutil
import statistics
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
from citycard.account.v1 import account_pb2
from citycard.account.v1 import account_service_pb2 as pb
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub

from bench import ledger_folding
from bench.result import Context, Result
from city.demo.platform import Callers
from city.launcher import Platform
from city.postgres import SETTINGS_VARIABLE, DatabaseUrls
from city.servers import LocalServers

_CALLERS: Final = 8
_SECONDS: Final = 10.0
_WARM_UP_S: Final = 2.0
# Ratio to pgbench that online postings must reach, and how much slower one hot account or years of history may be.
_TPC_B_GOAL: Final = 0.25
_SLOWER_MAX: Final = 0.20
_HISTORY_SLOWER_MAX: Final = 0.10
# `CITYCARD_BENCH_HISTORY=200000` makes a short run of it, for looking whether the bench itself works.
_HISTORY: Final = int(os.environ.get("CITYCARD_BENCH_HISTORY", "10_000_000"))
# The purses of a large city want the memory of its server; both sides of every comparison have it.
_SERVER: Final = "shared_buffers=2GB,max_wal_size=16GB,checkpoint_timeout=1h"
_OPERATORS: Final = 500
_OUTLETS: Final = 200
_PGBENCH_SCALE: Final = 10

_READS: Final = 300


@dataclass(frozen=True, slots=True)
class _Rates:
    """Postings per second of a moment of the book, and median milliseconds of reading it."""

    many: float
    hot: float
    read_ms: float


def run(context: Context) -> list[Result]:
    """Everything about the ledger in one run on one server."""
    LocalServers(context.root).destroy()
    before = os.environ.get(SETTINGS_VARIABLE)
    os.environ[SETTINGS_VARIABLE] = _SERVER
    try:
        return asyncio.run(_measure(context))
    finally:
        LocalServers(context.root).destroy()
        del os.environ[SETTINGS_VARIABLE]
        if before is not None:
            os.environ[SETTINGS_VARIABLE] = before


async def _measure(context: Context) -> list[Result]:
    narrate = lambda service, what: context.say(f"{service}: {what}")  # noqa: E731 (one line, used once)
    async with Platform(context.root, only=["account"], narrate=narrate) as platform, Callers(platform) as callers:
        stub: Any = callers.stub(AccountServiceStub, "account", "service/card")
        urls = platform.servers.ensure_database("account")
        context.say("opening accounts")
        await _open_accounts(stub)
        context.say(f"pgbench, TPC-B, {_CALLERS} clients")
        tpc_b = _pgbench(context, platform.servers)
        context.say("postings with an empty history")
        young = await _rates(stub)
        context.say(f"{young.many:,.0f}/s over many accounts, {young.hot:,.0f}/s over one; pgbench {tpc_b:,.0f}/s")
        context.say(f"writing {_HISTORY:,} entries of history")
        entry_bytes = await asyncio.to_thread(_write_history, platform.servers, urls)
        context.say("postings with history")
        old = await _rates(stub)
        context.say(f"{old.many:,.0f}/s with history, reads {young.read_ms:.2f} and {old.read_ms:.2f} ms")
        folding = await asyncio.to_thread(ledger_folding.measure, context, platform.servers, urls)
    pgbench = f"pgbench -M prepared -c {_CALLERS}, TPC-B at scale {_PGBENCH_SCALE}, on the same server"
    return [
        Result("ledger.online", young.many, "postings/s", tpc_b, pgbench, goal=_TPC_B_GOAL * tpc_b),
        Result(
            "ledger.hot_account", young.hot, "postings/s", young.many, "the same postings over 500 operators",
            goal=(1 - _SLOWER_MAX) * young.many,
        ),
        Result(
            "ledger.history_postings", old.many, "postings/s", young.many,
            f"the same with an empty book instead of {_HISTORY:,} entries", goal=(1 - _HISTORY_SLOWER_MAX) * young.many,
        ),
        Result(
            "ledger.history_reads", old.read_ms, "ms", young.read_ms,
            f"the same with an empty book instead of {_HISTORY:,} entries",
            goal=(1 + _HISTORY_SLOWER_MAX) * young.read_ms, less_is_better=True,
        ),
        Result("ledger.entry", entry_bytes, "bytes"),
        *folding,
    ]  # fmt: skip


def _posting(outlet: int, operator: int) -> pb.Posting:
    legs = [
        account_pb2.Leg(account=f"accounts/1221.outlet-{outlet}", side=account_pb2.SIDE_DEBIT, amount_fen=100),
        account_pb2.Leg(account=f"accounts/2203.operator-{operator}", side=account_pb2.SIDE_CREDIT, amount_fen=100),
    ]
    return pb.Posting(event="bench", reference=f"bench/{outlet}", legs=legs)


async def _open_accounts(stub: Any) -> None:
    names = [f"1221.outlet-{n}" for n in range(_OUTLETS)] + [f"2203.operator-{n}" for n in range(_OPERATORS)]
    for name in names:
        await stub.OpenAccount(pb.OpenAccountRequest(request_id=str(uuid.uuid4()), name=f"accounts/{name}"))


async def _rates(stub: Any) -> _Rates:
    many = await _postings(stub, lambda n: n % _OPERATORS)
    hot = await _postings(stub, lambda n: 0)
    return _Rates(many, hot, await _read_ms(stub))


async def _postings(stub: Any, operator_of: Callable[[int], int]) -> float:
    """Postings per second of eight callers, each waiting for its answer."""
    done = 0
    counting = False
    stop_at = time.perf_counter() + _WARM_UP_S + _SECONDS

    async def caller(first: int) -> None:
        nonlocal done
        number = first
        while time.perf_counter() < stop_at:
            posting = _posting(number * 7 % _OUTLETS, operator_of(number))
            await stub.PostJournal(pb.PostJournalRequest(request_id=str(uuid.uuid4()), posting=posting))
            done += counting
            number += _CALLERS

    callers = [asyncio.create_task(caller(first)) for first in range(_CALLERS)]
    await asyncio.sleep(_WARM_UP_S)
    counting, began = True, time.perf_counter()
    await asyncio.gather(*callers)
    return done / (time.perf_counter() - began)


async def _read_ms(stub: Any) -> float:
    """Median of a round of reads: an account, a page of its entries, its balance of a moment ago."""
    moment = (await stub.GetJournal(pb.GetJournalRequest(name="journals/1"))).post_time

    async def once(number: int) -> None:
        name = f"accounts/2203.operator-{number % _OPERATORS}"
        await stub.GetAccount(pb.GetAccountRequest(name=name))
        await stub.ListEntries(pb.ListEntriesRequest(account=name, page_size=20))
        await stub.GetBalance(pb.GetBalanceRequest(account=name, as_of_time=moment))

    return await _median_ms(once)


async def _median_ms(call: Callable[[int], Awaitable[None]]) -> float:
    seconds = []
    for number in range(_READS):
        began = time.perf_counter()
        await call(number)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


def _pgbench(context: Context, servers: LocalServers) -> float:
    """Transactions per second of TPC-B, in a database of its own on the same server."""
    urls = servers.fresh_database("account")
    program = _pgbench_program(servers)
    try:
        common = ["-d", urls.owner]
        subprocess.run([program, "-i", "-q", "-s", str(_PGBENCH_SCALE), *common], check=True, capture_output=True)
        clients = ["-M", "prepared", "-c", str(_CALLERS), "-j", "2", "-n"]
        done = subprocess.run(
            [program, *clients, "-T", str(round(_WARM_UP_S + _SECONDS)), *common],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    finally:
        servers.drop_database(urls)
    line = next(line for line in done.stdout.splitlines() if line.startswith("tps = "))
    return float(line.split()[2])


def _pgbench_program(servers: LocalServers) -> str:
    """The pgbench that belongs to the server that runs, else the one on the PATH."""
    pid = next(line.pid for line in servers.status() if line.name == "postgres")
    assert pid is not None, "the server runs"
    beside = Path(psutil.Process(pid).exe()).with_name("pgbench")
    found = str(beside) if beside.exists() else shutil.which("pgbench")
    assert found is not None, "pgbench comes with the server"
    return found


_JOURNALS: Final = """
INSERT INTO journal (sequence, event_time, post_time, journal_id, event, reference, hash)
SELECT book.sequence + number, book.post_time, book.post_time, gen_random_uuid(), 'bench',
    'bench/' || number, sha256(int8send(number))
FROM book, generate_series(1, CAST(%(count)s AS bigint)) AS number
"""
# Every journal debits an outlet and credits an operator with 100 fen, as those that are measured do.
_ENTRIES: Final = """
INSERT INTO entry (sequence, amount_fen, account_id, leg_number, side, debits_after_fen, credits_after_fen)
SELECT book.sequence + number, 100, account_id, leg, leg, debits_fen + CASE leg WHEN 1 THEN sum_fen ELSE 0 END,
    credits_fen + CASE leg WHEN 2 THEN sum_fen ELSE 0 END
FROM book, generate_series(1, CAST(%(count)s AS bigint)) AS number, generate_series(1, 2) AS leg,
    LATERAL (SELECT CASE leg WHEN 1 THEN number %% %(outlets)s ELSE number %% %(operators)s END AS place,
        100 * (1 + number / CASE leg WHEN 1 THEN %(outlets)s ELSE %(operators)s END) AS sum_fen) AS row,
    account
WHERE name = CASE leg WHEN 1 THEN '1221.outlet-' ELSE '2203.operator-' END || place
"""
_SUMS: Final = """
UPDATE account SET debits_fen = newest.debits_after_fen, credits_fen = newest.credits_after_fen
FROM (SELECT DISTINCT ON (account_id) account_id, debits_after_fen, credits_after_fen FROM entry
    ORDER BY account_id, sequence DESC) AS newest WHERE newest.account_id = account.account_id
"""
_ENTRY_BYTES: Final = """
SELECT (pg_total_relation_size('journal') + pg_total_relation_size('entry'))::float8 / (SELECT count(*) FROM entry)
"""


def _write_history(servers: LocalServers, urls: DatabaseUrls) -> float:
    """Write years of entries behind the book's back, sums and all; bytes per entry of the book with its indexes.

    The seals of these journals are made up: nobody proves a bench.
    """
    values = {"count": _HISTORY // 2, "outlets": _OUTLETS, "operators": _OPERATORS}
    with psycopg.connect(servers.postgres.superuser_url(urls.name), autocommit=True) as connection:
        with connection.transaction():
            # Triggers that look after references would take most of the time.
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute(_JOURNALS, values)
            connection.execute(_ENTRIES, values)
            connection.execute(_SUMS)
            connection.execute("UPDATE book SET sequence = sequence + %(count)s", values)
        connection.execute("VACUUM ANALYZE journal, entry, account")
        # What was written here is not to be paid for by those who are measured next.
        connection.execute("CHECKPOINT")
        row = connection.execute(_ENTRY_BYTES).fetchone()
    assert row is not None, "an aggregate always answers"
    return float(row[0])
