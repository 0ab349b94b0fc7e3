"""Several workers, and what a worker remembers of cards: no verdict may depend on either."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from psycopg.errors import UniqueViolation

from services.clearing.adapters.remembered import CardMemory
from services.clearing.application.ports import Share

from .conftest import ACQUIRER, ISSUER, Centre, a_batch
from .test_results_and_windows import DAY, NOON, OTHER, a_city, card_number, rides

TERMINALS = {"bus": (990100000001, ACQUIRER, 17, "11139901"), "metro": (990100000002, OTHER, 1, "11149901")}


def ride_files(centre: Centre, rounds: int, cards: int = 30) -> list[tuple[str, bytes]]:
    """Every card rides in turn with both operators; one file each."""
    files = []
    for turn in range(rounds):
        name = ("bus", "metro")[turn % 2]
        terminal, acquirer, operator, sender = TERMINALS[name]
        records = rides(
            centre, cards, first_seq=100 + turn * 100, counter=turn, acquirer=acquirer, operator=operator,
            terminal=terminal,
        )  # fmt: skip
        files.append((name, a_batch(records, turn + 1, sender=sender)))
    return files


def another_worker(centre: Centre) -> Centre:
    return replace(centre, memory=CardMemory(bits=10))


async def test_two_workers_taking_turns_at_the_same_cards_give_the_codes_of_one(centre: Centre) -> None:
    workers = [centre, another_worker(centre)]
    await a_city(centre)
    for turn, (name, content) in enumerate(ride_files(centre, 9)):
        upload = centre.gateway.store(name, content, NOON)
        await workers[(turn // 2) % 2].judge_all()
        # Nothing is missing and every balance goes on: a stale memory would warn of gaps.
        assert set(await centre.codes(upload)) == {0}


async def test_a_late_record_is_no_gap_to_a_worker_that_remembers_more_than_it(centre: Centre) -> None:
    await a_city(centre)
    files = ride_files(centre, 4)
    codes = []
    for turn in (0, 2, 1, 3):
        name, content = files[turn]
        upload = centre.gateway.store(name, content, NOON)
        await centre.judge_all()
        codes.append(set(await centre.codes(upload)))
    assert codes == [{0}, {25}, {0}, {0}]


async def test_a_clone_of_what_another_worker_took_is_a_conflict_whatever_is_remembered(centre: Centre) -> None:
    other = another_worker(centre)
    await a_city(centre)
    first, second, _ = ride_files(centre, 3)
    for worker, (name, content) in ((centre, first), (other, second)):
        centre.gateway.store(name, content, NOON)
        await worker.judge_all()
    # The same counter and the right balance, at another terminal number: what the first worker remembers fits exactly.
    clones = rides(centre, 30, first_seq=900, counter=1)
    upload = centre.gateway.store("bus", a_batch(clones, 50), NOON)
    with pytest.raises(UniqueViolation):
        await centre.judge_all()
    await centre.judge_all()
    assert set(await centre.codes(upload)) == {2}


async def test_a_number_that_got_a_second_life_is_asked_about_again(centre: Centre) -> None:
    await a_city(centre)
    first, second, third = ride_files(centre, 3)
    for name, content in (first, second):
        centre.gateway.store(name, content, NOON)
    await centre.judge_all()
    async with centre.unit_of_work() as uow:
        await uow.registries.add_cards(
            [card_number(7)], [2], jt=False, issuer_id=ISSUER, issued_s=1, start_day=0, expiry_day=40_000
        )
        await uow.commit()
    centre.gateway.store(third[0], third[1], NOON)
    await centre.judge_all()
    rows = await centre.execute(
        "SELECT c.generation FROM record r JOIN card c ON c.id = r.card_id WHERE r.terminal_seq = 307"
    )
    assert [row.generation for row in rows] == [2]


async def test_shards_take_every_file_once_and_their_statements_are_those_of_one_worker(centre: Centre) -> None:
    async def the_day(shards: int) -> list[bytes]:
        centre.wipe()
        await a_city(centre)
        for name, content in ride_files(centre, 12):
            centre.gateway.store(name, content, NOON)
        workers = [another_worker(centre) for _ in range(shards)]
        judges = [worker.judge_files(Share(number, shards)) for number, worker in enumerate(workers)]
        await centre.reconcile()
        judged = 0

        async def work(number: int) -> None:
            nonlocal judged
            while True:
                try:
                    outcome = await judges[number]()
                except UniqueViolation:
                    continue
                judged += outcome.records_judged
                if not outcome.files_seen:
                    return

        await asyncio.gather(*(work(number) for number in range(shards)))
        assert judged == 12 * 30
        return [(await centre.close_window(name, DAY)).st_file for name in TERMINALS]

    centre.set_records_max = 50
    one = await the_day(1)
    for shards in (2, 3, 5):
        assert await the_day(shards) == one


async def test_a_worker_in_the_midst_of_a_set_does_not_hold_up_the_numbers_of_the_others(centre: Centre) -> None:
    await a_city(centre)
    (name, content), (other_name, other_content) = ride_files(centre, 2)
    centre.gateway.store(name, content, NOON)
    await centre.reconcile()
    judge = centre.judge_files()
    assert (await judge()).records_judged == 0, "admitted first, in a transaction of its own"
    async with centre.unit_of_work() as uow:
        # This worker posts, slowly.
        assert len(await uow.files.next_open(10, Share(0, 1))) == 1
        centre.gateway.store(other_name, other_content, NOON + timedelta(seconds=1))
        await asyncio.wait_for(another_worker(centre).judge_all(), 20)
    async with centre.unit_of_work() as uow:
        assert (await uow.registries.counts()).open_files == 1
