"""Grey records (record-formats.md, section 4, a to d) against a real database."""

from datetime import UTC, datetime, timedelta

import numpy as np

from libs.records import otr
from libs.records.codes import Kind

from .conftest import Centre, a_batch
from .test_results_and_windows import DAY, NOON, a_city, rides


def grey(records: otr.Records) -> otr.Records:
    """The same taps as a terminal reports them that never saw the card's answer."""
    records = records.copy()
    records["kind"], records["tac"] = Kind.GREY, 0
    return otr.seal(records)


async def send(centre: Centre, records: otr.Records, number: int) -> list[int]:
    upload = centre.gateway.store("bus", a_batch(records, number), NOON)
    await centre.judge_all()
    while await centre.rejudge():
        pass
    return await centre.codes(upload)


async def final_codes(centre: Centre) -> list[int | None]:
    rows = await centre.execute("SELECT final_code FROM waiting_record WHERE kind = 8 ORDER BY terminal_seq")
    return [row.final_code for row in rows]


async def test_a_full_record_under_the_same_key_closes_the_grey_one_and_is_paid_once(centre: Centre) -> None:
    await a_city(centre)
    full = rides(centre, 1, first_seq=7)
    assert await send(centre, grey(full), 1) == [50]
    assert await send(centre, full, 2) == [0]
    assert await final_codes(centre) == [1]
    assert (await centre.close_window("bus", DAY)).totals.gross_fen == 200


async def test_the_next_record_of_the_card_proves_the_debit_and_the_operator_is_paid(centre: Centre) -> None:
    await a_city(centre)
    assert await send(centre, grey(rides(centre, 1, first_seq=7)), 1) == [50]
    assert await final_codes(centre) == [None]
    # The counter went on, and the balance before is lower by the amount.
    await send(centre, rides(centre, 1, first_seq=8, counter=1), 2)
    assert await final_codes(centre) == [0]
    statement = await centre.close_window("bus", DAY)
    assert (statement.totals.record_count, statement.totals.gross_fen) == (2, 400)
    broken = [line for line in (await centre.prove()).lines if line.broken and line.invariant != "I10"]
    assert broken == []


async def test_a_load_between_the_two_is_not_taken_for_a_missing_debit(centre: Centre) -> None:
    await a_city(centre)
    await send(centre, grey(rides(centre, 1, first_seq=7)), 1)
    async with centre.unit_of_work() as uow:
        at = int(datetime(2025, 1, 2, 0, 30, tzinfo=UTC).timestamp())
        await uow.registries.add_load(
            "loads/1", bytes.fromhex("00009901000000000000"), 1, jt=False, load_s=at, amount_fen=5_000
        )
        await uow.commit()
    later = rides(centre, 1, first_seq=8, counter=1, at="20250102090000").copy()
    later["balance_before_fen"] = 10_000 - 200 + 5_000
    await send(centre, otr.seal(later), 2)
    assert await final_codes(centre) == [0]


async def test_a_counter_that_another_record_used_proves_that_nothing_was_debited(centre: Centre) -> None:
    await a_city(centre)
    await send(centre, grey(rides(centre, 1, first_seq=7)), 1)
    assert await send(centre, rides(centre, 1, first_seq=8, counter=0, at="20250102090000"), 2) == [0]
    assert await final_codes(centre) == [12]
    assert (await centre.close_window("bus", DAY)).totals.record_count == 1


async def test_a_balance_that_fits_neither_way_waits_and_is_closed_after_thirty_days(centre: Centre) -> None:
    await a_city(centre)
    await send(centre, grey(rides(centre, 1, first_seq=7)), 1)
    odd = rides(centre, 1, first_seq=8, counter=1).copy()
    odd["balance_before_fen"] = 1_234
    await send(centre, otr.seal(odd), 2)
    assert await final_codes(centre) == [None]
    centre.clock.advance(timedelta(days=30))
    await centre.rejudge()
    assert await final_codes(centre) == [12]
    assert (await centre.close_window("bus", DAY)).totals.record_count == 1


async def test_a_forged_next_record_decides_nothing(centre: Centre) -> None:
    await a_city(centre)
    await send(centre, grey(rides(centre, 1, first_seq=7)), 1)
    forged = rides(centre, 1, first_seq=8, counter=1).copy()
    forged["tac"] = np.frombuffer(b"\1\2\3\4", np.uint8)
    assert await send(centre, otr.seal(forged), 2) == [12]
    assert await final_codes(centre) == [None]
