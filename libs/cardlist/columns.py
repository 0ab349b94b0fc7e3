"""A card list as columns, section by section: what a body is packed from, and what a change is made on.

A change costs a few passes over the columns of the sections that it touches, and nothing for the others; writing the
body again encodes only what changed. So the centre makes a version of a million cards, and a terminal applies a delta,
in tenths of a second, and both end at the same bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from libs.cardlist import varint
from libs.cardlist.body import KIND, KINDS_MAX, LUHN, SECTION, TOP, Body, kinds_of, numbers_of
from libs.cardlist.entries import ENTRY, Entries, in_order, luhn_is_right
from libs.cardlist.errors import EntryInvalid
from libs.records import bcd

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

# Twelve digits take 40 bits; what is left of 64 counts the generations that occur.
_RANK_BITS: Final = np.uint64(24)


@dataclass(slots=True)
class _Part:
    """One section. Never changed after it was made; the encoded card stream is kept once it was asked for.

    Attributes:
        values: (n,) digits after the prefix, without the Luhn digit where that is left out; ascending.
        table: Kinds that occur here, ascending: generation << 16 | action << 8 | reason.
        kind_of: (n,) place in the table.
        effective_s: (n,) epoch seconds; 0 settled.
        stream: The card stream, once it was encoded.
    """

    values: I64
    table: I64
    kind_of: I64
    effective_s: I64
    stream: bytes | None = None

    def card_stream(self) -> bytes:
        if self.stream is None:
            self.stream = varint.encode(_gaps(self.values, 0))
        return self.stream


class Columns:
    """A whole list, immutable: a change gives another one that shares what it did not touch."""

    __slots__ = ("_parts",)

    def __init__(self, parts: dict[tuple[bytes, int], _Part]) -> None:
        self._parts = parts

    @classmethod
    def of_entries(cls, entries: Entries) -> "Columns":
        """From entries in any order.

        Raises:
            EntryInvalid: An entry cannot stand in a list.
        """
        return cls({mark: _part(section, mark[1]) for mark, section in _by_section(in_order(entries))})

    @classmethod
    def of_body(cls, body: Body) -> "Columns":
        """From a checked body; settled entries have no time any more."""
        table = _packed(body.kinds)
        parts = {}
        for section in body.sections:
            effective_s = np.zeros(len(section.cards), dtype=np.int64)
            effective_s[section.unsettled] = section.effective_s
            parts[section.prefix, int(section.luhn)] = _short(section.cards, table, kinds_of(section), effective_s)
        return cls(parts)

    def __len__(self) -> int:
        return sum(len(part.values) for part in self._parts.values())

    def change(self, put: Entries, taken: Entries) -> "Columns | None":
        """The list with some entries put, new or in the place of others, and some taken away.

        Args:
            put: In any order; a key that is there is overwritten.
            taken: Only card number and generation count.

        Returns:
            The other list; None when something is to be taken away that is not there.

        Raises:
            EntryInvalid: An entry cannot stand in a list.
        """
        none = np.zeros(0, dtype=ENTRY)
        puts, takes = dict(_by_section(in_order(put))), dict(_by_section(in_order(taken)))
        parts = dict(self._parts)
        for mark in {**puts, **takes}:
            before = parts.get(mark) or _part(none, mark[1])
            after = _changed(before, _part(puts.get(mark, none), mark[1]), _part(takes.get(mark, none), mark[1]))
            if after is None:
                return None
            if len(after.values):
                parts[mark] = after
            else:
                parts.pop(mark, None)
        return Columns(parts)

    def pack(self, settled_until_s: int = 0) -> bytes:
        """Write the body; the same entries are the same bytes, however they came together.

        Args:
            settled_until_s: Entries in force at this instant lose their own time; 0 keeps every time.

        Raises:
            EntryInvalid: There are more than 65,535 kinds.
        """
        marks = sorted(self._parts)
        kinds = _packed(self.kinds())
        if len(kinds) > KINDS_MAX:
            raise EntryInvalid(index=-1, field="kind", expected=f"at most {KINDS_MAX} combinations")
        rows = np.zeros(len(marks), dtype=SECTION)
        streams: list[bytes] = []
        for row, mark in zip(rows, marks, strict=True):
            streams += _pack_part(row, mark, self._parts[mark], kinds, settled_until_s)
        top = np.array([(settled_until_s, len(kinds), len(rows))], dtype=TOP)
        return b"".join((top.tobytes(), _rows(kinds).tobytes(), rows.tobytes(), *streams))

    def kinds(self) -> npt.NDArray[np.void]:
        """The kinds that occur, dtype `KIND`, ascending."""
        tables = [part.table for part in self._parts.values()]
        return _rows(np.unique(np.concatenate(tables)) if tables else np.zeros(0, dtype=np.int64))

    def entries(self) -> Entries:
        """All entries, by card number and generation."""
        parts = []
        for (prefix, form), part in self._parts.items():
            made = np.zeros(len(part.values), dtype=ENTRY)
            kinds = part.table[part.kind_of]
            made["card_number"] = numbers_of(prefix, part.values, luhn=form == LUHN)
            made["generation"], made["action"], made["reason"] = kinds >> 16, kinds >> 8 & 0xFF, kinds & 0xFF
            made["effective_s"] = part.effective_s
            parts.append(made)
        return in_order(np.concatenate(parts)) if parts else np.zeros(0, dtype=ENTRY)


def pack(entries: Entries, settled_until_s: int = 0) -> bytes:
    """Write entries, in any order, as a body; the same entries are the same bytes.

    Args:
        entries: Dtype `ENTRY`; those in force at `settled_until_s` are settled.
        settled_until_s: Epoch seconds; 0 keeps every time as it is.

    Raises:
        EntryInvalid: An entry cannot stand in a list, or there are more than 65,535 kinds.
    """
    return Columns.of_entries(entries).pack(settled_until_s)


def _packed(kinds: npt.NDArray[np.void]) -> I64:
    packed: I64 = kinds["generation"].astype(np.int64) << 16 | kinds["action"].astype(np.int64) << 8 | kinds["reason"]
    return packed


def _rows(packed: I64) -> npt.NDArray[np.void]:
    kinds = np.zeros(len(packed), dtype=KIND)
    kinds["generation"], kinds["action"], kinds["reason"] = packed >> 16, packed >> 8 & 0xFF, packed & 0xFF
    return kinds


def _by_section(entries: Entries) -> Iterator[tuple[tuple[bytes, int], Entries]]:
    """Entries in order, one section after the other."""
    if not len(entries):
        return
    prefixes = bcd.bytes_to_uint(entries["card_number"][:, :4]).astype(np.int64)
    form = luhn_is_right(entries["card_number"]).astype(np.int64)
    order = np.lexsort((np.arange(len(entries)), form, prefixes))
    starts = np.flatnonzero(np.diff(prefixes[order] * 2 + form[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        yield (entries["card_number"][members[0], :4].tobytes(), int(form[members[0]])), entries[members]


def _part(entries: Entries, form: int) -> _Part:
    values = bcd.bcd_to_uint(entries["card_number"][:, 4:]).astype(np.int64)
    table, kind_of = np.unique(_packed(entries), return_inverse=True)
    return _Part(
        values // 10 if form == LUHN else values,
        table,
        kind_of.astype(np.int64),
        entries["effective_s"].astype(np.int64),
    )


def _changed(base: _Part, put: _Part, taken: _Part) -> _Part | None:
    table = np.unique(np.concatenate((base.table, put.table)))
    kind_of = np.searchsorted(table, base.table)[base.kind_of]
    put_kinds = np.searchsorted(table, put.table)[put.kind_of]
    generations = np.unique(np.concatenate((table, taken.table)) >> 16)
    keys = _keys(base, generations)
    places, found = _places(keys, _keys(taken, generations))
    if not found.all():
        return None
    stays = np.ones(len(keys), dtype=np.bool_)
    stays[places] = False
    places, found = _places(keys, _keys(put, generations))
    stays[places[found]] = False
    values, effective_s = base.values, base.effective_s
    if not stays.all():
        values, kind_of, effective_s, keys = values[stays], kind_of[stays], effective_s[stays], keys[stays]
    if len(put.values):
        places = np.searchsorted(keys, _keys(put, generations))
        values = np.insert(values, places, put.values)
        kind_of = np.insert(kind_of, places, put_kinds)
        effective_s = np.insert(effective_s, places, put.effective_s)
    same = len(values) == len(base.values) and bool((values == base.values).all())
    return _short(values, table, kind_of, effective_s, base.stream if same else None)


def _short(values: I64, table: I64, kind_of: I64, effective_s: I64, stream: bytes | None = None) -> _Part:
    """A part whose table names only what occurs."""
    occurs = np.bincount(kind_of, minlength=len(table)) > 0
    if not occurs.all():
        table, kind_of = table[occurs], (np.cumsum(occurs) - 1)[kind_of]
    return _Part(values, table, kind_of, effective_s, stream)


def _keys(part: _Part, generations: I64) -> U64:
    """What orders the entries of a section: value, then place of the generation among those that occur."""
    assert len(generations) < 1 << int(_RANK_BITS), "a list has at most 65,535 kinds"
    ranks = np.searchsorted(generations, part.table >> 16).astype(np.uint64)
    keys: U64 = part.values.astype(np.uint64) << _RANK_BITS | ranks[part.kind_of]
    return keys


def _places(keys: U64, wanted: U64) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    places = np.searchsorted(keys, wanted)
    found = np.zeros(len(wanted), dtype=np.bool_)
    inside = places < len(keys)
    found[inside] = keys[places[inside]] == wanted[inside]
    return places, found


def _pack_part(
    row: np.void, mark: tuple[bytes, int], part: _Part, kinds: I64, settled_until_s: int
) -> tuple[bytes, bytes, bytes]:
    most = int(np.bincount(part.kind_of).argmax())
    places = np.searchsorted(kinds, part.table)
    default = int(places[most])
    exceptions = np.flatnonzero(part.kind_of != most)
    others = places[part.kind_of[exceptions]]
    unsettled = np.flatnonzero(part.effective_s > settled_until_s)
    times = part.effective_s[unsettled] - settled_until_s - 1
    cards = part.card_stream()
    codes = varint.encode(_skipped(exceptions) * (len(kinds) - 1) + others - (others > default))
    lasting = varint.encode(np.concatenate((_skipped(unsettled), times)))
    row["prefix"], row["form"], row["count"] = np.frombuffer(mark[0], dtype=np.uint8), mark[1], len(part.values)
    row["default_kind"], row["exception_count"], row["unsettled_count"] = default, len(exceptions), len(unsettled)
    row["card_bytes"], row["exception_bytes"], row["time_bytes"] = len(cards), len(codes), len(lasting)
    return cards, codes, lasting


def _skipped(ordinals: npt.NDArray[Any]) -> I64:
    return _gaps(ordinals.astype(np.int64), -1) - 1


def _gaps(ascending: I64, start: int) -> I64:
    gaps: I64 = np.diff(ascending, prepend=np.int64(start))
    return gaps
