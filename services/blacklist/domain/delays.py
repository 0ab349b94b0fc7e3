"""How long the way of an entry took: buckets of five per cent, and what a batch of acknowledgements adds to them.

Nothing here is one object per terminal and entry: a batch is columns, and what comes out are counts.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

_LEAST_S: Final = 0.001
_GROWTH: Final = 1.05
BUCKET_MAX: Final = 600
# Pairs of terminal and entry looked at in one go; columns of 8 bytes.
_PAIRS_MAX: Final = 1_000_000

I64 = npt.NDArray[np.int64]
NOT_YET: Final = np.iinfo(np.int64).min
"""A time of a journey that was not reached, milliseconds."""


class Hop(IntEnum):
    """One leg of the way; the numbers are those of the contract."""

    LISTED = 1
    PUBLISHED = 2
    FETCHED = 3
    OFFERED = 4
    ACKNOWLEDGED = 5
    TOTAL = 6


def buckets_of(delays_ms: I64) -> I64:
    """The bucket of each delay: 0 up to a millisecond, then one for every five per cent. Below 0 counts as 0."""
    seconds = np.maximum(delays_ms / 1000.0, _LEAST_S)
    found: I64 = np.minimum(np.ceil(np.log(seconds / _LEAST_S) / np.log(_GROWTH)), BUCKET_MAX).astype(np.int64)
    return found


def seconds_of(bucket: int) -> float:
    """A delay that stands for all of a bucket, at most 2.5 per cent off."""
    return float(_LEAST_S * _GROWTH ** (bucket - 0.5)) if bucket else _LEAST_S


def percentile(buckets: I64, counts: I64, share: float) -> float:
    """The delay that a share of all does not pass, seconds.

    Args:
        buckets: Ascending, each once.
        counts: Of each, not all 0.
        share: Above 0, at most 1.
    """
    total = np.cumsum(counts)
    return seconds_of(int(buckets[np.searchsorted(total, share * total[-1])]))


class Counts:
    """Delays counted by hop and bucket."""

    def __init__(self) -> None:
        self._counts = np.zeros((len(Hop) + 1, BUCKET_MAX + 1), dtype=np.int64)

    def add(self, hop: Hop, delays_ms: I64) -> None:
        """Count delays."""
        self._counts[hop] += np.bincount(buckets_of(delays_ms), minlength=BUCKET_MAX + 1)

    def columns(self) -> tuple[I64, I64, I64]:
        """Hops, buckets and counts of all that is not 0."""
        hops, buckets = np.nonzero(self._counts)
        return hops.astype(np.int64), buckets.astype(np.int64), self._counts[hops, buckets]


@dataclass(frozen=True, slots=True)
class Moves:
    """Terminals that went from one version to another.

    Attributes:
        before: (n,) version that each had.
        after: (n,) version that it has.
        offered_ms: (n,) when it got it; `NOT_YET` where nobody knows.
        acknowledged_ms: (n,) when it said so.
    """

    before: I64
    after: I64
    offered_ms: I64
    acknowledged_ms: I64


@dataclass(frozen=True, slots=True)
class Journeys:
    """Entries on their way, by the version that lists them.

    Attributes:
        versions: (m,) ascending.
        reported_ms: (m,) when the cause was known.
        held_ms: (m,) when the gateway had a file with it, else when it was published; `NOT_YET` where neither is known.
    """

    versions: I64
    reported_ms: I64
    held_ms: I64


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What a batch adds to the journeys; columns as long as these.

    Attributes:
        counts: Terminals that an entry reached.
        first_offered_ms: Earliest offer; `NOT_YET` where none is known.
        first_ms: Earliest acknowledgement; only where the count is not 0.
        last_ms: Latest acknowledgement.
    """

    counts: I64
    first_offered_ms: I64
    first_ms: I64
    last_ms: I64


def arrive(journeys: Journeys, moves: Moves, counts: Counts) -> Arrivals:
    """Which entries reached which terminals, and how long that took.

    Every entry whose version lies between the two versions of a terminal reached it with this move.

    Args:
        journeys: All entries between the lowest and the highest version of the moves.
        moves: The batch.
        counts: Gets the delays of the hops to terminals and of the whole way.
    """
    size = len(journeys.versions)
    starts = np.searchsorted(journeys.versions, moves.before, side="right")
    ends = np.searchsorted(journeys.versions, moves.after, side="right")
    edges = np.zeros(size + 1, dtype=np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, ends, -1)
    latest, none = np.iinfo(np.int64).max, np.int64(NOT_YET)
    first_offered, first, last = np.full(size, latest), np.full(size, latest), np.full(size, none)
    lengths = ends - starts
    for members in _chunks(lengths):
        spans = lengths[members]
        terminal = np.repeat(members, spans)
        place = np.arange(spans.sum()) - np.repeat(np.cumsum(spans) - spans, spans) + np.repeat(starts[members], spans)
        said, offered = moves.acknowledged_ms[terminal], moves.offered_ms[terminal]
        counts.add(Hop.TOTAL, said - journeys.reported_ms[place])
        np.minimum.at(first, place, said)
        np.maximum.at(last, place, said)
        known = offered != none
        counts.add(Hop.ACKNOWLEDGED, (said - offered)[known])
        np.minimum.at(first_offered, place[known], offered[known])
        held = journeys.held_ms[place]
        both = known & (held != none)
        counts.add(Hop.OFFERED, (offered - held)[both])
    first_offered[first_offered == latest] = none
    return Arrivals(np.cumsum(edges)[:-1], first_offered, first, last)


def _chunks(lengths: I64) -> list[I64]:
    """Places of moves with anything in them, so many at a time that their pairs stay bounded."""
    places = np.flatnonzero(lengths)
    if not len(places):
        return []
    chunk = np.cumsum(lengths[places]) // _PAIRS_MAX
    return np.split(places, np.flatnonzero(np.diff(chunk)) + 1)
