"""Look-up of a card in a list without expanding the list to objects.

The values of an issuer range are cut in two: the high bits choose a bucket, and the low ones, a byte each where cards
lie dense, stand side by side in one row. A look-up reads the two ends of its bucket and lets C search between them;
nothing is walked or decoded in Python, whether the card is listed or not. The place found is the card's ordinal, by
which its kind and its time are known.

The index is made when a list is opened, in the pass that checks it, and is not part of the file: what is derived cannot
contradict what it is derived from. It takes one to two bytes a card, four where cards are few and far between.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from libs.cardlist.body import Body, Section
from libs.cardlist.entries import ANY_GENERATION, SETTLED, Action
from libs.records.errors import NumberInvalid
from libs.records.numbers import luhn_digit

_SHIFTS: Final = {8: "B", 16: "H", 32: "I"}
_BUCKET_BYTES: Final = 4
# One byte a card beats five bytes an exception where every fifth card is one.
_DENSE: Final = 5

Row: TypeAlias = "bytes | array[int]"


@dataclass(frozen=True, slots=True)
class Found:
    """What a list says of a card.

    Attributes:
        generation: Of the entry; 0 means any.
        action: What to do.
        reason: As in the interchange file; 0 where there is none.
        effective_s: Epoch seconds; 0 when it was in force before the list was made.
    """

    generation: int
    action: Action
    reason: int
    effective_s: int


I64 = npt.NDArray[np.int64]


def _luhn_sums() -> bytes:
    """For each four digits, what they add to a Luhn sum if the last of them counts double, modulo 10."""
    digits = np.arange(10_000)
    total = np.zeros(10_000, dtype=np.int64)
    for place, power in enumerate((1, 10, 100, 1000)):
        digit = digits // power % 10
        twice = digit * 2 if place % 2 == 0 else digit
        total += np.where(twice > 9, twice - 9, twice)
    return (total % 10).astype(np.uint8).tobytes()


_LUHN_SUMS: Final = _luhn_sums()


def _packed(code: str, values: npt.NDArray[Any]) -> "array[int]":
    made = array(code)
    made.frombytes(values.astype(np.dtype(code)).tobytes())
    return made


def _row(code: str, values: npt.NDArray[Any]) -> Row:
    return values.astype(np.uint8).tobytes() if code == "B" else _packed(code, values)


def _shift(count: int, span: int) -> int:
    """How many low bits make the smallest index."""
    bits = _SHIFTS.items()
    return min(bits, key=lambda pair: count * pair[0] // 8 + _BUCKET_BYTES * (span >> pair[0]))[0]


def _finder(first: int, shift: int, buckets: int, starts: "array[int]", lows: Row) -> Callable[[int], int]:
    """Tells the place in the section of the first entry of a value, else -1; nearly every tap ends here with -1.

    A function over its own variables: what it reads at every tap costs less than attributes of an object would.
    """
    mask = (1 << shift) - 1
    if isinstance(lows, bytes):
        search = lows.find

        def near(value: int) -> int:
            value -= first
            bucket = value >> shift
            return search(value & mask, starts[bucket], starts[bucket + 1]) if 0 <= bucket < buckets else -1

        return near

    def far(value: int) -> int:
        value -= first
        bucket = value >> shift
        if 0 <= bucket < buckets:
            low, end = value & mask, starts[bucket + 1]
            place = bisect_left(lows, low, starts[bucket], end)
            if place < end and lows[place] == low:
                return place
        return -1

    return far


class _SectionIndex:
    """One section of a list."""

    __slots__ = (
        "_default_kind",
        "_effective_s",
        "_exceptions",
        "_first",
        "_kinds",
        "_lows",
        "_prefix_sum",
        "_shift",
        "_starts",
        "_unsettled",
        "digits",
        "luhn",
        "ordinal",
    )

    def __init__(self, section: Section, kind_count: int) -> None:
        self.luhn = section.luhn
        # Digits of the text of a card number that are the value.
        self.digits = slice(8, 19 if section.luhn else 20)
        # Of a number whose value is 0: the Luhn digit of the prefix alone.
        self._prefix_sum = -int(luhn_digit(section.prefix.hex()[1:] + "0" * 11)) % 10
        self._first = int(section.cards[0])
        offsets = section.cards - self._first
        self._shift = _shift(len(offsets), int(offsets[-1]))
        mask = (1 << self._shift) - 1
        self._lows = _row(_SHIFTS[self._shift], offsets & mask)
        buckets = int(offsets[-1] >> self._shift) + 1
        self._starts = _packed("I", np.searchsorted(offsets, np.arange(buckets + 1) << self._shift))
        self.ordinal = _finder(self._first, self._shift, buckets, self._starts, self._lows)
        self._default_kind = section.default_kind
        code = "B" if kind_count <= 1 << 8 else "H"
        self._exceptions: array[int] | None = None
        if len(section.exceptions) * _DENSE > len(offsets):
            kinds = np.full(len(offsets), section.default_kind)
            kinds[section.exceptions] = section.exception_kinds
            self._kinds = _row(code, kinds)
        else:
            self._exceptions = _packed("I", section.exceptions)
            self._kinds = _row(code, section.exception_kinds)
        # Few: entries of the last day, and of the day to come.
        self._unsettled = _packed("I", section.unsettled)
        self._effective_s = _packed("Q", section.effective_s)

    @property
    def index_bytes(self) -> int:
        rows = (self._lows, self._starts, self._kinds, self._exceptions or b"", self._unsettled, self._effective_s)
        return sum(memoryview(row).nbytes for row in rows)

    def last_ordinal(self, ordinal: int, value: int) -> int:
        """Place of the last entry of the same value: of a number in several generations, the latest."""
        end = self._starts[((value - self._first) >> self._shift) + 1]
        lows = self._lows
        while ordinal + 1 < end and lows[ordinal + 1] == lows[ordinal]:
            ordinal += 1
        return ordinal

    def luhn_digit_is(self, value: int, digit: int) -> bool:
        """Whether a card number of this section ends with its Luhn digit."""
        total = self._prefix_sum + _LUHN_SUMS[value % 10_000]
        total += _LUHN_SUMS[value // 10_000 % 10_000] + _LUHN_SUMS[value // 100_000_000]
        return (total + digit) % 10 == 0

    def found(self, ordinal: int, settled: Sequence[Found]) -> Found:
        """What the list says at a place.

        Args:
            ordinal: The place.
            settled: The answer for each kind when the entry is settled.
        """
        exceptions = self._exceptions
        if exceptions is None:
            kind = self._kinds[ordinal]
        else:
            place = bisect_left(exceptions, ordinal)
            listed = place < len(exceptions) and exceptions[place] == ordinal
            kind = self._kinds[place] if listed else self._default_kind
        place = bisect_left(self._unsettled, ordinal)
        if place == len(self._unsettled) or self._unsettled[place] != ordinal:
            return settled[kind]
        said = settled[kind]
        return Found(said.generation, said.action, said.reason, self._effective_s[place])


class CardIndex:
    """Look-up by card number.

    Args:
        body: A checked body; it is let go of.
    """

    __slots__ = ("_sections", "_settled", "count")

    def __init__(self, body: Body) -> None:
        assert ANY_GENERATION == 0, "it is asked for by truth"
        self.count = body.count
        # Most answers say nothing but the kind: they are made once.
        self._settled = [
            Found(int(generation), Action(int(action)), int(reason), SETTLED)
            for generation, action, reason in body.kinds
        ]
        sections: dict[bytes, list[_SectionIndex]] = {}
        for section in body.sections:
            sections.setdefault(section.prefix, []).append(_SectionIndex(section, len(body.kinds)))
        self._sections = {prefix: tuple(made) for prefix, made in sections.items()}

    @property
    def index_bytes(self) -> int:
        """Memory of the index, without the bytes of the list."""
        return sum(section.index_bytes for made in self._sections.values() for section in made)

    def find(self, card_number: bytes, generation: int = ANY_GENERATION) -> Found | None:
        """What the list says of a card, else None.

        Args:
            card_number: 10 bytes BCD.
            generation: Of the card in hand. An entry of another generation is not its business; an entry of any
                generation is. Not known (0): the entry of the latest generation listed.

        Raises:
            NumberInvalid: Not 10 bytes of digits, if there are cards of its issuer range at all.
        """
        sections = self._sections.get(card_number[:4])
        if sections is None:
            return None
        text = card_number.hex()
        for section in sections:
            try:
                value = int(text[section.digits])
            except ValueError:
                raise NumberInvalid(number=text, what="card number", expected="20 digits") from None
            ordinal = section.ordinal(value)
            if ordinal >= 0 and (not section.luhn or section.luhn_digit_is(value, card_number[9] & 15)):
                # Later generations stand behind earlier ones; the exact one is preferred to the entry for any.
                last = section.last_ordinal(ordinal, value)
                while last >= ordinal:
                    found = section.found(last, self._settled)
                    if not generation or found.generation == generation or not found.generation:
                        return found
                    last -= 1
        return None
