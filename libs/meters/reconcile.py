"""What meters say against what was sold to them (F58, F123): one row for each meter, as columns.

A prepaid meter counts what was used and what is left. Between two reads, left before + sold = used + left now. What
does not fit has a name, so that somebody can go and look.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


class Finding(IntEnum):
    """What a meter's row says."""

    MATCH = 0
    TOKEN_WAITS = 1  # less is left by exactly the last sale: the card has not been put into the meter yet
    TOO_LITTLE = 2  # less is left than was paid for
    TOO_MUCH = 3  # more is left than was paid for: a token was taken twice, or the meter was opened
    BACKWARDS = 4  # the total fell: the meter was changed, or turned back
    UNKNOWN_METER = 5  # read, but no opening read of it is known
    NOT_READ = 6  # sold to, but not read


WORDS = {
    Finding.MATCH: ("一致", "sold and used agree"),
    Finding.TOKEN_WAITS: ("购量未写入表", "the last purchase is not in the meter yet"),
    Finding.TOO_LITTLE: ("剩余量偏少", "less is left than was paid for"),
    Finding.TOO_MUCH: ("剩余量偏多", "more is left than was paid for"),
    Finding.BACKWARDS: ("累计量倒退", "the total went backwards"),
    Finding.UNKNOWN_METER: ("无期初读数", "no opening read is known"),
    Finding.NOT_READ: ("未抄到", "not read"),
}
"""Chinese and English."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Reads of prepaid meters, at most one for each; quantities in hundredths of the unit.

    Attributes:
        meters: Meter numbers as integers.
        cumulative: Used since the meter was new.
        remaining: Left.
    """

    meters: I64
    cumulative: I64
    remaining: I64

    def __post_init__(self) -> None:
        """A meter twice would have two rows."""
        assert len(np.unique(self.meters)) == len(self.meters), "one read for each meter"


@dataclass(frozen=True, slots=True)
class Sales:
    """What was sold between the two reads, in the order of the purchase numbers.

    Attributes:
        meters: Meter number of each sale.
        quantity: Of each sale, hundredths.
    """

    meters: I64
    quantity: I64


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One row for each meter that was read now, or sold to.

    Attributes:
        meters: Meter numbers, ascending.
        used: Between the two reads; 0 where that is not known.
        sold: Between the two reads.
        difference: Left more (+) or less (-) than paid for; 0 where that is not known.
        finding: `Finding`.
    """

    meters: I64
    used: I64
    sold: I64
    difference: I64
    finding: U8

    def count(self, finding: Finding) -> int:
        """Meters with this finding."""
        return int((self.finding == finding).sum())


def reconcile(opening: Reads, sales: Sales, now: Reads) -> Reconciled:
    """Compare two reads of many meters with what was sold in between.

    Args:
        opening: The earlier reads; a meter that is new counts from its first.
        sales: All sales between the two.
        now: The later reads.
    """
    meters = np.unique(np.concatenate([now.meters, sales.meters]))
    sold, last_sale = np.zeros(len(meters), np.int64), np.zeros(len(meters), np.int64)
    places = np.searchsorted(meters, sales.meters)
    np.add.at(sold, places, sales.quantity)
    # Later sales write over earlier ones.
    last_sale[places] = sales.quantity
    before_used, before_left, had = _lined_up(meters, opening)
    now_used, now_left, read = _lined_up(meters, now)
    both = had & read
    used = np.where(both, now_used - before_used, 0)
    difference = np.where(both & (used >= 0), now_left - (before_left + sold - used), 0)
    finding = np.select(
        [~read, ~had, used < 0, difference == 0, (difference < 0) & (difference == -last_sale), difference < 0],
        [
            Finding.NOT_READ,
            Finding.UNKNOWN_METER,
            Finding.BACKWARDS,
            Finding.MATCH,
            Finding.TOKEN_WAITS,
            Finding.TOO_LITTLE,
        ],
        default=Finding.TOO_MUCH,
    ).astype(np.uint8)
    return Reconciled(meters, used, sold, difference, finding)


def _lined_up(meters: I64, reads: Reads) -> tuple[I64, I64, npt.NDArray[np.bool_]]:
    """Columns of some reads in the rows of `meters`, and which rows have one."""
    used, left = np.zeros(len(meters), np.int64), np.zeros(len(meters), np.int64)
    known = np.isin(reads.meters, meters)
    places = np.searchsorted(meters, reads.meters[known])
    used[places], left[places] = reads.cumulative[known], reads.remaining[known]
    return used, left, np.isin(meters, reads.meters)
