"""Prices step by step: transfers, months, the better of two discounts, and columns that agree with single rides."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.fares.columns import evaluate_columns
from libs.fares.errors import RulePackNeedsState
from libs.fares.evaluate import Tap, evaluate, next_state
from libs.fares.rules import RulePack, load_pack
from libs.fares.state import DiscountState, decode_state, encode_state, state_or_zero
from libs.records.bcd import LOCAL_TIME

SHENZHEN, SHANGHAI = load_pack("shenzhen"), load_pack("shanghai")
NOON = datetime(2025, 1, 15, 12, tzinfo=LOCAL_TIME)
METRO, BUS, TAXI = 1, 2, 4
ORDINARY, STUDENT, SENIOR, FREE, STAFF, UNHEARD_OF = 1, 2, 3, 4, 6, 0x55


def a_tap(**changes: Any) -> Tap:
    return replace(Tap(BUS, ORDINARY, 200, NOON, line="000113"), **changes)


def after(tap: Tap, minutes: int, **changes: Any) -> Tap:
    """The next tap of the same card, with what the first left on it, through the bytes on the card."""
    state = decode_state(encode_state(next_state(SHENZHEN, tap, evaluate(SHENZHEN, tap))))
    return replace(tap, at=tap.at + timedelta(minutes=minutes), state=state, **changes)


def pack_of(*rules: dict[str, Any]) -> RulePack:
    words = {"zh": "规则", "en": "rule"}
    numbered = [{"id": place, "name": f"R{place}", **words, **rule} for place, rule in enumerate(rules, 1)]
    return RulePack.from_dict({"name": "test", "version": 1, "metro_modes": [1], "bus_modes": [2], "rules": numbered})


@pytest.mark.parametrize(
    ("main_type", "metro", "bus", "rule_ids"),
    [
        (ORDINARY, 665, 530, (1, 2)),
        (STUDENT, 350, 350, (4, 4)),
        (SENIOR, 0, 0, (5, 5)),
        (FREE, 0, 0, (5, 5)),
        (STAFF, 700, 700, (6, 6)),
        (UNHEARD_OF, 700, 700, (0, 0)),
    ],
)
def test_each_class_of_card_pays_by_its_rule(main_type: int, metro: int, bus: int, rule_ids: tuple[int, int]) -> None:
    charges = [evaluate(SHENZHEN, a_tap(mode=mode, main_type=main_type, list_price_fen=700)) for mode in (METRO, BUS)]
    # 300 at 80 %, 300 at 75 %, 100 at 65 % are 240 + 225 + 65 = 530 on a bus.
    assert [charge.amount_fen for charge in charges] == [metro, bus]
    assert tuple(charge.rule_id for charge in charges) == rule_ids


def test_a_ride_of_another_mode_pays_the_list_price() -> None:
    assert evaluate(SHENZHEN, a_tap(mode=TAXI, transfer=True)).amount_fen == 200


def test_a_percentage_rounds_half_up_once() -> None:
    assert evaluate(SHENZHEN, a_tap(main_type=STUDENT, list_price_fen=201)).amount_fen == 101
    # 1 fen at 80 % is 0.8, in one rounding; 301 fen are 240.75.
    assert evaluate(SHENZHEN, a_tap(list_price_fen=1)).amount_fen == 1
    assert evaluate(SHENZHEN, a_tap(list_price_fen=301)).amount_fen == 241


def test_a_transfer_never_makes_the_price_negative() -> None:
    charge = evaluate(SHENZHEN, a_tap(list_price_fen=40, transfer=True))
    assert (charge.amount_fen, charge.transfer_discount) == (0, True)


def test_the_steps_tell_the_whole_story_in_two_languages() -> None:
    charge = evaluate(SHENZHEN, a_tap(transfer=True))
    assert [(step.rule_id, step.amount_fen) for step in charge.steps] == [(0, 200), (2, 160), (3, 120)]
    assert all(step.zh and step.en for step in charge.steps)
    assert (charge.rule_id, charge.list_price_fen) == (2, 200)


def test_the_next_ride_on_another_line_gets_the_transfer_and_on_the_same_line_does_not() -> None:
    first = a_tap()
    assert evaluate(SHENZHEN, after(first, 30, line="000007")).amount_fen == 120
    assert evaluate(SHENZHEN, after(first, 30)).amount_fen == 160


def test_a_metro_and_a_bus_line_of_one_number_are_two_lines() -> None:
    assert evaluate(SHENZHEN, after(a_tap(line="000001"), 30, mode=METRO)).transfer_discount


def test_the_window_of_a_metro_trip_ends_at_its_entry() -> None:
    exit_tap = after(a_tap(), 100, mode=METRO, line="000001")
    assert not evaluate(SHENZHEN, exit_tap).transfer_discount
    entered_in_time = replace(exit_tap, boarded_at=exit_tap.at - timedelta(minutes=20))
    assert evaluate(SHENZHEN, entered_in_time).transfer_discount


def test_a_chain_of_transfers_goes_on_where_the_rule_says_so_and_stops_where_not() -> None:
    rule = {"step": "transfer", "amount_off_fen": 40, "window_s": 5400}
    for chains in (True, False):
        pack, tap, discounts = pack_of({**rule, "chains": chains}), a_tap(), []
        for line in ("000001", "000002", "000003", "000004"):
            charge = evaluate(pack, tap)
            discounts.append(charge.transfer_discount)
            tap = replace(tap, state=next_state(pack, tap, charge), at=tap.at + timedelta(minutes=5), line=line)
        assert discounts == ([False, True, True, True] if chains else [False, True, False, True])


def test_a_transfer_that_made_a_ride_free_is_used_up_and_opens_no_window() -> None:
    free = after(a_tap(), 10, list_price_fen=50, line="000007")
    assert evaluate(SHENZHEN, free).amount_fen == 0
    third = after(free, 10, list_price_fen=200, line="000008")
    assert third.state.transfer_used
    assert not evaluate(SHENZHEN, third).transfer_discount


def test_a_free_ride_before_any_paid_one_opens_no_window() -> None:
    assert after(a_tap(main_type=FREE), 10).state.last_paid_at is None


def test_a_new_month_forgets_sums_and_the_last_tap() -> None:
    last_minute = a_tap(at=datetime(2025, 1, 31, 23, 50, tzinfo=LOCAL_TIME))
    next_month = after(last_minute, 20, line="000007")
    assert not evaluate(SHENZHEN, next_month).transfer_discount
    state = next_state(SHENZHEN, next_month, evaluate(SHENZHEN, next_month))
    assert (state.month, state.trips, state.bus_paid_fen) == ("202502", 1, 160)


def test_the_month_is_that_of_local_time() -> None:
    state = DiscountState(month="202502", metro_paid_fen=8000)
    # Still January in UTC, already February in the city.
    at = datetime.fromisoformat("2025-01-31T16:00:00+00:00")
    assert evaluate(SHANGHAI, a_tap(mode=METRO, list_price_fen=400, at=at, state=state)).amount_fen == 360


def test_only_paid_amounts_of_the_right_mode_add_to_a_sum() -> None:
    tap = a_tap(mode=METRO, list_price_fen=700)
    state = next_state(SHENZHEN, tap, evaluate(SHENZHEN, tap))
    assert (state.metro_paid_fen, state.bus_paid_fen, state.trips) == (665, 0, 1)
    taxi = a_tap(mode=TAXI, state=state)
    state = next_state(SHENZHEN, taxi, evaluate(SHENZHEN, taxi))
    assert (state.metro_paid_fen, state.bus_paid_fen, state.trips, state.last_mode) == (665, 0, 1, TAXI)


TIERS = {"step": "monthly", "counter": "paid", "tiers": [{"from": 0, "percent": 100}, {"from": 100, "percent": 80}]}


@pytest.mark.parametrize(
    ("percent", "combined", "amount", "rule_id"),
    [(90, False, 160, 2), (70, False, 140, 1), (80, False, 160, 1), (90, True, 144, 2), (70, True, 112, 2)],
)
def test_the_better_of_class_and_month_applies_unless_they_are_combined(
    percent: int, combined: bool, amount: int, rule_id: int
) -> None:
    pack = pack_of({"step": "card_type", "percent": percent}, {**TIERS, "combined": combined})
    charge = evaluate(pack, a_tap(state=DiscountState(month="202501", metro_paid_fen=60, bus_paid_fen=40)))
    assert (charge.amount_fen, charge.rule_id) == (amount, rule_id)


@pytest.mark.parametrize(
    ("counter", "expected"), [("metro_paid", 200), ("bus_paid", 200), ("paid", 160), ("trips", 160)]
)
def test_each_counter_looks_at_its_own_sum(counter: str, expected: int) -> None:
    pack = pack_of({**TIERS, "counter": counter})
    state = DiscountState(month="202501", metro_paid_fen=99, bus_paid_fen=99, trips=100)
    assert evaluate(pack, a_tap(state=state)).amount_fen == expected


def test_sums_that_outgrow_the_card_stay_at_their_highest() -> None:
    state = DiscountState(month="202501", metro_paid_fen=2**32 - 1, bus_paid_fen=2**32 - 1, trips=2**16 - 1)
    tap = a_tap(state=state)
    packed = encode_state(next_state(SHENZHEN, tap, evaluate(SHENZHEN, tap)))
    assert (decode_state(packed).bus_paid_fen, decode_state(packed).trips) == (2**32 - 1, 2**16 - 1)


@given(st.binary(max_size=40))
def test_an_unreadable_state_counts_as_zeros_and_never_stops_a_ride(junk: bytes) -> None:
    state = state_or_zero(junk, NOON)
    assert state.month == "202501"
    assert evaluate(SHENZHEN, a_tap(state=state)).amount_fen in (120, 160)


def test_every_single_flipped_bit_of_a_state_makes_it_zeros() -> None:
    good = encode_state(next_state(SHENZHEN, a_tap(), evaluate(SHENZHEN, a_tap())))
    assert state_or_zero(good, NOON).trips == 1
    for bit in range(256):
        torn = bytearray(good)
        torn[bit // 8] ^= 1 << bit % 8
        assert state_or_zero(bytes(torn), NOON) == DiscountState(month="202501")


rides = st.tuples(
    st.integers(0, 2**32 - 1) | st.integers(0, 2000), st.integers(0, 255) | st.integers(1, 6), st.booleans(),
    st.integers(1, 4),
)  # fmt: skip


@given(st.lists(rides, max_size=30))
def test_columns_charge_what_single_rides_are_charged(rows: list[tuple[int, int, bool, int]]) -> None:
    columns = [
        np.array([row[place] for row in rows], dtype=dtype) for place, dtype in enumerate((">u4", "u1", "?", "u1"))
    ]
    charged = evaluate_columns(SHENZHEN, *columns)
    for place, (price, main_type, mark, mode) in enumerate(rows):
        single = evaluate(SHENZHEN, Tap(mode, main_type, price, NOON, transfer=mark))
        assert (charged.amount_fen[place], charged.rule_id[place], charged.transfer_discount[place]) == (
            single.amount_fen,
            single.rule_id,
            single.transfer_discount,
        )
        assert 0 <= single.amount_fen <= price


def test_columns_refuse_a_pack_that_looks_at_the_month() -> None:
    one = np.ones(1, dtype=np.uint8)
    with pytest.raises(RulePackNeedsState):
        evaluate_columns(SHANGHAI, one, one, one.astype(bool), one)
