"""Discounts that were missed, against the evaluator's own memory of each card."""

from datetime import UTC, datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from libs.fares.evaluate import Tap, evaluate, next_state
from libs.fares.rules import load_pack
from libs.fares.state import FRESH
from services.clearing.domain.audit import FarePack
from services.clearing.domain.missed import Taps, find_missed

PACK = load_pack("shenzhen")
NOON_S = int(datetime(2025, 1, 15, 4, tzinfo=UTC).timestamp())
# Card, minutes since the first tap, mode, line, list price, marked.
Row = tuple[int, int, int, int, int, bool]


def columns(rows: list[Row]) -> Taps:
    """Taps as terminals charge them: the price with the discount where it was marked."""
    card, minute, mode, line, price, marked = (np.array(column) for column in zip(*rows, strict=True))
    paid = [
        evaluate(PACK, Tap(int(m), 1, int(p), datetime.now(UTC), transfer=bool(k))).amount_fen
        for m, p, k in zip(mode, price, marked, strict=True)
    ]
    ones = np.ones(len(rows), np.int64)
    at_s = NOON_S + 60 * minute.astype(np.int64)
    return Taps(
        card.astype(np.int64), at_s, mode.astype(np.int64), line.astype(np.int64), ones, price.astype(np.int64),
        np.array(paid, np.int64), marked.astype(np.bool_), ones,
    )  # fmt: skip


def found(rows: list[Row]) -> dict[int, int]:
    taps = columns(rows)
    missed = find_missed(taps, [FarePack(1, 0, 0, PACK)])
    return {int(row): int(taps.paid_fen[row] - fen) for row, fen in zip(missed.rows, missed.expected_fen, strict=True)}


def remembered(rows: list[Row]) -> dict[int, int]:
    """The same one by one, with the state that a card would hold if every discount had been given."""
    due: dict[int, int] = {}
    states = dict.fromkeys(range(4), FRESH)
    for place, (card, minute, mode, line, price, marked) in sorted(
        enumerate(rows), key=lambda one: (one[1][1], one[0])
    ):
        at = datetime.fromtimestamp(NOON_S + 60 * minute, UTC)
        tap = Tap(mode, 1, price, at, f"{line:06d}", state=states[card])
        asked = evaluate(PACK, tap)
        plain = evaluate(PACK, Tap(mode, 1, price, at, transfer=False)).amount_fen
        if asked.transfer_discount and not marked and plain > asked.amount_fen:
            due[place] = plain - asked.amount_fen
        given_now = evaluate(PACK, Tap(mode, 1, price, at, f"{line:06d}", state=states[card],
                                       transfer=marked or asked.transfer_discount))  # fmt: skip
        states[card] = next_state(PACK, tap, given_now)
    return due


def test_a_ride_on_another_line_within_the_window_should_have_cost_less() -> None:
    rows = [(1, 0, 2, 113, 250, False), (1, 30, 2, 114, 250, False)]
    assert found(rows) == {1: 40}


def test_what_was_marked_or_late_or_on_the_same_line_or_of_another_card_is_none() -> None:
    assert found([(1, 0, 2, 113, 250, False), (1, 30, 2, 114, 250, True)]) == {}
    assert found([(1, 0, 2, 113, 250, False), (1, 91, 2, 114, 250, False)]) == {}
    assert found([(1, 0, 2, 113, 250, False), (1, 30, 2, 113, 250, False)]) == {}
    assert found([(1, 0, 2, 113, 250, False), (2, 30, 2, 114, 250, False)]) == {}


def test_without_packs_nothing_is_missed() -> None:
    missed = find_missed(columns([(1, 0, 2, 113, 250, False), (1, 30, 2, 114, 250, False)]), [])
    assert len(missed.rows) == 0


taps_of_a_day = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 300), st.sampled_from([1, 2]), st.integers(1, 3),
              st.integers(200, 900), st.booleans()),
    min_size=1, max_size=25, unique_by=lambda row: (row[0], row[1]),
)  # fmt: skip


@given(taps_of_a_day)
def test_columns_find_what_the_cards_memory_finds(rows: list[Row]) -> None:
    assert found(rows) == remembered(rows)
