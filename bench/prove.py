"""Clearing's proof: records per second from their uploads, every TAC included, and what it takes of memory.

CITYCARD_BENCH_PROVEN says how many records, a multiple of a million; one million unless told, the goal speaks of ten.
"""

import asyncio
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
import psycopg
from sqlalchemy.ext.asyncio import create_async_engine

from bench.clearing import register
from bench.cpu import cpu_times
from bench.result import Context, Result
from bench.workload import DAY, FARE_FEN, NOON, Workload, make_workload
from city.keys import ISSUER_ID, city_keys
from city.servers import LocalServers
from city.simulation.operators import CENTRE_ID
from libs.clock import SystemClock
from libs.purse import bulk
from libs.purse.scheme import Scheme
from libs.records import otr
from libs.records.batch import FileType, decode_header, encode_batch
from libs.records.numbers import institution_bytes
from libs.runtime.migrate import upgrade
from services.clearing.adapters.remembered import CardMemory
from services.clearing.adapters.spill import WindowSpill
from services.clearing.adapters.sql import ClearingUnitOfWork
from services.clearing.application.close_window import CloseWindow
from services.clearing.application.intake import Reconcile
from services.clearing.application.judge_files import JudgeFiles
from services.clearing.application.ports import Upload
from services.clearing.application.post_set import PostSet
from services.clearing.application.prove import Prove

ROUND: Final = 1_000_000
_PROVEN: Final = max(int(os.environ.get("CITYCARD_BENCH_PROVEN", str(ROUND))) // ROUND, 1) * ROUND
TAPS: Final = 10
_PER_FILE: Final = 20_000
_GOAL_S: Final = 120.0
_GOAL_RECORDS: Final = 10_000_000


class FolderGateway:
    """Stored uploads in a folder: what is measured is clearing, and ten million records are 1.3 GB."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uploads: list[Upload] = []

    def store(self, participant: str, content: bytes) -> None:
        """Keep one file."""
        digest = hashlib.sha256(content)
        header = decode_header(content)
        (self._folder / digest.hexdigest()).write_bytes(content)
        self._uploads.append(
            Upload(
                participant, digest.digest(), len(self._uploads) + 1, len(content), NOON,
                institution_bytes(header.sender).hex().upper(), header.batch_number, header.record_count,
                header.total_fen,
            )
        )  # fmt: skip

    async def read(self, participant: str, sha256: bytes) -> bytes:
        """The whole file."""
        return await asyncio.to_thread((self._folder / sha256.hex()).read_bytes)

    async def uploads_from(self, sequence: int) -> AsyncIterator[Upload]:
        """Uploads from a position on."""
        for upload in self._uploads[sequence - 1 :]:
            yield upload


class PeakMemory:
    """The most that this process held resident while it was watched, MiB."""

    def __init__(self) -> None:
        self.before = self.peak = psutil.Process().memory_info().rss / 2**20
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self.peak = max(self.peak, psutil.Process().memory_info().rss / 2**20)


def run(context: Context) -> list[Result]:
    """Seconds of a proof, counted up to ten million records."""
    LocalServers(context.root).destroy()
    servers = LocalServers(context.root)
    try:
        with servers, tempfile.TemporaryDirectory(dir=context.root) as folder:
            return asyncio.run(_measure(context, servers, FolderGateway(Path(folder))))
    finally:
        LocalServers(context.root).destroy()


async def _measure(context: Context, servers: LocalServers, gateway: FolderGateway) -> list[Result]:
    urls = servers.fresh_database("clearing")
    upgrade("clearing", urls.owner)
    engine = create_async_engine(urls.application.replace("postgresql://", "postgresql+psycopg://"))
    clock, memory = SystemClock(), CardMemory()

    def unit_of_work() -> ClearingUnitOfWork:
        return ClearingUnitOfWork(engine, clock, memory)

    centre = institution_bytes(CENTRE_ID).hex().upper()
    workload = make_workload(ROUND, TAPS)
    await register(unit_of_work(), workload)
    post_set = PostSet(city_keys(), clock, production=False)
    judge = JudgeFiles(unit_of_work, gateway, post_set, city_keys(), clock, set_records_max=20_000)
    reconcile = Reconcile(unit_of_work, gateway)
    for turn in range(_PROVEN // ROUND):
        await asyncio.to_thread(store_round, gateway, workload, turn)
        began = time.perf_counter()
        await reconcile()
        while (await judge()).files_seen:
            pass
        seconds = time.perf_counter() - began
        context.say(f"{(turn + 1) * ROUND:,} present; the last million at {ROUND / seconds:,.0f} records/s")
    close = CloseWindow(unit_of_work, clock, reconcile, centre_institution_id=centre)
    operators = [operator.slug for operator in workload.by_operator()]
    del workload, judge
    for operator in operators:
        await close(operator, DAY)
    with psycopg.connect(urls.owner, autocommit=True) as connection:
        connection.execute("UPDATE batch SET folded_at = posted_at")
        connection.execute("VACUUM (ANALYZE) record")
    prove = Prove(unit_of_work, gateway, centre_institution_id=centre, spill=WindowSpill, keys=city_keys())
    pid = server_pid(servers)
    used, began = cpu_times(pid), time.perf_counter()
    with PeakMemory() as resident:
        proof = await prove()
    seconds, used = time.perf_counter() - began, cpu_times(pid) - used
    await engine.dispose()
    broken = [line for line in proof.lines if line.broken]
    assert not broken, f"a proof that does not hold measures nothing: {broken}"
    assert proof.record_count == _PROVEN, "every record was looked at"
    client_us, server_us = used.per_record_us(_PROVEN)
    context.say(
        f"{_PROVEN:,} records proven in {seconds:.1f} s, CPU {client_us:.1f} µs here and {server_us:.1f} µs in "
        f"PostgreSQL per record, load {os.getloadavg()[0]:.1f}; memory {resident.before:.0f} -> {resident.peak:.0f} MiB"
    )
    return [
        Result(
            "prove.clearing", seconds * _GOAL_RECORDS / _PROVEN, "s for 10 million", goal=_GOAL_S, less_is_better=True
        ),
        Result("prove.memory", resident.peak - resident.before, "MiB more", goal=600, less_is_better=True),
    ]


def server_pid(servers: LocalServers) -> int:
    """The first process of the PostgreSQL server."""
    mark = servers.postgres.mark()
    assert mark is not None, "the server runs"
    return mark.pid


def store_round(gateway: FolderGateway, workload: Workload, turn: int) -> None:
    """The same cards tap on: counters, balances and terminals' numbers continue, and every TAC is made anew."""
    for operator, records in workload.by_operator().items():
        records = records.copy()
        records["terminal_seq"] += turn * 1_000_000
        records["card_counter"] += turn * TAPS
        records["balance_before_fen"] -= turn * TAPS * FARE_FEN
        records["tac"] = bulk.bulk_tac(
            city_keys(), Scheme.JT, institution_bytes(ISSUER_ID), records["card_number"], records["key_version"],
            records["algorithm"], otr.tac_data(records),
        )  # fmt: skip
        otr.seal(records)
        first = turn * -(-len(records) // _PER_FILE) + 1
        for number, start in enumerate(range(0, len(records), _PER_FILE), start=first):
            part = np.ascontiguousarray(records[start : start + _PER_FILE])
            content = encode_batch(
                FileType.TX, part, sender=operator.institution_id, receiver=CENTRE_ID, batch_number=number,
                created=NOON, business_date=DAY,
            )  # fmt: skip
            gateway.store(operator.slug, content)
