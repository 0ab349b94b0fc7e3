"""Look-up in a packed body without expanding it: a mark at every so many cards, found by bisection, then a short walk.

The index is made when a list is opened, in the pass that checks it, and is not part of the file: what is derived cannot
contradict what it is derived from. A mark takes 8 bytes, 12 or 16 where numbers of an issuer range pass 32 bits.
"""

import mmap
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from libs.cardlist.body import Body, Section
from libs.cardlist.entries import ANY_GENERATION, SETTLED, Action
from libs.records.errors import NumberInvalid
from libs.records.numbers import luhn_digit

# A mark at every 8th card costs a byte per card and keeps the walk, in plain Python, below a microsecond.
STEP: Final = 8
_EXCEPTION_STEP: Final = 64

Data = bytes | mmap.mmap


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


def _packed(code: str, values: npt.NDArray[Any]) -> "array[int]":
    made = array(code)
    made.frombytes(values.astype(np.dtype(code)).tobytes())
    return made


def _narrow(values: I64) -> "array[int]":
    """4 bytes each where that is enough, for ascending values; smaller numbers are also found faster."""
    return _packed("I" if not len(values) or values[-1] < 1 << 32 else "Q", values)


class _Marks:
    """Where to begin to read a stream of varints whose running sums ascend.

    Attributes:
        firsts: The sum at every `step`-th number.
        ends: Offset in the data right behind each of these, and at last the end of the stream.
    """

    __slots__ = ("ends", "firsts")

    def __init__(self, sums: I64, ends: I64, end: int, step: int) -> None:
        self.firsts = _narrow(sums[::step])
        self.ends = _narrow(np.append(ends[::step], end))

    @property
    def index_bytes(self) -> int:
        return self.firsts.itemsize * len(self.firsts) + self.ends.itemsize * len(self.ends)


class _SectionIndex:
    """One section of a list."""

    __slots__ = (
        "_cards",
        "_data",
        "_default_kind",
        "_effective_s",
        "_exceptions",
        "_other_kinds",
        "_unsettled",
        "luhn",
    )

    def __init__(self, data: Data, base: int, section: Section, kind_count: int) -> None:
        self.luhn = section.luhn
        self._data = data
        self._cards = _Marks(section.cards, section.card_ends + base, section.end + base, STEP)
        exceptions_end = int(section.exception_ends[-1]) if len(section.exceptions) else section.end
        self._exceptions = _Marks(
            section.exceptions, section.exception_ends + base, exceptions_end + base, _EXCEPTION_STEP
        )
        self._default_kind = section.default_kind
        self._other_kinds = max(1, kind_count - 1)
        # Few: entries of the last day, and of the day to come.
        self._unsettled = _packed("I", section.unsettled)
        self._effective_s = _packed("Q", section.effective_s)

    @property
    def index_bytes(self) -> int:
        lasting = len(self._unsettled) * (self._unsettled.itemsize + self._effective_s.itemsize)
        return self._cards.index_bytes + self._exceptions.index_bytes + lasting

    def holds(self, value: int) -> bool:
        """Whether a value is in the card stream; nearly every tap ends here with no, so this is the fast path."""
        marks = self._cards
        block = bisect_right(marks.firsts, value) - 1
        if block < 0:
            return False
        total = marks.firsts[block]
        if total == value:
            return True
        high = 0
        for byte in self._data[marks.ends[block] : marks.ends[block + 1]]:
            if byte < 0x80:
                total += high + byte
                if total >= value:
                    return total == value
                high = 0
            else:
                high = (high + byte - 0x80) << 7
        return False

    def ordinals(self, value: int) -> list[int]:
        """Places in the section of all entries of a value, one for each generation."""
        marks = self._cards
        # Equal values may begin in the block before the first mark that has the value.
        block = max(0, bisect_left(marks.firsts, value) - 1)
        ordinal, total, high = block * STEP, marks.firsts[block], 0
        found = [ordinal] if total == value else []
        for place in range(block, len(marks.firsts)):
            for byte in self._data[marks.ends[place] : marks.ends[place + 1]]:
                if byte >= 0x80:
                    high = (high + byte - 0x80) << 7
                    continue
                total, high, ordinal = total + high + byte, 0, ordinal + 1
                if total > value:
                    return found
                if total == value:
                    found.append(ordinal)
        return found

    def kind_of(self, ordinal: int) -> int:
        """Index of the kind of an entry."""
        marks = self._exceptions
        block = bisect_right(marks.firsts, ordinal) - 1
        if block < 0:
            return self._default_kind
        # The mark says where its own exception stands, not which kind it is: read it again from its first byte.
        place = marks.firsts[block]
        code = self._code_before(marks.ends[block])
        high = 0
        for byte in self._data[marks.ends[block] : marks.ends[block + 1]] if place < ordinal else b"":
            if byte >= 0x80:
                high = (high + byte - 0x80) << 7
                continue
            code, high = high + byte, 0
            place += code // self._other_kinds + 1
            if place >= ordinal:
                break
        if place != ordinal:
            return self._default_kind
        slot = code % self._other_kinds
        return slot + (slot >= self._default_kind)

    def _code_before(self, end: int) -> int:
        """The varint that ends at an offset; the byte before its first is the last of another, or of another stream."""
        start = end - 1
        while self._data[start - 1] >= 0x80:
            start -= 1
        code = 0
        for byte in self._data[start:end]:
            code = code << 7 | byte & 0x7F
        return code

    def effective_s(self, ordinal: int) -> int:
        """Effective time of an entry; 0 when it is settled."""
        place = bisect_left(self._unsettled, ordinal)
        if place < len(self._unsettled) and self._unsettled[place] == ordinal:
            return self._effective_s[place]
        return SETTLED


class CardIndex:
    """Look-up by card number.

    Args:
        data: The bytes that hold the body, also a memory map; they are read at every look-up.
        base: Offset of the body in them.
        body: The same body, checked.
    """

    __slots__ = ("_kinds", "_sections", "count")

    def __init__(self, data: Data, base: int, body: Body) -> None:
        self.count = body.count
        self._kinds = [(int(generation), Action(int(action)), int(reason)) for generation, action, reason in body.kinds]
        sections: dict[bytes, list[_SectionIndex]] = {}
        for section in body.sections:
            sections.setdefault(section.prefix, []).append(_SectionIndex(data, base, section, len(body.kinds)))
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
                value = int(text[8:19] if section.luhn else text[8:20])
            except ValueError:
                raise NumberInvalid(number=text, what="card number", expected="20 digits") from None
            if section.holds(value) and (not section.luhn or _luhn_digit_is(card_number)):
                found = self._entry(section, value, generation)
                if found is not None:
                    return found
        return None

    def _entry(self, section: _SectionIndex, value: int, generation: int) -> Found | None:
        # Later generations stand behind earlier ones; the exact one is preferred to the entry for any.
        for ordinal in reversed(section.ordinals(value)):
            listed, action, reason = self._kinds[section.kind_of(ordinal)]
            if ANY_GENERATION in (generation, listed) or listed == generation:
                return Found(listed, action, reason, section.effective_s(ordinal))
        return None


def _luhn_digit_is(card_number: bytes) -> bool:
    text = card_number.hex()
    return luhn_digit(text[1:19]) == text[19]
