"""SIGKILL of clearing, account, PostgreSQL and NATS while a day is uploaded; the bus's storage lost at noon.

Whatever dies and whenever: the same statements, byte for byte, as on the day when nothing died, and a proof that holds.

CITYCARD_FAULT_SEEDS says how many days with kills are played, 1 unless told; twenty are what the platform promises.
"""

import asyncio
import importlib.util
import os
import random
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.clearing.v1 import clearing_service_pb2
from citycard.clearing.v1.clearing_service_pb2_grpc import ClearingServiceStub
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub
from sqlalchemy.ext.asyncio import create_async_engine

from bench.workload import DAY, NOON, Workload, make_workload
from city.demo.collection import DEPOT, float_debits_fen, private_key
from city.demo.platform import Callers, DemoPlatform
from city.demo.registration import (
    Registered,
    create_rules,
    issue_cards,
    register_terminals,
    registry_state,
    wait_for_registry,
    wait_until,
)
from city.demo.run import prove_platform
from city.names import SERVICES
from city.processes import StartFailed
from city.servers import LocalServers
from city.simulation.operators import CENTRE_ID, OPERATORS, Operator
from edge.collector.upload import Uploader, UploadUnfinished
from libs.records.batch import FileType, decode_header, encode_batch, file_name
from libs.runtime.outbox import republish

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SEEDS = range(int(os.environ.get("CITYCARD_FAULT_SEEDS", "1")))
RECORDS, PER_FILE, KILLS = 8_000, 500, 5
VICTIMS = ("clearing", "account", "postgres", "nats")
TIMEOUT_S = 180.0
Disturb = Callable[[DemoPlatform], Awaitable[int]]


@pytest.fixture(scope="module")
def workload() -> Workload:
    return make_workload(RECORDS, terminal_count=40)


@asynccontextmanager
async def a_city(root: Path, workload: Workload) -> AsyncIterator[tuple[DemoPlatform, Callers]]:
    """Servers and services of its own, rules, terminals and cards in place: what is killed belongs to nobody else."""
    try:
        async with DemoPlatform(root, clock=NOON) as platform, Callers(platform) as callers:
            await create_rules(callers, OPERATORS, NOON)
            await register_terminals(callers, workload.plan)
            await issue_cards(callers, workload.plan)
            known = Registered(len(workload.plan.cards), len(workload.plan.terminals))
            await wait_for_registry(callers, known, TIMEOUT_S)
            await wait_until(lambda: purses_opened(callers), "the ledger to hear of the cards", TIMEOUT_S)
            yield platform, callers
    finally:
        LocalServers(root).destroy()


async def purses_opened(callers: Callers) -> bool:
    account: Any = callers.stub(AccountServiceStub, "account")
    try:
        return await float_debits_fen(account) >= 0
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return False
        raise


async def the_day(platform: DemoPlatform, callers: Callers, workload: Workload, disturb: Disturb) -> list[bytes]:
    """Every depot sends its files while something disturbs; the statements when all is judged and folded."""
    account: Any = callers.stub(AccountServiceStub, "account")
    before_fen = await float_debits_fen(account)
    sent = asyncio.Event()

    async def depot(operator: Operator) -> None:
        caller = f"collector/{operator.slug}/{DEPOT}"
        gateway: Any = callers.stub(TerminalGatewayServiceStub, "terminal_gw", caller)
        uploader = Uploader(gateway, private_key(platform, caller), operator.slug)
        for content in files_of(operator, workload):
            while True:
                try:
                    await uploader.send(content, file_name(decode_header(content)))
                    break
                except UploadUnfinished:
                    await asyncio.sleep(0.2)
            await asyncio.sleep(0.3)

    async def folded() -> bool:
        if await float_debits_fen(account) - before_fen < workload.total_fen:
            return False
        state = await registry_state(callers)
        return state.open_file_count == 0 and state.unfolded_batch_count == 0

    async def disturbing() -> int:
        done = 0
        while not sent.is_set() or done < KILLS:
            count = await disturb(platform)
            if count == 0:
                break
            done += count
        return done

    disturbance = asyncio.create_task(disturbing())
    await asyncio.gather(*(depot(operator) for operator in workload.by_operator()))
    sent.set()
    await disturbance
    for service in SERVICES:
        await platform.start(service)
    await wait_until(folded, "the ledger to have everything", TIMEOUT_S)
    return [await statement(callers, operator) for operator in workload.by_operator()]


async def statement(callers: Callers, operator: Operator) -> bytes:
    clearing: Any = callers.stub(ClearingServiceStub, "clearing")
    request = clearing_service_pb2.CloseWindowRequest(name=f"{operator.participant}/windows/{DAY:%Y%m%d}")
    made: list[bytes] = []

    async def closed() -> bool:
        made.append((await clearing.CloseWindow(request)).st_file)
        return True

    await wait_until(closed, "the window to close", TIMEOUT_S)
    return made[-1]


