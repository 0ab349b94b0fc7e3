"""Rule packs and price tables: what is wrong in a document is named before anybody is charged by it."""

import copy
from datetime import date
from typing import Any

import numpy as np
import pytest

from libs.fares.errors import FareUnknown, RulePackInvalid
from libs.fares.prices import ListPrices
from libs.fares.rules import RulePack, load_pack
from libs.records.fare_record import FARE, seal_fares

WORDS = {"zh": "规则", "en": "rule"}
PERCENT = {"id": 1, "name": "R1", "step": "card_type", "modes": [1], "main_types": [1], "percent": 95, **WORDS}
BRACKETS = {
    **WORDS, "id": 2, "name": "R2", "step": "card_type", "modes": [2],
    "brackets": [{"up_to_fen": 300, "percent": 80}, {"percent": 65}],
}  # fmt: skip
TIERS = {
    **WORDS, "id": 3, "name": "R3", "step": "monthly", "counter": "trips", "combined": False,
    "tiers": [{"from": 0, "percent": 100}, {"from": 15, "percent": 60}],
}  # fmt: skip
TRANSFER = {**WORDS, "id": 4, "name": "R4", "step": "transfer", "amount_off_fen": 40, "window_s": 5400, "chains": True}
DOCUMENT = {
    "name": "p",
    "version": 1,
    "metro_modes": [1],
    "bus_modes": [2],
    "rules": [PERCENT, BRACKETS, TIERS, TRANSFER],
}


def changed(*path: object, to: object = None, drop: bool = False) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    here: Any = document
    for step in path[:-1]:
        here = here[step]
    if drop:
        del here[path[-1]]
    else:
        here[path[-1]] = to
    return document


@pytest.mark.parametrize(
    ("document", "where", "fault"),
    [
        (changed("name", to=""), "pack.name", "NOT_A_TEXT"),
        (changed("version", drop=True), "pack.version", "MISSING"),
        (changed("version", to=True), "pack.version", "NOT_AN_INTEGER"),
        (changed("ruels", to=[]), "pack.ruels", "UNKNOWN_FIELD"),
        (changed("rules", to="none"), "pack.rules", "NOT_A_LIST"),
        (changed("rules", 0, to=7), "pack.rules[0]", "NOT_A_MAPPING"),
        (changed("metro_modes", to=[256]), "pack.metro_modes", "NOT_A_CODE"),
        (changed("rules", 0, "modes", to=[]), "R1.modes", "NOT_A_LIST"),
        (changed("rules", 0, "percent", to=95.0), "R1.percent", "NOT_AN_INTEGER"),
        (changed("rules", 0, "percent", to=101), "R1.percent", "OUT_OF_RANGE"),
        (changed("rules", 0, "percent", to=-1), "R1.percent", "OUT_OF_RANGE"),
        (changed("rules", 0, "window_s", to=1), "R1.window_s", "UNKNOWN_FIELD"),
        (changed("rules", 0, "zh", drop=True), "R1.zh", "MISSING"),
        (changed("rules", 0, "step", to="later"), "R1.step", "NOT_A_CHOICE"),
        (changed("rules", 0, "id", to=0), "R1.id", "OUT_OF_RANGE"),
        (changed("rules", 1, "id", to=1), "R2", "RULE_ID_TWICE"),
        (changed("rules", 1, "modes", to=[1, 2]), "R2", "AMBIGUOUS"),
        (changed("rules", 1, "modes", drop=True), "R2", "AMBIGUOUS"),
        (changed("rules", 1, "brackets", to=[]), "R2.brackets", "LAST_MUST_BE_OPEN"),
        (changed("rules", 1, "brackets", 1, "up_to_fen", to=500), "R2.brackets", "LAST_MUST_BE_OPEN"),
        (changed("rules", 1, "brackets", 1, "up_to_fen", to=300), "R2.brackets[1].up_to_fen", "OUT_OF_RANGE"),
        (changed("rules", 1, "brackets", 0, "up_to_fen", drop=True), "R2.brackets[1].up_to_fen", "AFTER_THE_LAST"),
        (changed("rules", 2, "tiers", to=[]), "R3.tiers", "EMPTY"),
        (changed("rules", 2, "tiers", 0, "from", to=1), "R3.tiers[0].from", "OUT_OF_RANGE"),
        (changed("rules", 2, "tiers", 1, "from", to=0), "R3.tiers[1].from", "OUT_OF_RANGE"),
        (changed("rules", 2, "counter", to="rides"), "R3.counter", "NOT_A_CHOICE"),
        (changed("rules", 2, "combined", to=1), "R3.combined", "NOT_A_FLAG"),
        (changed("rules", 3, "amount_off_fen", to=0), "R4.amount_off_fen", "OUT_OF_RANGE"),
        (changed("rules", 3, "chains", drop=True), "R4.chains", "MISSING"),
    ],
)
def test_what_is_wrong_in_a_pack_is_named(document: dict[str, Any], where: str, fault: str) -> None:
    with pytest.raises(RulePackInvalid) as refused:
        RulePack.from_dict(document)
    assert (refused.value.facts["where"], refused.value.facts["fault"]) == (where, fault)


@pytest.mark.parametrize("name", ["shenzhen", "beijing", "guangzhou_2010", "guangzhou_2022", "shanghai"])
def test_the_packs_that_come_with_us_load(name: str) -> None:
    pack = load_pack(name)
    assert pack.name == name
    assert all(pack.rule(rule.rule_id) is rule for rule in pack.rules)
    assert pack.rule(0) is None


