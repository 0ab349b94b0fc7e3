"""Missed discounts (漏优惠): transfers that the fare pack gives and no terminal gave (F69, F143).

The rules are those of `libs.fares`: the last paid tap of the card lies within the window, on another line or mode, and
did not itself use up the discount (card-lifecycle-and-fares.md, section 4). Several operators' taps are looked at
together, because a transfer is between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from libs.fares.columns import evaluate_columns
from libs.fares.rules import AmountOff, Step
from services.clearing.domain.audit import FarePack, packs_in_force
from services.clearing.domain.judgement import I64, Bools


@dataclass(frozen=True, slots=True)
class Taps:
    """Paid rides of a day; columns of equal length, in any order.

    Attributes:
        card: A number for each card.
        time_s: Epoch seconds.
        mode: Industry codes.
        line: A number for each line.
        marked: Whether the record says that a transfer discount was given.
        participant: Surrogate of the participant.
    """

    card: I64
    time_s: I64
    mode: I64
    line: I64
    main_type: I64
    list_price_fen: I64
    paid_fen: I64
    marked: Bools
    participant: I64


@dataclass(frozen=True, slots=True)
class Missed:
    """Rows that paid too much, the row of the ride before each, the rule, and the right price in fen."""

    rows: npt.NDArray[np.intp]
    before: npt.NDArray[np.intp]
    rule_id: I64
    expected_fen: I64


def find_missed(taps: Taps, packs: Sequence[FarePack]) -> Missed:
    """Find the rides that a transfer discount was due to and not given; a ride that paid less already is none."""
    count = len(taps.card)
    pack_of = packs_in_force(taps.time_s, taps.participant, list(packs))
    rule_id, window_s = np.zeros(count, np.int64), np.full(count, -1, np.int64)
    chains = np.zeros(count, np.bool_)
    expected = taps.paid_fen.copy()
    kinds = np.stack([pack_of, taps.mode, taps.main_type], axis=1)
    for place, mode, main_type in np.unique(kinds[pack_of >= 0], axis=0).tolist():
        pack = packs[place].pack
        rule = pack.rule_for(Step.TRANSFER, mode, main_type)
        if rule is None:
            continue
        assert isinstance(rule.pricing, AmountOff), "the reader of packs gives transfers no other pricing"
        mine = (pack_of == place) & (taps.mode == mode) & (taps.main_type == main_type)
        rule_id[mine], window_s[mine], chains[mine] = rule.rule_id, rule.pricing.window_s, rule.pricing.chains
        expected[mine] = evaluate_columns(
            pack, taps.list_price_fen[mine], taps.main_type[mine], np.ones(int(mine.sum()), np.bool_), taps.mode[mine]
        ).amount_fen
    # A free ride opens no window; one that was made free by a discount has used it up.
    order = np.flatnonzero((taps.paid_fen > 0) | taps.marked)
    order = order[np.lexsort((order, taps.time_s[order], taps.card[order]))]
    now, before = order[1:], order[:-1]
    waited = taps.time_s[now] - taps.time_s[before]
    fits = (
        (taps.card[now] == taps.card[before])
        & (taps.paid_fen[before] > 0)
        & ((taps.mode[now] != taps.mode[before]) | (taps.line[now] != taps.line[before]))
        & (waited >= 0)
        & (waited <= window_s[now])
        & ~taps.marked[now]
    )
    # Whether the ride before had used its discount up, also one that should have been given: one after another.
    due = np.zeros(count, np.bool_)
    for place in np.flatnonzero(fits).tolist():
        previous = before[place]
        used = (taps.marked[previous] or due[previous]) and not chains[previous]
        due[now[place]] = not used
    chosen = np.flatnonzero(due[now] & fits & (taps.paid_fen[now] > expected[now])) if len(now) else now
    rows = now[chosen]
    return Missed(rows, before[chosen], rule_id[rows], expected[rows])
