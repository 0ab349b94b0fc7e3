"""The discount state on a card, 32 bytes (card-lifecycle-and-fares.md, section 4) [convention]."""

from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import xor
from struct import Struct

from libs.fares.errors import DiscountStateUnreadable
from libs.records.bcd import LOCAL_TIME, bcd_time, time_of
from libs.records.errors import TimeInvalid

STATE_LENGTH = 32

_LAYOUT = Struct(">BB3sIIHB3s7sIB")
_RECORD_ID, _LENGTH_BYTE = 0x20, 0x1E


@dataclass(frozen=True, slots=True)
class DiscountState:
    """What a card remembers of this month and of its last paid tap.

    Attributes:
        month: `YYYYMM`, the calendar month that the sums belong to; `000000` for a fresh card.
        metro_paid_fen: Paid on the metro this month, after discounts; saturates at 4 bytes.
        bus_paid_fen: Paid on buses this month, likewise.
        trips: Metro and bus trips this month; saturates at 65,535.
        last_mode: JT code of the last paid ride (card-files.md, section 8), 0 for none.
        last_line: 6 digits.
        last_paid_at: Time of the last paid tap, seconds; None for none.
        last_amount_fen: What that tap paid.
        transfer_used: The discount that this tap gives was taken, or it gives none.
    """

    month: str = "000000"
    metro_paid_fen: int = 0
    bus_paid_fen: int = 0
    trips: int = 0
    last_mode: int = 0
    last_line: str = "000000"
    last_paid_at: datetime | None = None
    last_amount_fen: int = 0
    transfer_used: bool = False

    def in_month(self, month: str) -> "DiscountState":
        """This state if it is of that month, else zeros: a new month forgets the last tap too."""
        return self if self.month == month else DiscountState(month=month)


FRESH = DiscountState()
"""What a card remembers that never rode."""


def month_of(at: datetime) -> str:
    """`YYYYMM` of an aware time in Asia/Shanghai."""
    local = at.astimezone(LOCAL_TIME)
    return f"{local.year:04d}{local.month:02d}"


def encode_state(state: DiscountState) -> bytes:
    """Write the 32 bytes; the last is the xor of the others."""
    body = _LAYOUT.pack(
        _RECORD_ID,
        _LENGTH_BYTE,
        bytes.fromhex(state.month),
        min(state.metro_paid_fen, 0xFFFFFFFF),
        min(state.bus_paid_fen, 0xFFFFFFFF),
        min(state.trips, 0xFFFF),
        state.last_mode,
        bytes.fromhex(state.last_line),
        bytes(7) if state.last_paid_at is None else bcd_time(state.last_paid_at),
        state.last_amount_fen,
        state.transfer_used,
    )
    return body + bytes([reduce(xor, body)])


def decode_state(packed: bytes) -> DiscountState:
    """Read the 32 bytes.

    Raises:
        DiscountStateUnreadable: Wrong length, id, checksum, digits or time: a torn write, or another use of the file.
    """
    if len(packed) != STATE_LENGTH:
        raise DiscountStateUnreadable(fault="LENGTH", expected=STATE_LENGTH, found=len(packed))
    if reduce(xor, packed):
        raise DiscountStateUnreadable(fault="CHECKSUM")
    record_id, length, month, metro, bus, trips, mode, line, time, amount, used = _LAYOUT.unpack(packed[:-1])
    if (record_id, length) != (_RECORD_ID, _LENGTH_BYTE):
        raise DiscountStateUnreadable(fault="RECORD_ID", found=packed[:2].hex())
    if used > 1:
        raise DiscountStateUnreadable(fault="TRANSFER_USED", found=used)
    if not (month.hex().isdecimal() and line.hex().isdecimal()):
        raise DiscountStateUnreadable(fault="DIGITS", found=(month + line).hex())
    if month != bytes(3) and not 1 <= int(month.hex()[4:]) <= 12:
        raise DiscountStateUnreadable(fault="MONTH", found=month.hex())
    try:
        paid_at = time_of(time) if any(time) else None
    except TimeInvalid as wrong:
        raise DiscountStateUnreadable(fault="TIME", found=time.hex()) from wrong
    return DiscountState(month.hex(), metro, bus, trips, mode, line.hex(), paid_at, amount, bool(used))


def state_or_zero(packed: bytes, at: datetime) -> DiscountState:
    """What a terminal goes on with at this time: an unreadable state, or one of another month, counts as zeros."""
    month = month_of(at)
    try:
        return decode_state(packed).in_month(month)
    except DiscountStateUnreadable:
        return DiscountState(month=month)
