"""Clearing under load and under fire: windows close while uploads stream in, connections die at random moments.

CITYCARD_FAULT_SEEDS says how many seeds are played, 3 unless told; a hundred take a few minutes.
"""

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.errors import UniqueViolation
from sqlalchemy.exc import DBAPIError

from services.clearing.adapters.remembered import CardMemory
from services.clearing.application.ports import Share
from services.clearing.domain.errors import WindowBusy, WindowOrder
from tests.integration.clearing.conftest import (  # noqa: F401 (fixtures)
    ACQUIRER,
    Centre,
    a_batch,
    centre,
    clearing_urls,
    keys,
)
from tests.integration.clearing.test_results_and_windows import DAY, NOON, OTHER, a_city, rides

SEEDS = range(int(os.environ.get("CITYCARD_FAULT_SEEDS", "3")))
UPLOADERS, UPLOADS_EACH, RECORDS_EACH = 8, 4, 10
TERMINALS = {"bus": (990100000001, ACQUIRER, 17, "11139901"), "metro": (990100000002, OTHER, 1, "11149901")}


def the_uploads(made: Centre) -> list[tuple[str, bytes]]:
    """What all uploaders send: half of them for each operator; every record once, every seventh file twice."""
    files = []
    for number in range(UPLOADERS * UPLOADS_EACH):
        name = ("bus", "metro")[number % 2]
        terminal, acquirer, operator, sender = TERMINALS[name]
        records = rides(
            made, RECORDS_EACH, first_seq=1_000 + number * 100, counter=number // 5, acquirer=acquirer,
            operator=operator, terminal=terminal, first_card=number % 5 * 10,
        )  # fmt: skip
        files.append((name, a_batch(records, number + 1, sender=sender)))
    return files + files[::7]


def broken(proof: Any) -> list[Any]:
    # Nobody folds here: what the ledger would confirm is proven with the ledger.
    return [line for line in proof.lines if line.broken and line.invariant != "I10"]


@pytest.mark.parametrize("seed", SEEDS)
async def test_eight_uploaders_while_windows_close_leave_every_record_in_exactly_one_window(
    centre: Centre,  # noqa: F811
    seed: int,
) -> None:
    draw = random.Random(seed)
    await a_city(centre)
    centre.set_records_max = draw.choice((7, 25, 20_000))
    files = the_uploads(centre)
    draw.shuffle(files)
    cut_off = NOON + timedelta(hours=10)
    sending, workers = UPLOADERS, draw.choice((1, 2))

    async def uploader(mine: list[tuple[str, bytes]]) -> None:
        nonlocal sending
        for name, content in mine:
            # Before and after the cut-off, in no order.
            stored = cut_off + timedelta(seconds=draw.randint(-3, 3))
            if await is_closed(name) and stored < cut_off:
                stored = cut_off + timedelta(seconds=1)
            centre.gateway.store(name, content, stored)
            await asyncio.sleep(draw.random() / 50)
        sending -= 1

    async def is_closed(name: str) -> bool:
        async with centre.unit_of_work() as uow:
            window = await uow.windows.find(name, DAY)
        return window is not None and window.closed_at is not None

    async def judge(share: Share) -> None:
        # Each worker is a process of its own: what one remembers of cards the other does not know.
        worker = replace(centre, memory=CardMemory(bits=10)).judge_files(share)
        while sending or await open_files():
            try:
                await worker()
            except UniqueViolation:
                # The other one took a key meanwhile; the loop of the service tries again as well.
                worker.forget()
            await asyncio.sleep(draw.random() / 100)

    async def open_files() -> int:
        await centre.reconcile()
        async with centre.unit_of_work() as uow:
            return int((await uow.registries.counts()).open_files)

    async def close(name: str) -> None:
        await asyncio.sleep(draw.random() / 5)
        for _ in range(2_000):
            try:
                await centre.close_window(name, DAY)
                return
            except WindowBusy:
                await asyncio.sleep(0.005)
        raise AssertionError("the window never closed")

    await asyncio.gather(
        *(uploader(files[start::UPLOADERS]) for start in range(UPLOADERS)),
        *(judge(Share(number, workers)) for number in range(workers)),
        close("bus"),
        close("metro"),
    )
    counted = 0
    for name in TERMINALS:
        for day in (DAY, DAY + timedelta(days=1)):
            counted += (await centre.close_window(name, day)).totals.record_count
    assert counted == UPLOADERS * UPLOADS_EACH * RECORDS_EACH
    assert broken(await centre.prove()) == []


async def the_day(made: Centre, disturb: Callable[[], bool] | None = None) -> list[bytes]:
    """Everything judged and both windows closed, however often it takes; the statements."""
    await a_city(made)
    made.set_records_max = 25
    for name, content in the_uploads(made):
        made.gateway.store(name, content, NOON)
    done = asyncio.Event()

    async def saboteur() -> None:
        while disturb is not None and not done.is_set():
            await asyncio.sleep(0.01)
            await asyncio.to_thread(disturb)

    async def work() -> list[bytes]:
        for _ in range(500):
            try:
                # Each try is a process that was started again: nothing of the last one's memory is left.
                await made.judge_all()
                return [(await made.close_window(name, DAY)).st_file for name in TERMINALS]
            except (DBAPIError, psycopg.Error, WindowBusy, WindowOrder):
                continue
        raise AssertionError("the day never ended")

    cutting = asyncio.create_task(saboteur())
    try:
        return await work()
    finally:
        done.set()
        await cutting


@pytest.mark.parametrize("seed", SEEDS)
async def test_connections_that_die_at_random_moments_change_no_byte_of_a_statement(
    centre: Centre,  # noqa: F811
    servers: Any,
    clearing_urls: Any,  # noqa: F811
    seed: int,
) -> None:
    undisturbed = await the_day(centre)
    centre.wipe()
    draw = random.Random(seed)
    cut = 0

    def disturb() -> bool:
        nonlocal cut
        if draw.random() > 0.3 or cut >= 20:
            return False
        with psycopg.connect(servers.postgres.superuser_url(), autocommit=True) as connection:
            rows = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND state <> 'idle'",
                (clearing_urls.name,),
            ).fetchall()
        cut += len(rows)
        return bool(rows)

    assert await the_day(centre, disturb) == undisturbed
    assert cut > 0, "nothing was disturbed: the test proved nothing"
    assert broken(await centre.prove()) == []
