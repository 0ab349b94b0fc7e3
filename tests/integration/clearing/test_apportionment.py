"""Shares, subsidies and fee shares against a real database."""

from datetime import date, timedelta

import pytest

from libs.records import otr
from services.clearing.application.apportionment import ApportionmentReads, CarryShares, PublishRules
from services.clearing.domain.apportion import Clause, FeeRule, Rules, Scope
from services.clearing.domain.errors import ParticipantUnknown
from services.clearing.domain.errors_settlement import DayBegun, RulesUnknown
from services.clearing.domain.statement import Statement

from .conftest import Centre, a_batch
from .test_results_and_windows import NOON, a_city, rides
from .test_suspense import a_key, broken, posted

FRIDAY = date(2025, 1, 3)
LATER = NOON + timedelta(days=1)
RULES = Rules(
    FRIDAY,
    fares=(Clause(1, "换乘线路票款", "fares of line 113", Scope(lines=("000113",)), (("self", 2), ("metro", 1))),),
    discounts=(
        Clause(7, "换乘优惠", "transfer discount", Scope(),
               (("authority:bureau", 50), ("metro", 30), ("self", 20))),
    ),
    fees=(
        FeeRule(1, "centre", "bus", "", (), 50, 0, ""), FeeRule(2, "service", "bus", "", (), 100, 0, "metro"),
    ),
)  # fmt: skip


async def the_day(centre: Centre, order: tuple[int, ...] = (1, 2, 3)) -> None:
    """Three batches of the bus company on the third, on line 113 but for the last; rules hold from that day on."""
    await a_city(centre)
    await PublishRules(centre.unit_of_work, centre.clock)(RULES, a_key())
    batches = {}
    for number in (1, 2, 3):
        records = rides(centre, 20, first_seq=number * 100, counter=number - 1, at="20250103080910")
        records["line"] = [0, 1, 0x13] if number < 3 else [0, 0, 7]
        batches[number] = a_batch(otr.seal(records), number)
    centre.clock.advance(timedelta(days=1))
    for number in order:
        centre.gateway.store("bus", batches[number], LATER)
        await centre.judge_all()


async def test_shares_of_fares_fall_into_the_windows_of_those_that_they_belong_to(centre: Centre) -> None:
    await the_day(centre)
    rows = await centre.execute("SELECT credit_account, sum(amount_fen) AS n FROM batch_line GROUP BY 1 ORDER BY 1")
    # 40 rides of 200 fen on line 113: of each the metro gets 67 fen, the bus company the rest.
    assert [(row.credit_account, int(row.n)) for row in rows] == [
        ("accounts/2203.bus", 40 * 133 + 20 * 200), ("accounts/2203.metro", 40 * 67),
    ]  # fmt: skip
    bus = await centre.close_window("bus", FRIDAY)
    assert (bus.totals.gross_fen, bus.totals.adjustment_fen) == (12_000, -2_680)
    # Half of 3,000 fen of discounts; fees of 50 and 100 bp of the gross.
    assert (bus.totals.discount_fen, bus.totals.subsidy_fen, bus.totals.fee_fen) == (3_000, 1_500, 180)
    metro = await centre.close_window("metro", FRIDAY)
    assert (metro.totals.record_count, metro.totals.adjustment_fen) == (0, 2_680)
    totals = await ApportionmentReads(centre.unit_of_work).totals(FRIDAY)
    assert totals.agree
    assert {one.level: one.amount_fen for one in totals.totals if one.level in ("operator", "participant", "day")} == {
        "operator": 12_000, "participant": 12_000, "day": 12_000,
    }  # fmt: skip
    assert sorted(one.amount_fen for one in totals.totals if one.level == "service") == [4_000, 8_000]
    assert await broken(centre) == []
    line = next(one for one in (await centre.prove()).lines if one.invariant == "I9")
    assert line.checked == 1


async def test_what_a_statement_says_of_others_is_carried_once_and_after_closing(centre: Centre) -> None:
    await the_day(centre)
    carry = CarryShares(centre.unit_of_work, centre.clock)
    bus = await centre.close_window("bus", FRIDAY)
    # Closing itself touched nobody else: the share of the fares was there, nothing else is.
    metro = await centre.close_window("metro", FRIDAY)
    assert await carry("bus", FRIDAY) == 120 + 900
    assert await carry("bus", FRIDAY) == 0
    assert await centre.close_window("bus", FRIDAY) == bus
    assert await centre.close_window("metro", FRIDAY) == metro
    centre.clock.advance(timedelta(days=1))
    saturday = FRIDAY + timedelta(days=1)
    # The metro gets the service fee and bears 30 of 100 of the discounts, which the bus company gets.
    assert (await centre.close_window("metro", saturday)).totals.adjustment_fen == 120 - 900
    assert (await centre.close_window("bus", saturday)).totals.adjustment_fen == 900
    assert await broken(centre) == []
    booked = {
        (event.event, line.debit_account, line.credit_account): line.amount_fen
        for event in await posted(centre)
        for line in event.lines
    }
    assert booked == {
        ("subsidy", "accounts/1224.bureau", "accounts/2203.bus"): 1_500,
        ("fee_share", "accounts/6002", "accounts/2203.metro"): 120,
        ("discount_share", "accounts/2203.metro", "accounts/2203.bus"): 900,
    }


async def test_neither_order_nor_slicing_changes_a_byte_of_any_statement(centre: Centre) -> None:
    made: list[list[Statement]] = []
    for order, size in (((1, 2, 3), 20_000), ((3, 2, 1), 7)):
        centre.wipe()
        centre.clock.set(NOON + timedelta(hours=9))
        centre.set_records_max = size
        await the_day(centre, order)
        made.append([await centre.close_window(name, FRIDAY) for name in ("bus", "metro")])
    assert made[0] == made[1]


async def test_the_books_of_a_participant_are_its_statements(centre: Centre) -> None:
    await the_day(centre)
    statements = [await centre.close_window(name, FRIDAY) for name in ("bus", "metro")]
    await CarryShares(centre.unit_of_work, centre.clock)("bus", FRIDAY)
    statements += [await centre.close_window(name, FRIDAY + timedelta(days=1)) for name in ("bus", "metro")]
    ledger = {account: credits_ - debits for account, debits, credits_ in (await centre.prove()).ledger}
    for name in ("bus", "metro"):
        net = sum(one.totals.net_fen for one in statements if one.participant == name)
        assert ledger[f"accounts/2203.{name}"] == net


async def test_rules_never_hold_for_a_day_that_has_begun_nor_name_a_stranger(centre: Centre) -> None:
    await a_city(centre)
    publish, reads = PublishRules(centre.unit_of_work, centre.clock), ApportionmentReads(centre.unit_of_work)
    today = Rules(date(2025, 1, 2), (), (), ())
    with pytest.raises(DayBegun):
        await publish(today, a_key())
    stranger = Rules(FRIDAY, (Clause(1, "票", "fare", Scope(), (("tram", 1),)),), (), ())
    with pytest.raises(ParticipantUnknown):
        await publish(stranger, a_key())
    with pytest.raises(RulesUnknown):
        await reads.rules(FRIDAY)
    key = a_key()
    assert await publish(RULES, key) == await publish(RULES, key) == await reads.rules(FRIDAY)
