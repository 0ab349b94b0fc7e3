"""Intake: from the first byte of an upload until every record is judged, posted and folded into the ledger."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psycopg
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.clearing.v1 import clearing_service_pb2
from citycard.clearing.v1.clearing_service_pb2_grpc import ClearingServiceStub
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub

from bench.result import Context, Result
from bench.workload import DAY, FARE_FEN, NOON, Workload, make_workload
from city.demo.collection import DEPOT, float_debits_fen, private_key
from city.demo.platform import Callers
from city.demo.registration import (
    Registered,
    create_rules,
    issue_cards,
    register_terminals,
    registry_state,
    wait_for_registry,
    wait_until,
)
from city.keys import ISSUER_ID, city_keys
from city.launcher import Platform
from city.servers import LocalServers
from city.simulation.operators import CENTRE_ID, OPERATORS, Operator
from edge.collector.upload import Uploader
from libs.purse import bulk
from libs.purse.scheme import Scheme
from libs.records import otr
from libs.records.batch import FileType, Header, encode_batch, file_name
from libs.records.numbers import institution_bytes
from libs.records.rows import exact_sum

_RECORDS: Final = 200_000
_RECORDS_PER_FILE: Final = 10_000
_GOAL_PER_S: Final = 10_000
_TIMEOUT_S: Final = 300.0
# The acceptance of the platform asks for five minutes; a quick look is one round.
_MINUTES: Final = float(os.environ.get("CITYCARD_BENCH_MINUTES", "0"))
# The purses of the workload are empty then.
_ROUNDS_MAX: Final = 24
_POLL_S: Final = 0.1
_ACCEPTED: Final = frozenset({0, 24, 25})
# One row of PostgreSQL's binary COPY: the number of columns, then length and value of each, big-endian.
_ROW: Final = np.dtype(
    [
        ("columns", ">i2"),
        ("terminal_number#", ">i4"), ("terminal_number", ">i8"),
        ("terminal_seq#", ">i4"), ("terminal_seq", ">i8"),
        ("card_number#", ">i4"), ("card_number", "u1", (10,)),
        ("card_counter#", ">i4"), ("card_counter", ">i4"),
        ("content#", ">i4"), ("content", "u1", (otr.OTR_LENGTH,)),
    ]
)  # fmt: skip
_VALUES: Final = ("terminal_number", "terminal_seq", "card_number", "card_counter", "content")
_COLUMNS: Final = ", ".join(_VALUES)
_TYPES: Final = (
    "terminal_number bigint NOT NULL, terminal_seq bigint NOT NULL, card_number bytea NOT NULL, "
    "card_counter integer NOT NULL, content bytea NOT NULL"
)


@dataclass(frozen=True, slots=True)
class _File:
    """One batch file, ready to be sent."""

    operator: Operator
    name: str
    content: bytes
    records: otr.Records


def run(context: Context) -> list[Result]:
    """Records per second through all services, beside the same rows in the bare database."""
    context.say(f"making {_RECORDS:,} records")
    workload = make_workload(_RECORDS)
    files = _files(workload)
    ours_s, bare_s = asyncio.run(_measure(context, workload, files))
    return [
        Result(
            "intake.records",
            _RECORDS / ours_s,
            "records/s",
            _RECORDS / bare_s,
            "COPY of the same 128-byte rows into a staging table and INSERT … ON CONFLICT DO NOTHING, with the same "
            "two unique keys, file by file, on the same server",
            goal=_GOAL_PER_S,
        )
    ]


async def _measure(context: Context, workload: Workload, files: Sequence[_File]) -> tuple[float, float]:
    """Seconds of ours and of the bare thing, on a fresh city that is removed afterwards."""
    LocalServers(context.root).destroy()
    try:
        narrate = lambda service, what: context.say(f"{service}: {what}")  # noqa: E731 (one line, used once)
        async with Platform(context.root, clock=NOON, narrate=narrate) as platform, Callers(platform) as callers:
            await _prepare(context, callers, workload)
            context.say(f"sending {len(files)} files")
            ours_s = await _send(platform, callers, workload, files)
            await _check(callers, len(files), _RECORDS)
            context.say(f"{_RECORDS:,} records judged, posted and folded in {ours_s:.1f} s")
            ours_s = await _sustain(context, platform, callers, workload, files, ours_s)
            context.say("now the bare database")
            bare_s = await asyncio.to_thread(_bare, platform.servers, files)
            return ours_s, bare_s
    finally:
        LocalServers(context.root).destroy()


async def _prepare(context: Context, callers: Callers, workload: Workload) -> None:
    """Everything that a city has before its day begins; not measured."""
    plan = workload.plan
    context.say(f"issuing {len(plan.cards):,} cards, registering {len(plan.terminals):,} terminals")
    await create_rules(callers, OPERATORS, NOON)
    await register_terminals(callers, plan)
    await issue_cards(callers, plan)
    await wait_for_registry(callers, Registered(len(plan.cards), len(plan.terminals)), _TIMEOUT_S)


async def _send(platform: Platform, callers: Callers, workload: Workload, files: Sequence[_File]) -> float:
    """Send every depot's files one after the other, all depots at once; seconds until the ledger has everything."""
    account: Any = callers.stub(AccountServiceStub, "account")
    uploaders = {operator: _uploader(platform, callers, operator) for operator in workload.by_operator()}
    paid_before_fen = await float_debits_fen(account)

    async def depot(operator: Operator) -> None:
        for file in files:
            if file.operator is operator:
                await uploaders[operator].send(file.content, file.name)

    async def folded() -> bool:
        # The ledger first: cheap, and the last to have it.
        if await float_debits_fen(account) - paid_before_fen < workload.total_fen:
            return False
        state = await registry_state(callers)
        return state.open_file_count == 0 and state.unfolded_batch_count == 0

    began = time.perf_counter()
    await asyncio.gather(*(depot(operator) for operator in uploaders))
    await wait_until(folded, "the ledger to have everything", _TIMEOUT_S, _POLL_S)
    return time.perf_counter() - began


