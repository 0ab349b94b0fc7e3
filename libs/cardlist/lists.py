"""Card lists as files: whole ones, deltas between two of them, and the list that a terminal holds."""

import hashlib
import mmap
from dataclasses import dataclass
from struct import Struct
from typing import Final

import numpy as np
import numpy.typing as npt

from libs.cardlist.body import Body, read_body, unpack
from libs.cardlist.columns import Columns, pack
from libs.cardlist.entries import ANY_GENERATION, Action, Bools, Entries, difference, settle
from libs.cardlist.errors import DeltaMisfit, EntryInvalid, Fault, ListRefused
from libs.cardlist.header import HEADER_LENGTH, Form, Header, Point, Purpose, read_header
from libs.cardlist.index import CardIndex, Found
from libs.cardlist.signing import Signer, Verifier
from libs.records.blacklist_file import ListReason

Data = bytes | mmap.mmap

_LENGTH: Final = Struct(">Q")
_CARD_PURPOSES: Final = (Purpose.BLACKLIST, Purpose.STAFF)


def encode_list(
    entries: Entries | Columns,
    signer: Signer,
    point: Point,
    *,
    created_s: int,
    settled_until_s: int = 0,
    purpose: Purpose = Purpose.BLACKLIST,
    left_out: int = 0,
) -> bytes:
    """Write a whole list of cards; the same entries and arguments give the same bytes.

    Args:
        entries: Dtype `ENTRY`, in any order, or the columns of a list.
        signer: Of the centre.
        point: Version and chain hash.
        created_s: Epoch seconds.
        settled_until_s: Entries in force at this instant lose their own time: that of the list, or 0 to keep all.
        purpose: BLACKLIST or STAFF.
        left_out: Entries of the version that this file leaves out, because a terminal is too small for them.

    Raises:
        EntryInvalid: An entry cannot stand in this list: a blacklist locks or refuses for one of the reasons of the
            interchange file, a staff list accepts for none (reason 0).
    """
    assert purpose in _CARD_PURPOSES, "other lists are not of cards"
    assert point.version > 0, "version 0 is the empty list that nobody publishes"
    columns = entries if isinstance(entries, Columns) else Columns.of_entries(entries)
    for field, good in zip(("action", "reason"), _suits(columns.kinds(), purpose), strict=True):
        if not good.all():
            raise EntryInvalid(index=int(np.argmin(good)), field=field)
    body = columns.pack(settled_until_s)
    header = Header(
        purpose, Form.WHOLE, point, Point(), created_s, len(columns), len(body), hashlib.sha256(body).digest(), left_out
    )
    return header.pack(signer) + body


def _suits(kinds: npt.NDArray[np.void], purpose: Purpose) -> tuple[Bools, Bools]:
    """Which rows have an action, and a reason, that belong in the list."""
    action, reason = kinds["action"], kinds["reason"]
    if purpose is Purpose.STAFF:
        return action == Action.ACCEPT, reason == 0
    return action != Action.ACCEPT, (reason >= min(ListReason)) & (reason <= max(ListReason))


@dataclass(frozen=True, slots=True)
class CardList:
    """A list in force: the bytes of its file, and an index beside them.

    Attributes:
        header: As signed.
        data: The whole file; of a memory map the pages that are looked at.
    """

    header: Header
    data: Data
    _index: CardIndex

    @classmethod
    def open(cls, data: Data, verifier: Verifier, purpose: Purpose = Purpose.BLACKLIST) -> "CardList":
        """Check a whole list and make it ready for look-ups. The bytes are kept, not copied, and must not change.

        Raises:
            ListRefused: Anything is wrong with them.
        """
        assert purpose in _CARD_PURPOSES, "other lists are not of cards"
        header = read_header(data[:HEADER_LENGTH], verifier, purpose, Form.WHOLE)
        content = memoryview(data)[HEADER_LENGTH:]
        header.check_body(content)
        body = read_body(np.frombuffer(content, dtype=np.uint8))
        if body.count != header.count:
            raise ListRefused(Fault.COUNT, expected=header.count, found=body.count)
        if not all(good.all() for good in _suits(body.kinds, purpose)):
            raise ListRefused(Fault.KIND, expected="actions and reasons of the purpose")
        return cls(header, data, CardIndex(body))

    def __len__(self) -> int:
        return self.header.count

    @property
    def point(self) -> Point:
        """Version and chain hash."""
        return self.header.point

    @property
    def index_bytes(self) -> int:
        """Memory beside the file."""
        return self._index.index_bytes

    def find(self, card_number: bytes, generation: int = ANY_GENERATION) -> Found | None:
        """What the list says of a card, see `CardIndex.find`."""
        return self._index.find(card_number, generation)

    @property
    def is_complete(self) -> bool:
        """Whether the file holds every entry of its version; one that does not is followed by no delta."""
        return not self.header.left_out

    def entries(self) -> Entries:
        """All entries, 24 bytes each; settled ones have `effective_s` 0."""
        return unpack(self._body())

    def columns(self) -> Columns:
        """The list as columns, to be changed."""
        return Columns.of_body(self._body())

    def _body(self) -> Body:
        return read_body(np.frombuffer(self.data, dtype=np.uint8, offset=HEADER_LENGTH))

    @property
    def settled_until_s(self) -> int:
        """Entries in force at this instant carry no time."""
        return int.from_bytes(self.data[HEADER_LENGTH : HEADER_LENGTH + 8], "big")


