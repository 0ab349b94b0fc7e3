"""Clearing alone at the size of a metropolis: judging and posting, repetitions and closing with ten million records."""

import asyncio
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from datetime import time as time_of_day
from typing import Any, Final

import numpy as np
import psutil
import psycopg
from sqlalchemy.ext.asyncio import create_async_engine

from bench.cpu import CpuTimes, cpu_times
from bench.intake import _stream as bare_stream
from bench.result import Context, Result
from bench.workload import DAY, NOON, Workload, make_workload
from city.keys import ISSUER_ID, city_keys
from city.servers import DatabaseUrls, LocalServers
from city.simulation.operators import CENTRE_ID, OPERATORS
from city.simulation.play import ALGORITHM_ID, KEY_VERSION
from libs.clock import SystemClock
from libs.records import otr
from libs.records.batch import FileType, decode_header, encode_batch
from libs.records.numbers import institution_bytes
from libs.runtime.migrate import upgrade
from services.clearing.adapters.pgcolumns import encode
from services.clearing.adapters.postings import RECORD
from services.clearing.adapters.remembered import CardMemory
from services.clearing.adapters.sql import ClearingUnitOfWork
from services.clearing.application.close_window import CloseWindow
from services.clearing.application.intake import Reconcile
from services.clearing.application.judge_files import JudgeFiles
from services.clearing.application.ports import Upload
from services.clearing.application.post_set import PostSet
from services.clearing.domain.participant import Participant

# CITYCARD_BENCH_PRESENT makes a quick look possible; the goals speak of ten million.
_PRESENT: Final = int(os.environ.get("CITYCARD_BENCH_PRESENT", "10000000"))
_STEPS: Final = 5
_NEW: Final = 400_000
_PER_FILE: Final = 20_000
_PARTICIPANTS: Final = 10
_CHUNK: Final = 100_000
_OLD_DAY: Final = date(2025, 8, 1)
_PG_EPOCH: Final = date(2000, 1, 1)
# Terminals and cards of the records present: none of those that the measured records come from.
_OLD_TERMINAL: Final = 880_000_000_000
_OLD_CARD: Final = 1_000_000_000


@dataclass
class _Gateway:
    """Stored uploads in memory: what is measured is clearing."""

    uploads: list[Upload] = field(default_factory=list)
    contents: dict[tuple[str, bytes], bytes] = field(default_factory=dict)

    def store(self, participant: str, content: bytes) -> None:
        sha256 = hashlib.sha256(content).digest()
        header = decode_header(content)
        self.contents[participant, sha256] = content
        self.uploads.append(
            Upload(
                participant, sha256, len(self.uploads) + 1, len(content), NOON,
                institution_bytes(header.sender).hex().upper(), header.batch_number, header.record_count,
                header.total_fen,
            )
        )  # fmt: skip

    async def read(self, participant: str, sha256: bytes) -> bytes:
        return self.contents[participant, sha256]

    async def uploads_from(self, sequence: int) -> Any:
        for upload in self.uploads[sequence - 1 :]:
            yield upload


def run(context: Context) -> list[Result]:
    """Figures of clearing alone, beside the bare database with as many rows present."""
    LocalServers(context.root).destroy()
    servers = LocalServers(context.root)
    try:
        with servers:
            return asyncio.run(_measure(context, servers))
    finally:
        LocalServers(context.root).destroy()


