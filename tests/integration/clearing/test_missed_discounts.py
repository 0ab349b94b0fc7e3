"""Missed discounts of a whole day, between two operators, paid back by two persons."""

import json
from datetime import timedelta
from importlib import resources

import pytest

from libs.records import otr
from services.clearing.application.disputes import DecideAdjustment
from services.clearing.application.fare_audit import PublishFarePack
from services.clearing.application.missed_discounts import FindMissedDiscounts, MissedReads, ProposePayback
from services.clearing.domain.errors_settlement import NothingToPayBack

from .conftest import Centre, a_batch
from .test_results_and_windows import DAY, NOON, OTHER, a_city, rides
from .test_suspense import ANN, BOB, a_key, broken, posted


async def test_missed_transfers_are_found_once_and_paid_back_by_two_persons(centre: Centre) -> None:
    await a_city(centre)
    document = json.loads((resources.files("libs.fares") / "packs" / "shenzhen.json").read_text())
    await PublishFarePack(centre.unit_of_work, centre.clock)("", document, NOON - timedelta(days=9), a_key())
    # Ten cards ride the bus, five of them change to the metro's bus line within the window; nobody gave a discount.
    bus = rides(centre, 10, at="20250102080910")
    metro = rides(centre, 5, counter=1, acquirer=OTHER, operator=1, terminal=990100000002, first_seq=70,
                  at="20250102083910")  # fmt: skip
    bus["line"], metro["line"] = [0, 1, 0x13], [0, 2, 7]
    centre.gateway.store("bus", a_batch(otr.seal(bus), 1), NOON)
    centre.gateway.store("metro", a_batch(otr.seal(metro), 1, sender="11149901"), NOON)
    await centre.judge_all()
    find = FindMissedDiscounts(centre.unit_of_work, centre.gateway, centre.clock)
    found = await find(DAY)
    assert (found.looked, found.found, found.found_fen) == (15, 5, 5 * 40)
    assert (await find(DAY)).found == 0
    page = await MissedReads(centre.unit_of_work).page("metro", DAY, None, 10)
    assert [(one.terminal_seq, one.before_terminal, one.paid_fen, one.expected_fen) for one in page][:1] == [
        (70, 990100000001, 200, 160)
    ]
    assert await MissedReads(centre.unit_of_work).page("bus", DAY, None, 10) == []
    propose = ProposePayback(centre.unit_of_work, centre.clock)
    decide = DecideAdjustment(centre.unit_of_work, centre.clock)
    with pytest.raises(NothingToPayBack):
        await propose("bus", DAY, a_key())
    first = await propose("metro", DAY, a_key(ANN))
    with pytest.raises(NothingToPayBack):
        await propose("metro", DAY, a_key(ANN))
    await decide(first.id, a_key(BOB), approve=False)
    # Refused: it may be proposed again.
    again = await propose("metro", DAY, a_key(ANN))
    await decide(again.id, a_key(BOB), approve=True)
    (event,) = await posted(centre)
    assert (event.event, event.lines[0].debit_account, event.lines[0].credit_account, event.lines[0].amount_fen) == (
        "payback", "accounts/2203.metro", "accounts/2206", 200,
    )  # fmt: skip
    assert (await centre.close_window("metro", DAY)).totals.adjustment_fen == -200
    assert await broken(centre) == []


async def test_a_day_without_packs_or_records_has_nothing_to_find(centre: Centre) -> None:
    await a_city(centre)
    found = await FindMissedDiscounts(centre.unit_of_work, centre.gateway, centre.clock)(DAY)
    assert (found.looked, found.found) == (0, 0)
