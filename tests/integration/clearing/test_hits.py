"""What clearing tells the blacklist of cards that were met: once per record, whatever is sent again or decided late."""

import numpy as np
from citycard.clearing.v1 import events_pb2 as events

from libs.records import bcd, otr
from libs.records.codes import Kind
from libs.records.otr import Flag

from .conftest import ISSUER, Centre, a_batch
from .test_results_and_windows import NOON, a_city, card_number, rides

CARD, COUNT = 10, 6


async def told(centre: Centre) -> list[tuple[str, int, int, int, str]]:
    """Number, generation, outcome, seconds and terminal of every row, event by event."""
    rows = await centre.execute("SELECT payload FROM outbox WHERE subject LIKE '%ListedCardsMet' ORDER BY id")
    found = []
    for row in rows:
        event = events.ListedCardsMet.FromString(bytes(row.payload))
        assert len(event.outcomes) == len(event.generations) > 0
        for place, (generation, outcome, time_s) in enumerate(
            zip(event.generations, event.outcomes, event.times_s, strict=True)
        ):
            number = event.card_numbers[place * CARD : (place + 1) * CARD].hex()
            terminal = event.terminal_numbers[place * COUNT : (place + 1) * COUNT].hex()
            found.append((number, generation, outcome, time_s, terminal))
    return found


def met(cards: list[int], flags: int, first_seq: int, at: str = "20250102080910") -> otr.Records:
    """Records of kind 07 of one terminal."""
    records = otr.new_records(len(cards))
    records["kind"], records["card_class"] = Kind.CARD_LOCKED, 3
    records["issuer"] = np.frombuffer(bytes.fromhex(ISSUER), np.uint8)
    records["card_number"] = [list(card_number(card)) for card in cards]
    records["card_city"] = records["accepting_city"] = (0x99, 0x01)
    records["card_main_type"], records["industry"] = 1, 2
    records["acquirer"] = np.frombuffer(bytes.fromhex("11139901FFFFFFFF"), np.uint8)
    records["operator"] = 17
    records["terminal_number"] = bcd.uint_to_bcd(np.full(len(cards), 990100000001), 6)
    records["psam_number"] = np.frombuffer(bytes.fromhex("99010000000000000001"), np.uint8)
    records["device_seq"] = first_seq + np.arange(len(cards))
    records["time"] = np.frombuffer(bytes.fromhex(at), np.uint8)
    records["flags"] = flags
    return otr.seal(records)


async def test_locks_refusals_and_cards_let_through_are_told_once(centre: Centre) -> None:
    await a_city(centre)
    async with centre.unit_of_work() as uow:
        await uow.registries.list_card(card_number(0), 1, jt=False, version=1, effective_s=1)
        await uow.commit()
    files = [
        # Card 0 is listed: code 20. Card 1 is a card like any other.
        rides(centre, 2),
        met([2], Flag.BLACKLIST_HIT | Flag.CARD_LOCKED, 1),
        met([3], Flag.BLACKLIST_HIT, 2),
        # Somebody else's terminal sets no flags: the kind alone says that it locked.
        met([4], 0, 3),
    ]
    uploads = [centre.gateway.store("bus", a_batch(one, 1 + at), NOON) for at, one in enumerate(files)]
    again = [centre.gateway.store("bus", a_batch(one, 11 + at), NOON) for at, one in enumerate(files)]
    await centre.judge_all()
    assert [await centre.codes(one) for one in uploads] == [[20, 0], [0], [0], [0]]
    assert [await centre.codes(one) for one in again] == [[1, 1], [1], [1], [1]]
    assert [(number[-1], generation, outcome, terminal) for number, generation, outcome, _, terminal in
            sorted(await told(centre))] == [
        ("0", 1, 3, "990100000001"), ("2", 1, 1, "990100000001"), ("3", 1, 2, "990100000001"),
        ("4", 1, 1, "990100000001"),
    ]  # fmt: skip


async def test_a_taker_with_the_flag_was_let_through_though_the_centre_lists_nobody(centre: Centre) -> None:
    await a_city(centre)
    records = rides(centre, 2)
    records["flags"] = [Flag.BLACKLIST_HIT, 0]
    upload = centre.gateway.store("bus", a_batch(otr.seal(records), 1), NOON)
    await centre.judge_all()
    assert await centre.codes(upload) == [0, 0]
    assert [(number[-1], outcome) for number, _, outcome, _, _ in await told(centre)] == [("0", 3)]


async def test_a_hit_of_a_card_heard_of_later_is_told_by_the_decision(centre: Centre) -> None:
    await a_city(centre)
    unknown = met([60], Flag.BLACKLIST_HIT, 1)
    centre.gateway.store("bus", a_batch(unknown, 1), NOON)
    centre.gateway.store("bus", a_batch(unknown, 2), NOON)
    await centre.judge_all()
    assert await told(centre) == []
    async with centre.unit_of_work() as uow:
        await uow.registries.add_cards(
            [card_number(60)], [1], jt=False, issuer_id=ISSUER, issued_s=0, start_day=0, expiry_day=40_000
        )
        await uow.commit()
    assert await centre.rejudge() == 1
    assert [(number[-2:], outcome) for number, _, outcome, _, _ in await told(centre)] == [("60", 2)]
    assert await centre.rejudge() == 0
    assert len(await told(centre)) == 1


async def test_a_terminal_whose_clock_runs_ahead_met_nobody_in_the_future(centre: Centre) -> None:
    await a_city(centre)
    centre.gateway.store("bus", a_batch(met([1], Flag.BLACKLIST_HIT, 1, at="20990102080910"), 1), NOON)
    await centre.judge_all()
    assert [time_s for _, _, _, time_s, _ in await told(centre)] == [int(NOON.timestamp())]


async def test_a_set_that_met_nobody_tells_nothing(centre: Centre) -> None:
    await a_city(centre)
    centre.gateway.store("bus", a_batch(rides(centre, 5), 1), NOON)
    await centre.judge_all()
    assert await told(centre) == []
