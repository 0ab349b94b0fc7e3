"""Cards that this process has judged lately: who they are and what they did last; the database need not be asked.

A memory, never an authority over the database. What is remembered of a card is right as long as nobody else has posted
since; every process that posts leaves a mark of its last set (table `poster`), and each set begins by looking at the
others' marks. When one has moved, what was remembered before is used only where a record goes on exactly from it: the
next counter, the balance that the last record left. Then nothing can lie between, whoever else posts; and if somebody
took the same counter (a clone), the unique index says so, the set is rolled back and judged again without any memory.
So no verdict depends on what happens to be remembered.

Direct-mapped: a card has one place, and the newcomer gets it. Finding and keeping are a handful of NumPy operations.
"""

import uuid
from typing import Any

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.void]

LIFE = np.dtype(
    [
        ("id", "i8"), ("issued_s", "i8"), ("last_after_fen", "i8"), ("last_s", "i8"), ("generation", "i4"),
        ("start_day", "i4"), ("expiry_day", "i4"), ("counter_first", "i4"), ("last_counter", "i4"), ("epoch", "i4"),
        ("place", "i4"), ("number", "V10"), ("jt", "?"), ("filler", "u1"),
    ]
)  # fmt: skip
"""A life of a card: its row of `card`, and counter, balance and time of the last record taken (-1: none).

`epoch` says when that was so, and `place` which of a set's cards it is; whole words, so that rows are copied as such.
"""
_WORDS = LIFE.itemsize // 8
assert LIFE.itemsize % 8 == 0, "whole words"

# An odd number near 2^64 divided by the golden ratio: neighbouring card numbers fall far apart.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class CardMemory:
    """Room for a fixed number of cards; 80 bytes each, taken from the system only where a card lies.

    Args:
        bits: Room is 2^bits cards.

    Attributes:
        poster: Under which name this process leaves its marks.
        epoch: Moves on when somebody else has posted.
    """

    def __init__(self, bits: int = 20) -> None:
        self._shift = np.uint64(64 - bits)
        self._words = np.zeros((1 << bits, _WORDS), np.uint64)
        # A column of its own: looking for a card touches eight bytes, not a row.
        self._keys = np.zeros(1 << bits, np.uint64)
        self.poster = uuid.uuid4()
        self.epoch = 0
        self._registration = -1
        self._others = 0

    def clear(self) -> None:
        """Forget everything."""
        self._keys[:] = 0
        self._registration = -1

    def look_round(self, registration: int, others: int) -> int | None:
        """Compare with how things stood at the last look.

        Args:
            registration: The registry's count of changes.
            others: A digest of the marks of everybody else who posts.

        Returns:
            The count after which cards were registered that may be here, None when there are none.
        """
        since = None if registration == self._registration else self._registration
        if self._registration < 0:
            self._keys[:] = 0
            since = None
        if others != self._others:
            self.epoch += 1
        self._registration, self._others = registration, others
        return since

    def find(self, numbers: npt.NDArray[np.void], jt: Bools) -> tuple[Bools, Rows]:
        """Which cards are here, and their rows (of those that are not: anything).

        Args:
            numbers: (n,) `V10`.
            jt: (n,) scheme of each.
        """
        keys = _keys(numbers, jt)
        places = keys * _SPREAD >> self._shift
        found = self._keys[places] == keys
        rows: Rows = self._words.take(places.astype(np.intp), axis=0).view(LIFE)[:, 0]
        # The key is 64 of 81 bits.
        found &= (rows["number"] == numbers) & (rows["jt"] == jt)
        return found, rows

    def keep(self, rows: Rows) -> None:
        """Remember these as of now; of two that want one place, the later stays."""
        rows["epoch"] = self.epoch
        keys = _keys(rows["number"], rows["jt"])
        places = keys * _SPREAD >> self._shift
        self._words[places] = words(rows)
        self._keys[places] = keys

    def forget(self, numbers: npt.NDArray[np.void]) -> None:
        """Cards of these numbers were registered anew: whatever is here of them is no longer all there is."""
        for scheme in (False, True):
            jt = np.full(len(numbers), scheme)
            self._keys[_keys(numbers, jt) * _SPREAD >> self._shift] = 0


def words(rows: Rows) -> npt.NDArray[np.uint64]:
    """Lives as (n, words): NumPy would go through every field of every row, twenty times slower."""
    return np.ascontiguousarray(rows).view(np.uint64).reshape(-1, _WORDS)


def pick(rows: Rows, index: npt.NDArray[Any]) -> Rows:
    """`rows[index]` of lives, copied as words."""
    picked: Rows = words(rows)[index].view(LIFE)[:, 0]
    return picked


def _keys(numbers: npt.NDArray[Any], jt: Bools) -> npt.NDArray[np.uint64]:
    """Never 0, which stands for an empty place."""
    high, low = split(numbers)
    keys: npt.NDArray[np.uint64] = (low ^ ((high << np.uint64(1) | jt) << np.uint64(47))) + np.uint64(1)
    keys[keys == 0] = 1
    return keys


def split(numbers: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Card numbers, (n,) `V10`, as two columns that sort like them: 16 and 64 bits."""
    halves = np.ascontiguousarray(numbers).view(np.dtype([("high", ">u2"), ("low", ">u8")]))
    return halves["high"].astype(np.uint64), halves["low"].astype(np.uint64)
