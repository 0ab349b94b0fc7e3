"""Entries of a card list as columns: which card in which generation, what to do with it, since when."""

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from libs.cardlist.errors import EntryInvalid
from libs.cardlist.varint import VALUE_MAX
from libs.records import bcd

ENTRY: Final = np.dtype(
    [
        ("card_number", "u1", (10,)),
        ("generation", ">u4"),
        ("action", "u1"),
        ("reason", "u1"),
        ("effective_s", ">i8"),
    ]
)
_KEY_LENGTH: Final = 14
_JT_FIRST_BYTE: Final = 0x03

Entries = npt.NDArray[np.void]
Keys = npt.NDArray[np.bytes_]
Bools = npt.NDArray[np.bool_]


class Action(IntEnum):
    """What a terminal does with a card of the list; LOCK and REFUSE are the modes of the interchange file.

    LOCK: refuse at entry and exit, lock the card, report it. REFUSE: refuse at both. REFUSE_AT_EXIT: let in, not out.
    IGNORE: let it through, whatever a number range says of it. ACCEPT: of staff and issuers.
    """

    LOCK = 1
    REFUSE = 2
    ACCEPT = 3
    REFUSE_AT_EXIT = 4
    IGNORE = 5


ANY_GENERATION: Final = 0
"""Generation of an entry that means the card number whatever its generation: the interchange file knows none."""

SETTLED: Final = 0
"""`effective_s` of an entry that was in force when the list was made, and is ever since."""


def keys(entries: Entries) -> Keys:
    """Card number and generation as (n,) `S14`, which sort as the entries must."""
    packed = np.empty((len(entries), _KEY_LENGTH), dtype=np.uint8)
    packed[:, :10] = entries["card_number"]
    packed[:, 10:] = np.ascontiguousarray(entries["generation"]).view(np.uint8).reshape(-1, 4)
    return packed.view(f"S{_KEY_LENGTH}")[:, 0]


def in_order(entries: Entries) -> Entries:
    """The entries by card number and generation, checked.

    Raises:
        EntryInvalid: A number is not digits, a generation is named twice, or a field is out of its range.
    """
    sorted_keys = keys(entries)
    # Lists mostly come in order already, and sorting a million texts takes a second.
    if (sorted_keys[1:] < sorted_keys[:-1]).any():
        entries = entries[np.argsort(sorted_keys, kind="stable")]
        sorted_keys = keys(entries)
    once = np.ones(len(entries), dtype=np.bool_)
    once[1:] = sorted_keys[1:] != sorted_keys[:-1]
    for field, good in (
        ("card_number", bcd.is_bcd(entries["card_number"]) if len(entries) else once),
        ("generation", once),
        ("action", (entries["action"] >= min(Action)) & (entries["action"] <= max(Action))),
        ("effective_s", (entries["effective_s"] >= 0) & (entries["effective_s"] <= VALUE_MAX)),
    ):
        if not good.all():
            raise EntryInvalid(index=int(np.argmin(good)), field=field)
    return entries


def settle(entries: Entries, until_s: int) -> Entries:
    """Forget when entries began that are in force at an instant anyway.

    Terminals ask only whether an entry is in force now, and now is later; a time of its own costs five bytes.

    Args:
        entries: Not changed.
        until_s: Epoch seconds; 0 keeps every time.
    """
    settled = entries.copy()
    settled["effective_s"][entries["effective_s"] <= until_s] = SETTLED
    return settled


def difference(base: Entries, target: Entries) -> tuple[Entries, Entries]:
    """What turns one list into another: entries to put, and entries to take away. All of them in order."""
    places, found = _places(base, target)
    same = found.copy()
    same[found] = _rows(target[found]) == _rows(base[places[found]])
    stays = np.zeros(len(base), dtype=np.bool_)
    stays[places[found]] = True
    return target[~same], base[~stays]


def merge(base: Entries, added: Entries, removed: Entries) -> Entries | None:
    """The other way round, all in order: None when something is to be removed that is not there."""
    places, found = _places(base, removed)
    if not found.all():
        return None
    stays = np.ones(len(base), dtype=np.bool_)
    stays[places] = False
    places, found = _places(base, added)
    stays[places[found]] = False
    kept = base[stays]
    return np.insert(kept, _places(kept, added)[0], added) if len(added) else kept


def _places(base: Entries, wanted: Entries) -> tuple[npt.NDArray[np.intp], Bools]:
    """Where in a list each entry stands or would stand, and which of them, by key, stand there."""
    base_keys, wanted_keys = keys(base), keys(wanted)
    places = np.searchsorted(base_keys, wanted_keys)
    found: Bools = np.zeros(len(wanted), dtype=np.bool_)
    inside = places < len(base)
    found[inside] = base_keys[places[inside]] == wanted_keys[inside]
    return places, found


def _rows(entries: Entries) -> Keys:
    return np.ascontiguousarray(entries).view(f"S{ENTRY.itemsize}")


def luhn_digits(numbers: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The Luhn digit that (n, 10) numbers of 0 and 19 digits should end with, whatever they end with."""
    digits = np.empty((len(numbers), 20), dtype=np.int64)
    digits[:, 0::2], digits[:, 1::2] = numbers >> 4, numbers & 15
    doubled = digits[:, 2:19:2] * 2
    total = np.where(doubled > 9, doubled - 9, doubled).sum(axis=1) + digits[:, 1:19:2].sum(axis=1)
    return np.asarray(-total % 10, dtype=np.uint8)


def luhn_is_right(numbers: npt.NDArray[np.uint8]) -> Bools:
    """Which (n, 10) card numbers are JT numbers whose last digit is their Luhn digit (card-files.md, section 4)."""
    is_jt = (numbers[:, 0] == _JT_FIRST_BYTE) & (numbers[:, 1] >> 4 == 1)
    right: Bools = is_jt & (luhn_digits(numbers) == numbers[:, 9] & 15)
    return right