@pytest.mark.parametrize("name", ["atlantis", "../packs/shenzhen", ""])
def test_a_pack_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(RulePackInvalid):
        load_pack(name)


TABLES = {
    "tables": [
        {"line": "000001", "kind": "flat", "fare_fen": 200},
        {
            "line": "000002", "kind": "staged",
            "stages": [{"up_to_stops": 4, "fare_fen": 100}, {"up_to_stops": 8, "fare_fen": 150}],
        },
        {"line": "000003", "kind": "staged", "stages": [{"up_to_stops": 4, "fare_fen": 100}, {"fare_fen": 250}]},
        {
            "line": "000000", "kind": "od", "symmetric": True,
            "fares": [{"from": 1, "to": 2, "fare_fen": 200}, {"from": 1, "to": 1, "fare_fen": 0}],
        },
    ]
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "start", "end", "fare"),
    [
        ("000001", 0, 0, 200),
        ("000002", 3, 3, 100),
        ("000002", 1, 5, 100),
        ("000002", 6, 1, 150),
        ("000003", 1, 99, 250),
        ("000000", 1, 2, 200),
        ("000000", 2, 1, 200),
        ("000000", 1, 1, 0),
    ],
)
def test_a_ride_finds_its_list_price(line: str, start: int, end: int, fare: int) -> None:
    assert ListPrices.from_dict(TABLES).find(line, start, end) == fare


@pytest.mark.parametrize(("line", "start", "end"), [("000009", 1, 2), ("000002", 1, 10), ("000000", 1, 3)])
def test_a_ride_without_a_price_is_refused_with_its_stops(line: str, start: int, end: int) -> None:
    with pytest.raises(FareUnknown) as refused:
        ListPrices.from_dict(TABLES).find(line, start, end)
    assert refused.value.facts == {"line": line, "from_stop": str(start), "to_stop": str(end)}


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"line": "1", "kind": "flat", "fare_fen": 1}, "NOT_A_NEW_LINE"),
        ({"line": "000001", "kind": "round", "fare_fen": 1}, "NOT_A_CHOICE"),
        ({"line": "000001", "kind": "flat", "fare_fen": -1}, "OUT_OF_RANGE"),
        ({"line": "000001", "kind": "staged", "stages": []}, "EMPTY"),
        ({"line": "000001", "kind": "staged", "stages": [{"fare_fen": 1}, {"fare_fen": 2}]}, "AFTER_THE_LAST"),
        (
            {"line": "000001", "kind": "od", "symmetric": True,
             "fares": [{"from": 1, "to": 2, "fare_fen": 1}, {"from": 2, "to": 1, "fare_fen": 2}]},
            "FARE_TWICE",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_price_table_is_named(table: dict[str, Any], fault: str) -> None:
    with pytest.raises(RulePackInvalid) as refused:
        ListPrices.from_dict({"tables": [table]})
    assert refused.value.facts["fault"] == fault


def fare_rows(*rows: tuple[int, int, int, int, str]) -> np.ndarray:
    made = np.zeros(len(rows), dtype=FARE)
    for row, (start, end, main_type, fare, first_day) in zip(made, rows, strict=True):
        row["line"] = [0, 0, 1]
        row["from_stop"], row["to_stop"], row["card_main_type"], row["fare_fen"] = start, end, main_type, fare
        row["first_day"] = list(bytes.fromhex(first_day))
        row["last_day"] = list(bytes.fromhex("20991231"))
    return seal_fares(made)


def test_a_fare_file_gives_prices_by_card_type_and_day() -> None:
    rows = fare_rows((1, 2, 0, 500, "20250101"), (1, 2, 2, 250, "20250101"), (1, 3, 0, 600, "20250601"))
    january = ListPrices.from_fare_rows(rows, main_type=1, day=date(2025, 1, 1))
    assert january.find("000001", 1, 2) == 500
    with pytest.raises(FareUnknown):
        january.find("000001", 1, 3)
    assert ListPrices.from_fare_rows(rows, main_type=2, day=date(2025, 6, 1)).find("000001", 1, 2) == 250
    assert ListPrices.from_fare_rows(rows, main_type=2, day=date(2025, 6, 1)).find("000001", 1, 3) == 600


def test_a_flat_row_stands_for_its_whole_line() -> None:
    prices = ListPrices.from_fare_rows(fare_rows((0, 0, 0, 200, "20250101")), main_type=1, day=date(2025, 1, 1))
    assert prices.find("000001", 5, 9) == 200


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (((1, 2, 0, 500, "20250101"), (1, 2, 0, 501, "20250101")), "FARE_TWICE"),
        (((0, 0, 0, 500, "20250101"), (7, 0, 0, 501, "20250101")), "FARE_TWICE"),
        (((0, 0, 0, 500, "20250101"), (1, 2, 0, 501, "20250101")), "FLAT_AND_PAIRS"),
    ],
)
def test_a_fare_file_with_two_prices_for_a_ride_is_refused(rows: tuple[Any, ...], fault: str) -> None:
    with pytest.raises(RulePackInvalid) as refused:
        ListPrices.from_fare_rows(fare_rows(*rows), main_type=1, day=date(2025, 1, 1))
    assert refused.value.facts["fault"] == fault