async def _measure(context: Context, servers: LocalServers) -> list[Result]:
    urls = servers.fresh_database("clearing")
    upgrade("clearing", urls.owner)
    engine = create_async_engine(urls.application.replace("postgresql://", "postgresql+psycopg://"))
    clock, gateway, memory = SystemClock(), _Gateway(), CardMemory()
    mark = servers.postgres.mark()
    assert mark is not None, "the server runs"
    workload = make_workload(_NEW)

    def unit_of_work() -> ClearingUnitOfWork:
        return ClearingUnitOfWork(engine, clock, memory)

    await register(unit_of_work(), workload)
    context.say(f"{_PRESENT:,} records are made present")
    curve = await asyncio.to_thread(_fill, urls, context)
    judge = JudgeFiles(
        unit_of_work, gateway, PostSet(city_keys(), clock, production=False), city_keys(), clock, set_records_max=20_000
    )
    reconcile = Reconcile(unit_of_work, gateway)
    files = list(_files(workload, 0))
    used = cpu_times(mark.pid)
    new_s = await _judge(gateway, reconcile, judge, files)
    context.say(f"{_NEW:,} new records in {new_s:.1f} s{_cpu(mark.pid, used)}")
    # The same records in other batches: every one is known by its bytes.
    again = list(_files(workload, 1000))
    used = cpu_times(mark.pid)
    again_s = await _judge(gateway, reconcile, judge, again)
    context.say(f"{_NEW:,} repetitions in {again_s:.1f} s{_cpu(mark.pid, used)}")
    close = CloseWindow(
        unit_of_work, clock, reconcile, centre_institution_id=institution_bytes(CENTRE_ID).hex().upper()
    )
    began = time.perf_counter()
    statement = await close("old-1", _OLD_DAY)
    close_s = time.perf_counter() - began
    assert statement.totals.record_count == _PRESENT // _PARTICIPANTS, "the statement says what is there"
    with psycopg.connect(urls.owner) as connection:
        row = connection.execute("SELECT pg_total_relation_size('record'), count(*) FROM record").fetchone()
    assert row is not None, "an aggregate gives one row"
    assert row[1] == _PRESENT + _NEW, "every new record took its keys, and no repetition did"
    resident_mib = psutil.Process().memory_info().rss / 2**20
    await engine.dispose()
    bare_s = await asyncio.to_thread(_bare, servers, files)
    for present, rate in curve:
        context.say(f"copied in at {present:,} present: {rate:,.0f} records/s")
    return [
        Result(
            "clearing.records", _NEW / new_s, "records/s", _NEW / bare_s,
            "COPY of the same 128-byte rows into a staging table and INSERT … ON CONFLICT DO NOTHING, two unique keys, "
            "into a table of as many rows",
            goal=40_000,
        ),
        Result("clearing.repetitions", _NEW / again_s, "records/s", goal=150_000),
        Result("clearing.close", close_s, "s", goal=5, less_is_better=True),
        Result("clearing.record_size", row[0] / row[1], "bytes"),
        Result("clearing.resident", resident_mib, "MiB", goal=600, less_is_better=True),
    ]  # fmt: skip


def _cpu(pid: int, since: CpuTimes) -> str:
    client_us, server_us = (cpu_times(pid) - since).per_record_us(_NEW)
    load = os.getloadavg()[0]
    return f", CPU {client_us:.1f} µs here and {server_us:.1f} µs in PostgreSQL per record, load {load:.1f}"


async def register(uow: ClearingUnitOfWork, workload: Workload) -> None:
    """Participants, cards and terminals of the day; ten more participants for what is present."""
    institutions = {one.slug: (institution_bytes(one.institution_id).hex().upper(), one.number)
                    for one in workload.by_operator()}  # fmt: skip
    # Inserted first, so that their surrogates are 1 to 10.
    old = {f"old-{number}": (f"1900{number:04d}FFFFFFFF", 1) for number in range(1, _PARTICIPANTS + 1)}
    plan = workload.plan
    async with uow:
        for name, (institution, operator) in (old | institutions).items():
            await uow.participants.add(
                Participant(
                    id=name, number=0, display_name_zh=name, display_name_en=name, institution_id=institution,
                    operator_number=operator, cut_off=time_of_day(22), time_zone="Asia/Shanghai", fee_rate_bp=50,
                    served=(), created_at=NOON,
                )
            )  # fmt: skip
        issuer = institution_bytes(ISSUER_ID).hex().upper()
        await uow.participants.register_issuer_key(issuer, KEY_VERSION, ALGORITHM_ID)
        numbers = [bytes(row) for row in plan.cards.numbers]
        await uow.registries.add_cards(
            numbers, [1] * len(numbers), jt=True, issuer_id=issuer, issued_s=0, start_day=0, expiry_day=40_000
        )
        await uow.registries.add_terminals(
            [
                (int(number), OPERATORS[place].slug, bytes.fromhex(plan.terminals.psam_number(row)))
                for row, (number, place) in enumerate(
                    zip(plan.terminals.numbers, plan.terminals.operators.tolist(), strict=True)
                )
            ]
        )
        await uow.commit()


