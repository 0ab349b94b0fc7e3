"""The small lists, whole files only: number ranges to refuse, issuers to accept. Rows in order, found by bisection.

| list | row |
| --- | --- |
| ranges | first number 10, last number 10 (both inclusive), action 1, reason 1, zero 2, effective 8 |
| issuers | issuer id 8, effective 8 |

Effective times are epoch seconds, 0 since ever.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct, error
from typing import Any, Final

from libs.cardlist.entries import Action
from libs.cardlist.errors import EntryInvalid, Fault, ListRefused
from libs.cardlist.header import HEADER_LENGTH, Form, Header, Point, Purpose, read_header
from libs.cardlist.signing import Signer, Verifier
from libs.records.errors import NumberInvalid
from libs.records.numbers import institution_text

_RANGE: Final = Struct(">10s10sBBHQ")
_ISSUER: Final = Struct(">8sQ")


@dataclass(frozen=True, slots=True, order=True)
class NumberRange:
    """Cards that are refused by the row: stolen stock, a faulty batch.

    Attributes:
        first: 10 bytes BCD.
        last: 10 bytes BCD, included.
        action: LOCK, REFUSE or REFUSE_AT_EXIT.
        reason: As in the interchange file.
        effective_s: Epoch seconds; 0 since ever.
    """

    first: bytes
    last: bytes
    action: Action
    reason: int
    effective_s: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Issuer:
    """An issuer whose cards are accepted here.

    Attributes:
        issuer: 8 bytes: digits, then F.
        effective_s: Epoch seconds; 0 since ever.
    """

    issuer: bytes
    effective_s: int = 0


def encode_ranges(ranges: Iterable[NumberRange], signer: Signer, point: Point, *, created_s: int) -> bytes:
    """Write a list of ranges.

    Raises:
        EntryInvalid: A range is empty, not of digits, or overlaps another; an action does not refuse.
    """
    rows = sorted(ranges)
    fault = _range_fault(rows)
    if fault is not None:
        raise EntryInvalid(index=fault[0], field=fault[1])
    packed = [_RANGE.pack(row.first, row.last, row.action, row.reason, 0, row.effective_s) for row in rows]
    return _file(packed, Purpose.RANGES, signer, point, created_s)


def encode_issuers(issuers: Iterable[Issuer], signer: Signer, point: Point, *, created_s: int) -> bytes:
    """Write a white list of issuers.

    Raises:
        EntryInvalid: An issuer is named twice, or is no institution id.
    """
    rows = sorted(issuers)
    fault = _issuer_fault(rows)
    if fault is not None:
        raise EntryInvalid(index=fault, field="issuer")
    return _file([_ISSUER.pack(row.issuer, row.effective_s) for row in rows], Purpose.ISSUERS, signer, point, created_s)


def _file(rows: Sequence[bytes], purpose: Purpose, signer: Signer, point: Point, created_s: int) -> bytes:
    body = b"".join(rows)
    header = Header(purpose, Form.WHOLE, point, Point(), created_s, len(rows), len(body), hashlib.sha256(body).digest())
    return header.pack(signer) + body


class RangeList:
    """Number ranges in force."""

    __slots__ = ("_firsts", "_rows", "point")

    def __init__(self, data: bytes, verifier: Verifier) -> None:
        """Read a file.

        Raises:
            ListRefused: Anything is wrong with it.
        """
        header, rows = _rows(data, verifier, Purpose.RANGES, _RANGE)
        try:
            self._rows = [NumberRange(row[0], row[1], Action(row[2]), row[3], row[5]) for row in rows]
        except ValueError:
            raise ListRefused(Fault.KIND) from None
        fault = _range_fault(self._rows)
        if fault is not None or any(row[4] for row in rows):
            raise ListRefused(Fault.ORDER if fault else Fault.RESERVED)
        self._firsts = [row.first for row in self._rows]
        self.point = header.point

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, card_number: bytes) -> NumberRange | None:
        """The range that a card lies in, else None; 10 bytes BCD sort as their digits do."""
        place = bisect_right(self._firsts, card_number) - 1
        return self._rows[place] if place >= 0 and card_number <= self._rows[place].last else None


class IssuerList:
    """Issuers whose cards are accepted."""

    __slots__ = ("_effective_s", "point")

    def __init__(self, data: bytes, verifier: Verifier) -> None:
        """Read a file.

        Raises:
            ListRefused: Anything is wrong with it.
        """
        header, rows = _rows(data, verifier, Purpose.ISSUERS, _ISSUER)
        if _issuer_fault([Issuer(row[0], row[1]) for row in rows]) is not None:
            raise ListRefused(Fault.ORDER)
        self._effective_s = {row[0]: row[1] for row in rows}
        self.point = header.point

    def __len__(self) -> int:
        return len(self._effective_s)

    def accepts(self, issuer: bytes, at_s: int) -> bool:
        """Whether cards of an issuer (8 bytes) are accepted at an instant (epoch seconds)."""
        effective_s = self._effective_s.get(issuer)
        return effective_s is not None and effective_s <= at_s


def _rows(data: bytes, verifier: Verifier, purpose: Purpose, layout: Struct) -> tuple[Header, list[tuple[Any, ...]]]:
    header = read_header(data[:HEADER_LENGTH], verifier, purpose, Form.WHOLE)
    body = data[HEADER_LENGTH:]
    header.check_body(body)
    try:
        rows = list(layout.iter_unpack(body))
    except error:
        raise ListRefused(Fault.LENGTH, found=len(body)) from None
    if len(rows) != header.count:
        raise ListRefused(Fault.COUNT, expected=header.count, found=len(rows))
    return header, rows


def _range_fault(rows: Sequence[NumberRange]) -> tuple[int, str] | None:
    last = b""
    for index, row in enumerate(rows):
        if any(len(number) != 10 or not number.hex().isdecimal() for number in (row.first, row.last)):
            return index, "number"
        if row.last < row.first or row.first <= last:
            return index, "range"
        if row.action not in (Action.LOCK, Action.REFUSE, Action.REFUSE_AT_EXIT):
            return index, "action"
        last = row.last
    return None


def _issuer_fault(rows: Sequence[Issuer]) -> int | None:
    last = b""
    for index, row in enumerate(rows):
        try:
            institution_text(row.issuer)
        except NumberInvalid:
            return index
        if row.issuer <= last:
            return index
        last = row.issuer
    return None
