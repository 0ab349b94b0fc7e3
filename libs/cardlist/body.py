"""The body of a card list: numbers as gaps in varints, section by section; what differs from the rule beside it.

All multi-byte numbers are big-endian. Written by `columns.py`, read by `read_body`, expanded by `unpack`.

| part | bytes |
| --- | --- |
| settled until, epoch seconds; kind count; section count | 8; 2; 4 |
| kinds, ascending: generation, action, reason | 6 each |
| sections, ascending by prefix and form | 31 each |
| of each section: card stream, exception stream, time stream | as its row says |

A section holds the cards of one issuer range: the first 8 of 20 digits (JT: 031, class, city; CJ: 0000, city). Form 1
leaves the Luhn digit of JT numbers out, since it follows from the others; form 0 keeps all 12 digits. Card stream: the
gap to the card before, the first from 0; a gap of 0 is the same number in a later generation. Most cards of a section
are of its default kind; the exception stream names the others, one varint each: (ordinals skipped) * (kinds - 1) +
(place of the kind among those that are not the default). Time stream: ordinals skipped of all entries not settled, then
their effective times, as seconds after `settled until` less 1.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from libs.cardlist import varint
from libs.cardlist.entries import ENTRY, Action, Entries, in_order, luhn_digits, luhn_is_right
from libs.cardlist.errors import Fault, ListRefused
from libs.records import bcd

KIND: Final = np.dtype([("generation", ">u4"), ("action", "u1"), ("reason", "u1")])
SECTION: Final = np.dtype(
    [
        ("prefix", "u1", (4,)),
        ("form", "u1"),
        ("count", ">u4"),
        ("default_kind", ">u2"),
        ("exception_count", ">u4"),
        ("unsettled_count", ">u4"),
        ("card_bytes", ">u4"),
        ("exception_bytes", ">u4"),
        ("time_bytes", ">u4"),
    ]
)
TOP: Final = np.dtype([("settled_until_s", ">u8"), ("kind_count", ">u2"), ("section_count", ">u4")])
KINDS_MAX: Final = 0xFFFF
PLAIN: Final = 0
LUHN: Final = 1
_LIMITS: Final = {PLAIN: 10**12, LUHN: 10**11}

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Section:
    """One section, its streams read as columns. They are large: whoever builds an index lets go of them.

    Attributes:
        prefix: First 4 bytes of every number.
        luhn: The last digit is left out.
        default_kind: Index in the kinds.
        cards: (n,) values: the digits after the prefix, without the Luhn digit where it is left out.
        card_ends: (n,) offset in the body at which the gap of each card ends.
        exceptions: (e,) ordinals of cards of another kind, ascending.
        exception_kinds: (e,) their kinds.
        exception_ends: (e,) offset in the body at which each ends.
        unsettled: (u,) ordinals with a time of their own, ascending.
        effective_s: (u,) epoch seconds.
        end: Offset in the body at which the card stream ends; the exception stream begins there.
    """

    prefix: bytes
    luhn: bool
    default_kind: int
    cards: I64
    card_ends: I64
    exceptions: I64
    exception_kinds: I64
    exception_ends: I64
    unsettled: I64
    effective_s: I64
    end: int


@dataclass(frozen=True, slots=True)
class Body:
    """A checked body.

    Attributes:
        settled_until_s: Entries in force at this instant carry no time.
        kinds: Dtype `KIND`.
        sections: In order.
    """

    settled_until_s: int
    kinds: npt.NDArray[np.void]
    sections: tuple[Section, ...]

    @property
    def count(self) -> int:
        """Entries in all sections."""
        return sum(len(section.cards) for section in self.sections)


def read_body(data: U8) -> Body:
    """Read and check a body; the digest of its file has been checked before.

    Args:
        data: The bytes of the body.

    Raises:
        ListRefused: LENGTH, KIND, SECTION, VARINT, ORDER, NUMBER or TIME.
    """
    if len(data) < TOP.itemsize:
        raise ListRefused(Fault.LENGTH, expected=TOP.itemsize, found=len(data))
    top = data[: TOP.itemsize].view(TOP)[0]
    settled_until_s = int(top["settled_until_s"])
    kinds_end = TOP.itemsize + int(top["kind_count"]) * KIND.itemsize
    rows_end = kinds_end + int(top["section_count"]) * SECTION.itemsize
    if settled_until_s > varint.VALUE_MAX:
        raise ListRefused(Fault.TIME, found=settled_until_s)
    if len(data) < rows_end:
        raise ListRefused(Fault.LENGTH, expected=rows_end, found=len(data))
    kinds = data[TOP.itemsize : kinds_end].view(KIND).copy()
    _check_kinds(kinds)
    rows = data[kinds_end:rows_end].view(SECTION)
    sections = []
    offset, before = rows_end, b""
    for row in rows:
        mark = row["prefix"].tobytes() + bytes((int(row["form"]),))
        if mark <= before or not row["count"] or int(row["form"]) > LUHN or int(row["default_kind"]) >= len(kinds):
            raise ListRefused(Fault.SECTION, section=mark.hex())
        length = int(row["card_bytes"]) + int(row["exception_bytes"]) + int(row["time_bytes"])
        if offset + length > len(data):
            raise ListRefused(Fault.LENGTH, expected=offset + length, found=len(data))
        sections.append(_read_section(row, data, offset, kinds, settled_until_s))
        offset, before = offset + length, mark
    if offset != len(data):
        raise ListRefused(Fault.LENGTH, expected=offset, found=len(data))
    return Body(settled_until_s, kinds, tuple(sections))


def _check_kinds(kinds: npt.NDArray[np.void]) -> None:
    packed = kinds["generation"].astype(np.int64) << 16 | kinds["action"].astype(np.int64) << 8 | kinds["reason"]
    known = (kinds["action"] >= min(Action)) & (kinds["action"] <= max(Action))
    if (np.diff(packed) <= 0).any() or not known.all():
        raise ListRefused(Fault.KIND, expected="known actions, ascending")


def _read_section(row: np.void, data: U8, start: int, kinds: npt.NDArray[np.void], settled_until_s: int) -> Section:
    prefix, form, default = row["prefix"].tobytes(), int(row["form"]), int(row["default_kind"])
    cards_end = start + int(row["card_bytes"])
    exceptions_end = cards_end + int(row["exception_bytes"])
    gaps, card_ends = varint.decode(data[start:cards_end])
    codes, exception_ends = varint.decode(data[cards_end:exceptions_end])
    times, _ = varint.decode(data[exceptions_end : exceptions_end + int(row["time_bytes"])])
    unsettled_count, count = int(row["unsettled_count"]), int(row["count"])
    if (len(gaps), len(codes), len(times)) != (count, int(row["exception_count"]), 2 * unsettled_count):
        raise ListRefused(Fault.COUNT, section=prefix.hex())
    if len(codes) and len(kinds) < 2:
        raise ListRefused(Fault.KIND, expected="no exception where there is one kind")
    cards = _running(gaps, 0)
    if not prefix.hex().isdecimal() or (cards[-1] >= _LIMITS[form]) or (form == LUHN and prefix.hex()[:3] != "031"):
        raise ListRefused(Fault.NUMBER, section=prefix.hex())
    skipped, slots = np.divmod(codes, max(1, len(kinds) - 1))
    exceptions = _running(skipped + 1, -1)
    unsettled = _running(times[:unsettled_count] + 1, -1)
    if any(len(ordinals) and ordinals[-1] >= count for ordinals in (exceptions, unsettled)):
        raise ListRefused(Fault.COUNT, section=prefix.hex())
    section = Section(
        prefix, form == LUHN, default, cards, card_ends + start,
        exceptions, slots + (slots >= default), exception_ends + cards_end,
        unsettled, times[unsettled_count:] + settled_until_s + 1, cards_end,
    )  # fmt: skip
    _check_numbers(section, kinds, gaps)
    return section


def _running(steps: I64, start: int) -> I64:
    total = np.cumsum(steps) + start
    # Steps are below 2**42: only millions of the largest could wrap, and where they do, the sum is negative.
    if len(total) and (total < start).any():
        raise ListRefused(Fault.NUMBER, expected="sums of 63 bits")
    return total


def _check_numbers(section: Section, kinds: npt.NDArray[np.void], gaps: I64) -> None:
    again = np.flatnonzero(gaps[1:] == 0) + 1
    if len(again):
        generations = kinds["generation"][kinds_of(section)]
        if (generations[again] <= generations[again - 1]).any():
            raise ListRefused(Fault.ORDER, section=section.prefix.hex(), expected="a later generation")
    if not section.luhn and section.prefix.hex().startswith("031") and luhn_is_right(_numbers(section)).any():
        raise ListRefused(Fault.SECTION, section=section.prefix.hex(), expected="Luhn numbers in their own section")


def kinds_of(section: Section) -> I64:
    """The (n,) kinds of all cards of a section."""
    kind_of = np.full(len(section.cards), section.default_kind, dtype=np.int64)
    kind_of[section.exceptions] = section.exception_kinds
    return kind_of


def numbers_of(prefix: bytes, values: I64, *, luhn: bool) -> U8:
    """The (n, 10) card numbers of a section."""
    numbers = np.empty((len(values), 10), dtype=np.uint8)
    numbers[:, :4] = np.frombuffer(prefix, dtype=np.uint8)
    if not luhn:
        numbers[:, 4:] = bcd.uint_to_bcd(values, 6)
        return numbers
    numbers[:, 4:] = bcd.uint_to_bcd(values * 10, 6)
    numbers[:, 9] |= luhn_digits(numbers)
    return numbers


def _numbers(section: Section) -> U8:
    return numbers_of(section.prefix, section.cards, luhn=section.luhn)


def unpack(body: Body) -> Entries:
    """All entries, by card number and generation; settled ones have `effective_s` 0."""
    parts = []
    for section in body.sections:
        part = np.zeros(len(section.cards), dtype=ENTRY)
        kinds = body.kinds[kinds_of(section)]
        part["card_number"] = _numbers(section)
        for field in ("generation", "action", "reason"):
            part[field] = kinds[field]
        part["effective_s"][section.unsettled] = section.effective_s
        parts.append(part)
    return in_order(np.concatenate(parts)) if parts else np.zeros(0, dtype=ENTRY)