def _fill(urls: DatabaseUrls, context: Context) -> list[tuple[int, float]]:
    """Records of ten participants and one day straight into the table; how fast it went at each fifth."""
    draw = np.random.default_rng(1)
    curve, began = [], time.perf_counter()
    names = ", ".join(name for name, _ in RECORD)
    cards = max(_PRESENT // 10, 1)
    with psycopg.connect(urls.owner, autocommit=True) as connection:
        for start in range(0, _PRESENT, _CHUNK):
            count = min(_CHUNK, _PRESENT - start)
            row = start + np.arange(count)
            zeros = np.zeros(count, np.int64)
            # 7,919 is prime to any number of cards that is no multiple of it: every card once a round, out of order.
            columns = {
                "terminal_number": _OLD_TERMINAL + row % 2_000, "terminal_seq": row // 2_000,
                "card_id": _OLD_CARD + row * 7_919 % cards, "card_counter": row // cards,
                "transaction_s": zeros + 1_754_000_000, "amount_fen": zeros + 200, "list_price_fen": zeros + 200,
                "balance_before_fen": zeros + 10_000, "file_id": zeros - 1 - start // _CHUNK, "file_index": row - start,
                "participant": 1 + row % _PARTICIPANTS, "settlement_date": zeros + (_OLD_DAY - _PG_EPOCH).days,
                "kind": zeros + 1, "code": zeros, "digest": draw.integers(0, 256, (count, 16), np.uint8),
            }  # fmt: skip
            with connection.cursor() as cursor, cursor.copy(f"COPY record ({names}) FROM STDIN (FORMAT BINARY)") as out:
                out.write(encode(RECORD, columns))
            done = start + count
            if done * _STEPS // _PRESENT > start * _STEPS // _PRESENT:
                seconds = time.perf_counter() - began
                curve.append((done, _PRESENT / _STEPS / seconds))
                context.say(f"{done:,} present")
                began = time.perf_counter()
        for number in range(1, _PARTICIPANTS + 1):
            each = _PRESENT // _PARTICIPANTS
            connection.execute(
                "INSERT INTO position_delta VALUES (gen_random_uuid(), %s, %s, %s, %s, 1, 2, 1, 1, 0, %s, %s, %s)",
                (number, _OLD_DAY, institution_bytes(ISSUER_ID).hex().upper(), f"1900{number:04d}FFFFFFFF", each,
                 each * 200, each * 200),
            )  # fmt: skip
        connection.execute("VACUUM (ANALYZE) record")
    return curve


def _files(workload: Workload, first_number: int) -> Iterator[tuple[str, bytes, otr.Records]]:
    """Every depot's files, in the order in which they come when all depots send at once."""
    days = workload.by_operator()
    for number, start in enumerate(range(0, max(map(len, days.values())), _PER_FILE), start=first_number + 1):
        for operator, records in days.items():
            part = np.ascontiguousarray(records[start : start + _PER_FILE])
            if not len(part):
                continue
            content = encode_batch(
                FileType.TX, part, sender=operator.institution_id, receiver=CENTRE_ID, batch_number=number,
                created=NOON, business_date=DAY - timedelta(days=first_number and 1),
            )  # fmt: skip
            yield operator.slug, content, part


async def _judge(gateway: _Gateway, reconcile: Reconcile, judge: JudgeFiles, files: list[Any]) -> float:
    for participant, content, _ in files:
        gateway.store(participant, content)
    began = time.perf_counter()
    await reconcile()
    while (await judge()).files_seen:
        pass
    return time.perf_counter() - began


def _bare(servers: LocalServers, files: list[Any]) -> float:
    """Seconds of the least that a database must do for the new rows beside as many others."""
    urls = servers.fresh_database("clearing")
    types = (
        "terminal_number bigint NOT NULL, terminal_seq bigint NOT NULL, card_number bytea NOT NULL, "
        "card_counter integer NOT NULL, content bytea NOT NULL"
    )
    names = "terminal_number, terminal_seq, card_number, card_counter, content"
    streams = [bare_stream(records) for _, _, records in files]
    with psycopg.connect(urls.owner, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE record ({types})")
        connection.execute(
            f"INSERT INTO record SELECT {_OLD_TERMINAL} + n % 2000, n / 2000, "
            f"decode(lpad((n * 7919 % {_PRESENT // 10})::text, 20, '0'), 'hex'), n / {_PRESENT // 10}, "
            f"decode(repeat('00', 128), 'hex') FROM generate_series(0, {_PRESENT - 1}::int8) AS n"
        )
        connection.execute(
            "ALTER TABLE record ADD PRIMARY KEY (terminal_number, terminal_seq), ADD UNIQUE (card_number, card_counter)"
        )
        connection.execute(f"CREATE TEMPORARY TABLE staging ({types}) ON COMMIT DELETE ROWS")
        began = time.perf_counter()
        for stream in streams:
            with connection.transaction(), connection.cursor() as cursor:
                with cursor.copy(f"COPY staging ({names}) FROM STDIN (FORMAT BINARY)") as copy:
                    copy.write(stream)
                cursor.execute("INSERT INTO record SELECT * FROM staging ON CONFLICT DO NOTHING")
        return time.perf_counter() - began
