"""Purse keys as columns: the form in which batches name their cards."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.account.domain.errors import FactMalformed
from services.account.domain.purse import SCHEMES, PurseKey

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

# Bytes of a card number: 20 digits, two in a byte.
NUMBER_BYTES = 10


@dataclass(frozen=True, slots=True, eq=False)
class KeyColumns:
    """Purse keys of n rows.

    Attributes:
        schemes: (n,) positions in `SCHEMES`.
        numbers: (n, 10) bytes, packed digits.
        generations: (n,) 1 or more.
    """

    schemes: U8
    numbers: U8
    generations: I64

    @classmethod
    def read(cls, schemes: U8, numbers: bytes, generations: I64) -> "KeyColumns":
        """Take the columns of an event.

        Raises:
            FactMalformed: They differ in length, or a key is none: unknown scheme, a byte that is not two digits, a
                generation that does not fit.
        """
        count = len(schemes)
        if len(numbers) != count * NUMBER_BYTES or len(generations) != count:
            raise FactMalformed("the columns of the keys differ in length")
        table = np.frombuffer(numbers, dtype=np.uint8).reshape(count, NUMBER_BYTES)
        if (schemes >= len(SCHEMES)).any():
            raise FactMalformed("a scheme is neither cj nor jt")
        if (table >> 4 > 9).any() or (table & 15 > 9).any():
            raise FactMalformed("a card number is not made of digits")
        # The name of a purse has room for nine digits of generation.
        if ((generations < 1) | (generations > 999_999_999)).any():
            raise FactMalformed("a generation is out of its range")
        return cls(schemes, table, generations)

    @classmethod
    def of(cls, keys: list[PurseKey]) -> "KeyColumns":
        """The columns of a few keys."""
        numbers = b"".join(bytes.fromhex(key.number) for key in keys)
        schemes = np.array([SCHEMES.index(key.scheme) for key in keys], dtype=np.uint8)
        return cls.read(schemes, numbers, np.array([key.generation for key in keys], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.schemes)

    def key(self, row: int) -> PurseKey:
        """The key of one row."""
        return PurseKey(SCHEMES[int(self.schemes[row])], self.numbers[row].tobytes().hex(), int(self.generations[row]))

    def take(self, rows: npt.NDArray[np.intp]) -> "KeyColumns":
        """Some of the rows."""
        return KeyColumns(self.schemes[rows], self.numbers[rows], self.generations[rows])

    def grouped(self) -> tuple["KeyColumns", npt.NDArray[np.intp]]:
        """Every key once, in the order in which purses are locked, and for each row the position of its key there."""
        # Fifteen bytes of key fit two words, and two words sort several times faster than byte strings.
        wide = np.zeros((len(self), 16), dtype=np.uint8)
        wide[:, 0] = self.schemes
        wide[:, 1:11] = self.numbers
        wide[:, 12:] = self.generations.astype(">u4").view(np.uint8).reshape(-1, 4)
        words = wide.view(">u8").astype(np.uint64)
        order = np.lexsort((words[:, 1], words[:, 0]))
        ordered = words[order]
        starts = np.ones(len(self), dtype=np.bool_)
        starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        inverse = np.empty(len(self), dtype=np.intp)
        inverse[order] = np.cumsum(starts) - 1
        return self.take(order[starts]), inverse
