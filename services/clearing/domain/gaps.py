"""Gap ledger (缺号台账): counters of terminals and cards that no record has brought yet, with age, owner and end.

A gap that is partly filled ends, and what is left of it goes on as gaps of the same age: the age is that of the oldest
missing number, not of the last look.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum

# Missing records are asked from the acquirer; after this they are closed as lost (clearing-and-ledger.md, section 7).
LOST_AFTER = timedelta(days=30)


class GapKind(IntEnum):
    """Whose counter; the numbers of `GapKind` of the contract."""

    TERMINAL = 1
    CARD = 2


class GapEnd(IntEnum):
    """Why a gap ended; the numbers of `GapEnd` of the contract. 0 while it is open."""

    OPEN = 0
    FILLED = 1
    PARTLY_FILLED = 2
    LOST = 3


@dataclass(frozen=True, slots=True)
class Gap:
    """Consecutive counters that are missing.

    Attributes:
        key: Terminal number, or surrogate of the card.
        first, last: Missing counters, both included.
        participant: Surrogate of the owner, who is asked for the records; 0 where any acquirer may hold them.
        id: Surrogate; 0 before it is stored.
    """

    kind: GapKind
    key: int
    first: int
    last: int
    participant: int
    opened_at: datetime
    end: GapEnd = GapEnd.OPEN
    id: int = 0


def settle(open_gaps: Iterable[Gap], missing: Iterable[Gap], at: datetime) -> tuple[list[Gap], list[Gap]]:
    """What a look at the counters changes.

    Args:
        open_gaps: Open in the ledger, or given up as lost, of the keys that were looked at.
        missing: What is missing of these keys now, with `at` as their beginning.
        at: The instant of the look.

    Returns:
        New gaps, and open ones with their end.
    """
    by_key: dict[tuple[GapKind, int], list[Gap]] = {}
    for gap in open_gaps:
        by_key.setdefault((gap.kind, gap.key), []).append(gap)
    still: set[int] = set()
    touched: set[int] = set()
    new = []
    for gap in missing:
        # A range that lies in an older one is its rest; ranges of the ledger never overlap.
        of_key = by_key.get((gap.kind, gap.key), ())
        older = next((one for one in of_key if one.first <= gap.last and gap.first <= one.last), None)
        if older is None:
            new.append(gap)
        elif older.end is GapEnd.LOST:
            # Given up once: whoever is asked again and again stops answering.
            continue
        elif (older.first, older.last) == (gap.first, gap.last):
            still.add(older.id)
        else:
            touched.add(older.id)
            new.append(replace(gap, opened_at=older.opened_at))
    ended = []
    for gap in (one for of_key in by_key.values() for one in of_key if one.end is GapEnd.OPEN):
        if gap.id in still:
            if at - gap.opened_at >= LOST_AFTER:
                ended.append(replace(gap, end=GapEnd.LOST))
        else:
            ended.append(replace(gap, end=GapEnd.PARTLY_FILLED if gap.id in touched else GapEnd.FILLED))
    return new, ended
