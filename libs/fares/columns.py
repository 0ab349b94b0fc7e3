"""Prices of whole columns of records, for the audit of what terminals charged."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from libs.fares.errors import RulePackNeedsState
from libs.fares.rules import AmountOff, Brackets, Percent, RulePack, Step

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ChargedColumns:
    """What the pack charges for each row.

    Attributes:
        amount_fen: (n,) int64.
        rule_id: (n,) uint16: the card type rule that made the price, 0 for none, as `Charge.rule_id`.
        transfer_discount: (n,) booleans: marked, and a transfer rule fits.
    """

    amount_fen: I64
    rule_id: npt.NDArray[np.uint16]
    transfer_discount: npt.NDArray[np.bool_]


def evaluate_columns(
    pack: RulePack,
    list_price_fen: npt.NDArray[Any],
    main_type: npt.NDArray[Any],
    transfer_mark: npt.NDArray[np.bool_],
    mode: npt.NDArray[Any],
) -> ChargedColumns:
    """Charge n rides at once, the same to the fen as `evaluate` with the mark given.

    Args:
        pack: Without monthly tiers.
        list_price_fen: (n,) integers >= 0, below 2^32.
        main_type: (n,) card main types.
        transfer_mark: (n,) booleans, what the record says of a transfer.
        mode: (n,) JT industry codes.

    Raises:
        RulePackNeedsState: The pack has monthly tiers: what a card paid before is not in the columns.
    """
    prices = list_price_fen.astype(np.int64)
    amount = prices.copy()
    rule_id = np.zeros(prices.shape[0], dtype=np.uint16)
    discounted = np.zeros(prices.shape[0], dtype=np.bool_)
    for step in Step:
        for rule in pack.rules:
            if rule.step is not step:
                continue
            fits = _fits(rule.modes, mode) & _fits(rule.main_types, main_type)
            match rule.pricing:
                case Percent() | Brackets() as pricing:
                    amount[fits] = _reduced(pricing, prices[fits])
                    rule_id[fits] = rule.rule_id
                case AmountOff(amount_fen=off):
                    marked = fits & transfer_mark
                    amount[marked] = np.maximum(amount[marked] - off, 0)
                    discounted |= marked
                case _:
                    raise RulePackNeedsState(pack=pack.name, rule=rule.name)
    return ChargedColumns(amount, rule_id, discounted)


def _fits(allowed: frozenset[int] | None, codes: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if allowed is None:
        return np.ones(codes.shape[0], dtype=np.bool_)
    return np.isin(codes, sorted(allowed))


def _reduced(pricing: Percent | Brackets, prices: I64) -> I64:
    if isinstance(pricing, Percent):
        hundredths = prices * pricing.percent
    else:
        hundredths = np.zeros_like(prices)
        below = 0
        for bound, percent in pricing.brackets:
            reached = prices if bound is None else np.minimum(prices, bound)
            hundredths += np.maximum(reached - below, 0) * percent
            below = bound or below
    # Half up on non-negative integers, as libs.money.half_up does for one.
    return (2 * hundredths + 100) // 200
