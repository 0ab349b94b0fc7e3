"""The known answers of vectors.json for fares, transfers and the discount state."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from libs.fares.columns import evaluate_columns
from libs.fares.evaluate import Charge, Tap, evaluate, next_state, within_window
from libs.fares.rules import load_pack
from libs.fares.state import DiscountState, decode_state, encode_state
from libs.records.bcd import LOCAL_TIME, time_of

VECTORS = {
    vector["id"]: vector
    for vector in json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))["vectors"]
}
FIRST_OF_MONTH = datetime(2025, 1, 1, tzinfo=LOCAL_TIME)
METRO, BUS, ORDINARY = 1, 2, 1


def ride_all_month(pack_name: str, list_price_fen: int, trips: int) -> list[tuple[DiscountState, Charge]]:
    """One card, one trip after the other through the state that it carries: (before, charge) of each."""
    pack = load_pack(pack_name)
    packed, rides = encode_state(DiscountState(month="202501")), []
    for trip in range(trips):
        state = decode_state(packed)
        tap = Tap(METRO, ORDINARY, list_price_fen, FIRST_OF_MONTH + timedelta(hours=4 * trip), state=state)
        charge = evaluate(pack, tap)
        rides.append((state, charge))
        packed = encode_state(next_state(pack, tap, charge))
    return rides


@pytest.mark.parametrize(
    ("vector", "pack", "trips"),
    [("fare-bj-metro", "beijing", 140), ("fare-gz-15", "guangzhou_2010", 40), ("fare-gz-2022", "guangzhou_2022", 100)],
)
def test_a_month_of_trips_is_charged_by_its_tiers(vector: str, pack: str, trips: int) -> None:
    asked = VECTORS[vector]
    rides = ride_all_month(pack, asked["inputs"]["list_price"], trips)
    for expected in asked["outputs"]["charges"]:
        state, charge = rides[expected["trip"] - 1]
        assert charge.amount_fen == expected["charge"], expected
        if "accumulated_before" in expected:
            assert state.metro_paid_fen + state.bus_paid_fen == expected["accumulated_before"]
    if "total_after_140" in asked["outputs"]:
        assert sum(charge.amount_fen for _, charge in rides) == asked["outputs"]["total_after_140"]


@pytest.mark.parametrize("case", VECTORS["fare-sh-metro"]["outputs"]["charges"])
def test_shanghai_discounts_what_comes_after_seventy_yuan(case: dict[str, Any]) -> None:
    state = DiscountState(month="202501", metro_paid_fen=case["accumulated_before"])
    tap = Tap(METRO, ORDINARY, case["list_price"], FIRST_OF_MONTH, state=state)
    assert evaluate(load_pack("shanghai"), tap).amount_fen == case["charge"]


@pytest.mark.parametrize("case", VECTORS["fare-sz-bus"]["outputs"]["charges"])
def test_shenzhen_buses_charge_by_brackets_and_transfers_take_forty_fen_off(case: dict[str, Any]) -> None:
    pack = load_pack("shenzhen")
    for mark, expected in ((False, case["charge"]), (True, case["with_transfer"])):
        charge = evaluate(pack, Tap(BUS, ORDINARY, case["list_price"], FIRST_OF_MONTH, transfer=mark))
        assert (charge.amount_fen, charge.transfer_discount) == (expected, mark)


@pytest.mark.parametrize("case", VECTORS["fare-sz-metro"]["outputs"]["charges"])
def test_shenzhen_metro_charges_ninety_five_percent(case: dict[str, Any]) -> None:
    charge = evaluate(load_pack("shenzhen"), Tap(METRO, ORDINARY, case["list_price"], FIRST_OF_MONTH))
    assert charge.amount_fen == case["charge"]


def test_the_columns_give_the_same_answers_as_the_vectors() -> None:
    bus, metro = (VECTORS[name]["outputs"]["charges"] for name in ("fare-sz-bus", "fare-sz-metro"))
    rows = [(each["list_price"], False, BUS, each["charge"]) for each in bus]
    rows += [(each["list_price"], True, BUS, each["with_transfer"]) for each in bus]
    rows += [(each["list_price"], False, METRO, each["charge"]) for each in metro]
    prices, marks, modes, expected = (np.array(column) for column in zip(*rows, strict=True))
    charged = evaluate_columns(load_pack("shenzhen"), prices, np.full(len(rows), ORDINARY), marks, modes)
    assert charged.amount_fen.tolist() == expected.tolist()


@pytest.mark.parametrize("case", VECTORS["fare-transfer-window"]["outputs"]["cases"])
def test_the_transfer_window_is_inclusive_to_the_second(case: dict[str, Any]) -> None:
    previous, now = (time_of(bytes.fromhex(case[name])) for name in ("previous", "now"))
    window_s = VECTORS["fare-transfer-window"]["inputs"]["window_minutes"] * 60
    assert within_window(previous, now, window_s) is case["entitled"]
    state = DiscountState(month="202501", last_mode=METRO, last_paid_at=previous, last_amount_fen=200)
    charge = evaluate(load_pack("shenzhen"), Tap(BUS, ORDINARY, 200, now, line="000007", state=state))
    assert charge.transfer_discount is case["entitled"]


def test_the_discount_state_comes_out_byte_for_byte() -> None:
    asked = VECTORS["cmp-discount-state"]["inputs"]
    state = DiscountState(
        month=asked["month"],
        metro_paid_fen=asked["metro_paid"],
        bus_paid_fen=asked["bus_paid"],
        trips=asked["trips"],
        last_mode=asked["last_mode"],
        last_line=asked["last_line"],
        last_paid_at=time_of(bytes.fromhex(asked["last_time"])),
        last_amount_fen=asked["last_paid"],
        transfer_used=bool(asked["transfer_used"]),
    )
    assert encode_state(state).hex().upper() == VECTORS["cmp-discount-state"]["outputs"]["record"]
    assert decode_state(encode_state(state)) == state