async def _sustain(
    context: Context, platform: Platform, callers: Callers, workload: Workload, files: Sequence[_File], first_s: float
) -> float:
    """Round after round of the same size until the minutes asked for are measured; mean seconds of a round.

    The same cards ride on. Files of a round are made between rounds, while no clock runs.
    """
    seconds = [first_s]
    while sum(seconds) < _MINUTES * 60 and len(seconds) < _ROUNDS_MAX:
        more = await asyncio.to_thread(_files, _later(workload, len(seconds)), len(seconds) * 1_000)
        seconds.append(await _send(platform, callers, workload, more))
        await _check(callers, len(files) * len(seconds), _RECORDS * len(seconds))
        memory = platform.memory()
        context.say(
            f"round {len(seconds)}: {_RECORDS / seconds[-1]:,.0f} records/s, load {os.getloadavg()[0]:.1f}, MiB: "
            + ", ".join(f"{name} {memory[name] / 2**20:.0f}" for name in ("terminal_gw", "clearing", "account"))
        )
    return sum(seconds) / len(seconds)


def _later(workload: Workload, turn: int) -> Workload:
    """The day again, later: counters, balances and terminals' numbers go on, and every TAC is made anew."""
    records = workload.records.copy()
    taps = int(records["card_counter"].max()) + 1
    records["terminal_seq"] += turn * _RECORDS
    records["card_counter"] += turn * taps
    records["balance_before_fen"] -= turn * taps * FARE_FEN
    records["tac"] = bulk.bulk_tac(
        city_keys(), Scheme.JT, institution_bytes(ISSUER_ID), records["card_number"], records["key_version"],
        records["algorithm"], otr.tac_data(records),
    )  # fmt: skip
    return Workload(workload.plan, otr.seal(records), workload.operator_of)


async def _check(callers: Callers, file_count: int, record_count: int) -> None:
    """A fast wrong answer is worth nothing: every record must be accepted."""
    clearing = callers.stub(ClearingServiceStub, "clearing")
    page = await clearing.ListFiles(clearing_service_pb2.ListFilesRequest(page_size=1000))
    verdicts = [verdict for file in page.files for verdict in file.verdicts]
    accepted = sum(verdict.record_count for verdict in verdicts if verdict.code in _ACCEPTED)
    assert len(page.files) == file_count, "every file was judged"
    assert accepted == sum(verdict.record_count for verdict in verdicts) == record_count, f"not accepted: {verdicts}"


def _uploader(platform: Platform, callers: Callers, operator: Operator) -> Uploader:
    caller = f"collector/{operator.slug}/{DEPOT}"
    gateway: Any = callers.stub(TerminalGatewayServiceStub, "terminal_gw", caller)
    return Uploader(gateway, private_key(platform, caller), operator.slug)


def _files(workload: Workload, last_number: int = 0) -> list[_File]:
    """The records of each operator as batch files, numbered after those before."""
    files = []
    for operator, records in workload.by_operator().items():
        for number, start in enumerate(range(0, len(records), _RECORDS_PER_FILE), start=last_number + 1):
            part = np.ascontiguousarray(records[start : start + _RECORDS_PER_FILE])
            total_fen = exact_sum(part["amount_fen"])
            header = Header(
                FileType.TX, operator.institution_id, CENTRE_ID, number, NOON, DAY, len(part), total_fen
            )  # fmt: skip
            content = encode_batch(
                FileType.TX, part, sender=header.sender, receiver=header.receiver, batch_number=number,
                created=NOON, business_date=DAY,
            )  # fmt: skip
            files.append(_File(operator, file_name(header), content, part))
    return files


def _bare(servers: LocalServers, files: Sequence[_File]) -> float:
    """Seconds of the least that a database must do for these rows; the streams are made before the clock starts."""
    urls = servers.fresh_database("clearing")
    streams = [_stream(file.records) for file in files]
    try:
        with psycopg.connect(urls.owner, autocommit=True) as connection:
            connection.execute(f"CREATE TEMPORARY TABLE staging ({_TYPES}) ON COMMIT DELETE ROWS")
            connection.execute(
                f"CREATE TABLE record ({_TYPES}, PRIMARY KEY (terminal_number, terminal_seq), "
                "UNIQUE (card_number, card_counter))"
            )
            began = time.perf_counter()
            for stream in streams:
                with connection.transaction(), connection.cursor() as cursor:
                    with cursor.copy(f"COPY staging ({_COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
                        copy.write(stream)
                    cursor.execute("INSERT INTO record SELECT * FROM staging ON CONFLICT DO NOTHING")
            seconds = time.perf_counter() - began
            row = connection.execute("SELECT count(*) FROM record").fetchone()
            assert row == (_RECORDS,), "every row is new"
    finally:
        servers.drop_database(urls)
    return seconds


def _stream(records: otr.Records) -> bytes:
    """The records as a binary COPY stream."""
    rows = np.zeros(len(records), _ROW)
    rows["columns"] = len(_VALUES)
    for name in _VALUES:
        rows[f"{name}#"] = _ROW[name].itemsize
    rows["terminal_number"] = otr.terminal_numbers(records)
    rows["content"] = otr.raw(records)
    for name in ("terminal_seq", "card_number", "card_counter"):
        rows[name] = records[name]
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows.tobytes() + b"\xff\xff"
