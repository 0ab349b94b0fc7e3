"""Rows of ranges, staff and issuers between the wire and the domain."""

from datetime import datetime
from typing import Final

from citycard.blacklist.v1 import blacklist_pb2 as blacklist_pb
from citycard.blacklist.v1 import list_pb2 as pb

from libs.cardlist import Action
from libs.records.errors import NumberInvalid
from libs.records.numbers import institution_text
from services.blacklist.adapters.times import moment, write
from services.blacklist.application.small_lists import staff_key
from services.blacklist.domain.entry import CardKey
from services.blacklist.domain.errors import EntryUnknown, RowInvalid
from services.blacklist.domain.rows import ListKind, Row

_FIELDS: Final = {ListKind.RANGES: "range", ListKind.STAFF: "staff", ListKind.ISSUERS: "issuer"}


def row_of_pb(kind: ListKind, row: pb.ListRow, index: int, effective_time: datetime) -> Row:
    """A row as asked for.

    Args:
        kind: The list it is for.
        row: Of the request; its schema was checked.
        index: Place in the request, for refusals.
        effective_time: Where it names none.

    Raises:
        RowInvalid: It is a row of another list, or its number or institution is none.
    """
    key, mode, reason = key_of_pb(kind, row, index), int(Action.ACCEPT), 0
    if kind is ListKind.RANGES:
        mode, reason = int(row.range.mode), int(row.range.reason)
    if row.HasField("effective_time"):
        effective_time = moment(row.effective_time)
    until_time = moment(row.until_time) if row.HasField("until_time") else None
    return Row(key, mode, reason, effective_time, until_time)


def key_of_pb(kind: ListKind, row: pb.ListRow, index: int) -> bytes:
    """What tells a row from others.

    Raises:
        RowInvalid: See `row_of_pb`.
    """
    field = row.WhichOneof("row")
    if field != _FIELDS[kind]:
        raise RowInvalid(list=kind.name, index=index, field=f"{field} is of another list")
    if kind is ListKind.RANGES:
        return bytes.fromhex(row.range.first_number) + bytes.fromhex(row.range.last_number)
    if kind is ListKind.STAFF:
        try:
            card = CardKey.parse(f"{row.staff.card.removeprefix('cards/')}.{row.staff.generation}")
        except EntryUnknown:
            raise RowInvalid(list=kind.name, index=index, field="card") from None
        return staff_key(card.number, card.generation)
    issuer = bytes.fromhex(row.issuer.issuer)
    try:
        institution_text(issuer)
    except NumberInvalid:
        raise RowInvalid(list=kind.name, index=index, field="issuer") from None
    return issuer


def row_to_pb(kind: ListKind, row: Row) -> pb.ListRow:
    """A row for the wire."""
    message = pb.ListRow(put_version=row.put_version)
    if kind is ListKind.RANGES:
        message.range.first_number, message.range.last_number = row.first.hex(), row.last.hex()
        # The numbers of both enums are ours.
        message.range.mode = blacklist_pb.ListMode.ValueType(row.mode)
        message.range.reason = blacklist_pb.ListReason.ValueType(row.reason)
    elif kind is ListKind.STAFF:
        generation = int.from_bytes(row.key[10:], "big")
        card = CardKey.of_number(row.key[:10], generation)
        message.staff.card, message.staff.generation = f"cards/{card.scheme}-{card.digits}", generation
    else:
        message.issuer.issuer = row.key.hex().upper()
    write(message.effective_time, row.effective_time)
    write(message.until_time, row.until_time)
    return message
