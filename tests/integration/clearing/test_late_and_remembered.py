"""Late records of cards that a worker remembers, and of cards that two workers judge at once: what a card holds is read
from the database, in the transaction that spends it.
"""

import asyncio
from dataclasses import replace

import numpy as np

from libs.records import otr
from services.clearing.adapters.remembered import CardMemory
from services.clearing.application.archive import ForgetOld, Retention
from services.clearing.application.ports import Share

from .conftest import ACQUIRER, Centre, a_batch
from .test_results_and_windows import DAY, NOON, OTHER, a_city, card_number, rides
from .test_suspense import broken, items

LATE = "20241215080910"
PATIENCE_S = 20.0


async def a_card_with(centre: Centre, opening_fen: int) -> None:
    """Card 20 was issued with so much, and clearing knows it."""
    await a_city(centre)
    await centre.execute("UPDATE card SET opening_fen = :fen WHERE number = :number", fen=opening_fen,
                         number=card_number(20))  # fmt: skip


def late_ride(centre: Centre, counter: int, *, metro: bool = False) -> otr.Records:
    acquirer, operator, terminal = (OTHER, 1, 990100000002) if metro else (ACQUIRER, 17, 990100000001)
    return rides(
        centre, 1, first_card=20, first_seq=counter, counter=counter, at=LATE, acquirer=acquirer, operator=operator,
        terminal=terminal,
    )  # fmt: skip


async def rests(centre: Centre) -> list[int]:
    return [row.rest_fen for row in await centre.execute("SELECT rest_fen FROM late_rest ORDER BY terminal_seq")]


async def test_every_late_record_of_a_remembered_card_meets_what_the_one_before_it_left(centre: Centre) -> None:
    await a_card_with(centre, 500)
    for counter in range(4):
        upload = centre.gateway.store("bus", a_batch(late_ride(centre, counter), counter + 1), NOON)
        await centre.judge_all()
        assert await centre.codes(upload) == [26]
    # 500 fen pay for two rides of 200 and half of the third.
    assert await rests(centre) == [100, 200]
    assert [one.amount_fen for one in await items(centre)] == [100, 200]
    assert (await centre.close_window("bus", DAY)).totals.gross_fen == 500
    assert await broken(centre) == []


async def test_what_another_worker_posted_is_gone_for_a_worker_that_remembers_the_card_from_before(
    centre: Centre,
) -> None:
    other = replace(centre, memory=CardMemory(bits=10))
    await a_card_with(centre, 500)
    for turn, worker in enumerate((centre, other, other, centre)):
        metro = worker is other
        sender = "11149901" if metro else "11139901"
        batch = a_batch(late_ride(centre, turn, metro=metro), turn + 1, sender=sender)
        centre.gateway.store("metro" if metro else "bus", batch, NOON)
        await worker.judge_all()
    assert await rests(centre) == [100, 200]
    assert (await centre.close_window("bus", DAY)).totals.gross_fen == 200
    assert (await centre.close_window("metro", DAY)).totals.gross_fen == 300
    assert await broken(centre) == []


async def test_two_workers_with_a_late_record_each_do_not_both_spend_what_the_card_holds(centre: Centre) -> None:
    await a_card_with(centre, 300)
    centre.gateway.store("bus", a_batch(late_ride(centre, 0), 1), NOON)
    centre.gateway.store("metro", a_batch(late_ride(centre, 1, metro=True), 2, sender="11149901"), NOON)
    await centre.reconcile()
    workers = [replace(centre, memory=CardMemory(bits=10)) for _ in range(2)]
    judges = [worker.judge_files(Share(number, 2)) for number, worker in enumerate(workers)]
    assert [(await judge()).records_judged for judge in judges] == [0, 0], "admitted first"
    (card,) = await centre.execute("SELECT id FROM card WHERE number = :number", number=card_number(20))
    async with centre.unit_of_work() as uow:
        await uow.suspense.ledgers(np.array([card.id]))
        # Both have stored their record and ask what is left, at the same moment.
        both = asyncio.gather(*(judge() for judge in judges))
        await two_wait(centre)
        await uow.commit()
    assert [one.records_judged for one in await asyncio.wait_for(both, PATIENCE_S)] == [1, 1]
    assert await rests(centre) == [100]
    paid = [(await centre.close_window(name, DAY)).totals.gross_fen for name in ("bus", "metro")]
    assert sum(paid) == 300
    assert await broken(centre) == []


async def two_wait(centre: Centre) -> None:
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for _ in range(int(PATIENCE_S / 0.05)):
        if len(await centre.execute(query)) == 2:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("two workers should wait for the card")


async def test_a_decided_record_is_kept_as_long_as_an_open_memorandum_asks_what_became_of_it(centre: Centre) -> None:
    await a_city(centre, cards=1)
    centre.gateway.store("bus", a_batch(rides(centre, 1, first_card=30), 1), NOON)
    await centre.judge_all()
    assert [(one.code, one.debited) for one in await items(centre)] == [(11, False)]
    await centre.execute("UPDATE waiting_record SET closed_at = opened_at, final_code = 12")
    centre.clock.advance(Retention().decided * 2)
    forget = ForgetOld(centre.unit_of_work, centre.clock)
    assert await forget(Retention()) == {"decided": 0}
    async with centre.unit_of_work() as uow:
        assert await uow.suspense.sweep(centre.clock.now()) == 1
        await uow.commit()
    assert await forget(Retention()) == {"decided": 1}