def encode_delta(base: CardList, target: CardList, signer: Signer) -> bytes:
    """Write what turns one list into another: whoever has the base can make the target, byte for byte.

    Args:
        base: An earlier version.
        target: A later one of the same purpose; it has settled at least as much.
        signer: Of the centre.
    """
    assert base.header.purpose is target.header.purpose, "a delta stays in its list"
    assert base.settled_until_s <= target.settled_until_s, "what was settled cannot be found again"
    added, removed = difference(settle(base.entries(), target.settled_until_s), target.entries())
    return encode_change(base.point, target.header, target.data[:HEADER_LENGTH], added, removed, signer,
                         settled_until_s=target.settled_until_s)  # fmt: skip


def encode_change(
    base: Point, target: Header, target_header: bytes, put: Entries, taken: Entries, signer: Signer,
    *, settled_until_s: int,
) -> bytes:  # fmt: skip
    """Write a delta of a change that is known, without the lists themselves.

    The body: length (8) and body of the entries to put; length (8) and body of the entries to take away; the 224 bytes
    of the target's own header, whose signature and digest the result has to meet.

    Args:
        base: An earlier version.
        target: Header of the whole list of the later version.
        target_header: The same as published, 224 bytes.
        put: Entries that the later version has and the earlier one has not, or otherwise.
        taken: Entries that only the earlier one has.
        signer: Of the centre.
        settled_until_s: Of the later one.
    """
    assert base.version < target.point.version, "a delta goes forward"
    assert not target.left_out, "a delta leads to a complete list"
    written, taken_away = pack(put, settled_until_s), pack(taken, settled_until_s)
    body = b"".join((_LENGTH.pack(len(written)), written, _LENGTH.pack(len(taken_away)), taken_away, target_header))
    header = Header(
        target.purpose, Form.DELTA, target.point, base, target.created_s, target.count, len(body),
        hashlib.sha256(body).digest(),
    )  # fmt: skip
    return header.pack(signer) + body


def apply_delta(base: CardList, delta: bytes, verifier: Verifier) -> CardList:
    """Make the next list; its `data` is the file that the centre published for it, byte for byte.

    Args:
        base: The list held; it stays as it is.
        delta: The whole file.
        verifier: Of the centre's keys.

    Raises:
        ListRefused: The delta is damaged, not signed, or leads to another list than it says.
        DeltaMisfit: It starts elsewhere: fetch the whole list.
    """
    header = read_header(delta[:HEADER_LENGTH], verifier, base.header.purpose, Form.DELTA)
    body = delta[HEADER_LENGTH:]
    header.check_body(body)
    if header.base != base.point or not base.is_complete:
        raise DeltaMisfit(version=base.point.version, base_version=header.base.version)
    put, rest = _part(body)
    taken, target_header = _part(rest)
    target = read_header(target_header, verifier, base.header.purpose, Form.WHOLE)
    if len(target_header) != HEADER_LENGTH or (target.point, target.count) != (header.point, header.count):
        raise ListRefused(Fault.VERSION, version=target.point.version, expected=header.point.version)
    added, removed = read_body(_bytes(put)), read_body(_bytes(taken))
    changed = base.columns().change(unpack(added), unpack(removed))
    if changed is None:
        raise ListRefused(Fault.ORDER, expected="only entries of the base are taken away")
    return CardList.open(target_header + changed.pack(added.settled_until_s), verifier, base.header.purpose)


def _part(data: bytes) -> tuple[bytes, bytes]:
    if len(data) < _LENGTH.size:
        raise ListRefused(Fault.LENGTH, expected=_LENGTH.size, found=len(data))
    (length,) = _LENGTH.unpack_from(data)
    end = _LENGTH.size + length
    if len(data) < end:
        raise ListRefused(Fault.LENGTH, expected=end, found=len(data))
    return data[_LENGTH.size : end], data[end:]


def _bytes(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.frombuffer(data, dtype=np.uint8)