def files_of(operator: Operator, workload: Workload) -> list[bytes]:
    records = workload.by_operator()[operator]
    return [
        encode_batch(
            FileType.TX, np.ascontiguousarray(records[start : start + PER_FILE]), sender=operator.institution_id,
            receiver=CENTRE_ID, batch_number=number, created=NOON, business_date=DAY,
        )
        for number, start in enumerate(range(0, len(records), PER_FILE), start=1)
    ]  # fmt: skip


async def nothing(platform: DemoPlatform) -> int:
    return 0


async def restarted(platform: DemoPlatform, server: str) -> None:
    for attempt in range(4):
        try:
            await asyncio.to_thread(platform.servers.restart, server)
            return
        except StartFailed:
            # Backends of the killed server may still hold its memory; whoever operates it tries again.
            if attempt == 3:
                raise
            await asyncio.sleep(2)


async def look_after(platform: DemoPlatform, folder: Path) -> None:
    """The night after: archive, forget, prove from the archive, by the program and with the service's own settings."""
    forgotten = await upkeep(platform, "forget")
    assert forgotten == (0, "decided: 0 rows removed\n")
    if importlib.util.find_spec("pyarrow") is None:
        status, _ = await upkeep(platform, "archive", str(folder))
        assert status == 2, "what is missing is said, nothing is done"
        return
    status, said = await upkeep(platform, "archive", str(folder), "--older-than-days", "0")
    assert status == 0
    assert f"16 files, {RECORDS} records" in said
    status, said = await upkeep(platform, "prove", str(folder))
    assert status == 0, said
    assert "broken" not in said


async def upkeep(platform: DemoPlatform, *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.clearing.upkeep", *arguments, env=platform.environment("clearing"),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode()


@pytest.fixture(scope="module")
def undisturbed(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The statements of a day on which nothing died."""

    async def play() -> list[bytes]:
        async with a_city(tmp_path_factory.mktemp("calm") / "city", workload) as (platform, callers):
            return await the_day(platform, callers, workload, nothing)

    return asyncio.run(play())


@pytest.mark.parametrize("seed", SEEDS)
async def test_kills_at_random_moments_change_no_byte_of_a_statement(
    seed: int, workload: Workload, undisturbed: list[bytes], tmp_path: Path
) -> None:
    chance = random.Random(seed)
    killed: list[str] = []
    # Each victim once at least, in an order drawn anew.
    plan = chance.sample(VICTIMS, len(VICTIMS)) + [chance.choice(VICTIMS) for _ in range(KILLS - len(VICTIMS))]

    async def kill(platform: DemoPlatform) -> int:
        if len(killed) == KILLS:
            return 0
        await asyncio.sleep(chance.uniform(0.1, 1.5))
        victim = plan[len(killed)]
        killed.append(victim)
        if victim in SERVICES:
            await platform.kill(victim)
            await asyncio.sleep(chance.uniform(0, 0.5))
            await platform.start(victim)
        else:
            await asyncio.to_thread(platform.servers.kill, victim)
            await asyncio.sleep(chance.uniform(0, 0.5))
            await restarted(platform, victim)
        return 1

    async with a_city(tmp_path / "city", workload) as (platform, callers):
        made = await the_day(platform, callers, workload, kill)
        proof = await prove_platform(platform)
    assert set(killed) == set(VICTIMS)
    assert made == undisturbed
    assert [line for line in proof.lines if line.broken] == []


async def test_the_storage_of_the_bus_lost_in_mid_day_is_made_up_for_by_comparing_and_republishing(
    workload: Workload, undisturbed: list[bytes], tmp_path: Path
) -> None:
    lost = False

    async def lose_the_streams(platform: DemoPlatform) -> int:
        nonlocal lost
        if lost:
            return 0
        await asyncio.sleep(1.0)
        await asyncio.to_thread(platform.servers.kill, "nats")
        streams = platform.root / "servers" / "nats" / "streams"
        assert streams.is_dir(), "JetStream keeps its files there"
        shutil.rmtree(streams)
        await restarted(platform, "nats")
        lost = True
        # What the runbook says: uploads are found by comparison with the gateway; what had been published and
        # not consumed goes out again from each service's own database, and nobody takes an event twice.
        for service in SERVICES:
            url = platform.servers.ensure_database(service).application
            engine = create_async_engine(url.replace("postgresql://", "postgresql+psycopg://"))
            try:
                await republish(engine, NOON - timedelta(hours=1))
            finally:
                await engine.dispose()
        return 1

    async with a_city(tmp_path / "city", workload) as (platform, callers):
        made = await the_day(platform, callers, workload, lose_the_streams)
        proof = await prove_platform(platform)
        await look_after(platform, tmp_path / "archive")
    assert lost
    assert made == undisturbed
    assert [line for line in proof.lines if line.broken] == []
