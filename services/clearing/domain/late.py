"""Late records (code 26): paid as far as the card ledger covers them, the rest goes to suspense.

Rules: record-formats.md, section 3, and clearing-and-ledger.md, section 6.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from libs.records.codes import ResultCode
from services.clearing.domain.judgement import I64, Judgement

REST_CODE = int(ResultCode.TOO_LATE)
"""The rest of a late record is summed with those that came too late: taken, and not paid [convention]."""


def late_cards(card: I64, judgement: Judgement) -> I64:
    """Surrogates of the cards with late records in a set, ascending."""
    return np.unique(card[judgement.takes & (judgement.codes == ResultCode.ACCEPTED_LATE)])


def uncovered(
    card: I64, amount_fen: I64, judgement: Judgement, cards: I64, ledger_fen: I64, known: npt.NDArray[np.bool_]
) -> I64:
    """What the card ledger does not cover of each late record, in fen; 0 for all others.

    Args:
        card: (n,) surrogate of the card of each record, in the order of taking.
        amount_fen: (n,) debited.
        judgement: Verdicts of the set.
        cards: (k,) cards with late records, ascending.
        ledger_fen: (k,) ledger of each with every record taken so far, those of this set included.
        known: (k,) whether the ledger can be told; a card whose opening was never heard of covers everything.
    """
    rest = np.zeros(len(card), np.int64)
    rows = np.flatnonzero(judgement.takes & np.isin(card, cards))
    rows = rows[np.argsort(card[rows], kind="stable")]
    place = np.searchsorted(cards, card[rows])
    spent = amount_fen[rows]
    # Before the set a card had what it has now and what the set took; before a record, less what came earlier in it.
    before_set = ledger_fen.copy()
    np.add.at(before_set, place, spent)
    running = np.cumsum(spent) - spent
    first = np.searchsorted(place, np.arange(len(cards)))
    earlier = running - running[first][place]
    left = np.maximum(before_set[place] - earlier, 0)
    late = (judgement.codes[rows] == ResultCode.ACCEPTED_LATE) & known[place]
    rest[rows[late]] = np.maximum(spent - left, 0)[late]
    return rest


def rest_column(indexes: I64, rests: Mapping[int, int]) -> I64:
    """Rests by index in a file as a column beside the stored records of that file, in fen."""
    column = np.zeros(len(indexes), np.int64)
    if not rests:
        return column
    places = np.fromiter(rests.keys(), np.int64, len(rests))
    rest_fen = np.fromiter(rests.values(), np.int64, len(rests))
    order = np.argsort(places)
    at = np.minimum(np.searchsorted(places[order], indexes), len(places) - 1)
    hit = places[order][at] == indexes
    column[hit] = rest_fen[order][at[hit]]
    return column
