"""Meter reads as offline records of kind 0A, and back (record-formats.md, section 1).

Such a record belongs to no card and proves nothing by a TAC: the terminal that read the meter vouches for it by its
signed upload. Balance before is the quantity left, list price the cumulative reading, both in hundredths of the unit
that the industry code implies; the PSAM number is the meter number, right-aligned. The issuer, which a read has not, is
the acquirer [convention].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from libs.meters.errors import RecordMismatch
from libs.meters.reading import Measured, Quantity, Utility
from libs.records import bcd
from libs.records.codes import Kind
from libs.records.numbers import institution_bytes, psam_bytes, psam_text, terminal_bytes
from libs.records.otr import Records, new_records, seal

HUNDREDTHS_MAX: Final = 2**32 - 1
REMAINING_MAX: Final = 2**31 - 1
_METER_DIGITS: Final = 20
_SHORTEST: Final = 12


@dataclass(frozen=True, slots=True)
class MeterRead:
    """What one visit to a meter found.

    Attributes:
        utility: Whose meter.
        meter_number: 12 to 20 digits, as `short_number` writes it.
        cumulative: Hundredths of kWh or of a cubic metre, up to `HUNDREDTHS_MAX`.
        remaining: Of a prepaid meter, the same unit, up to `REMAINING_MAX`; 0 when it does not tell.
        read_time: Of the terminal that read it.
    """

    utility: Utility
    meter_number: str
    cumulative: int
    remaining: int
    read_time: datetime


@dataclass(frozen=True, slots=True)
class ReaderFacts:
    """The terminal that reads meters.

    Attributes:
        terminal_number: 12 digits.
        acquirer_id: Digits of the utility's institution id.
        accepting_city: 4 digits.
        operator_number: The unit of settlement.
        device_number: The machine.
    """

    terminal_number: str
    acquirer_id: str
    accepting_city: str
    operator_number: int
    device_number: int


def combine(values: Sequence[Measured], read_time: datetime) -> MeterRead:
    """One read out of the answers of one meter.

    Raises:
        RecordMismatch: They are of several meters, name a quantity twice, or the cumulative one is missing.
    """
    meters = {(value.utility, value.meter_number) for value in values}
    quantities = {value.quantity: value.hundredths for value in values}
    if len(meters) != 1:
        raise RecordMismatch(field="meter_number")
    if len(quantities) != len(values) or Quantity.CUMULATIVE not in quantities:
        raise RecordMismatch(field="quantity")
    ((utility, number),) = meters
    remaining = quantities.get(Quantity.REMAINING, 0)
    return MeterRead(utility, short_number(number), quantities[Quantity.CUMULATIVE], remaining, read_time)


def short_number(digits: str) -> str:
    """One form of a meter number, since a record does not tell its length: no leading zeros, but 12 digits at least."""
    return digits.lstrip("0").rjust(_SHORTEST, "0")


def to_records(reads: Sequence[MeterRead], reader: ReaderFacts, *, first_seq: int, first_device_seq: int) -> Records:
    """Sealed records, one for each read.

    Args:
        reads: In the order in which they were made.
        reader: Who made them.
        first_seq: Terminal sequence of the first; the others follow.
        first_device_seq: Device sequence of the first.

    Raises:
        NumberInvalid: A number of the reader or of a meter is none.
        RecordMismatch: A quantity does not fit its field.
    """
    assert len(reader.accepting_city) == 4, "a city code has 4 digits"
    records = new_records(len(reads))
    for field, most in (("cumulative", HUNDREDTHS_MAX), ("remaining", REMAINING_MAX)):
        if any(not 0 <= getattr(read, field) <= most for read in reads):
            raise RecordMismatch(field=field)
    acquirer = _octets(institution_bytes(reader.acquirer_id))
    records["kind"] = Kind.METER_READ
    records["issuer"] = records["acquirer"] = acquirer
    records["accepting_city"] = _octets(bytes.fromhex(reader.accepting_city))
    records["operator"] = reader.operator_number
    records["terminal_number"] = _octets(terminal_bytes(reader.terminal_number))
    records["device_number"] = reader.device_number
    records["terminal_seq"] = np.arange(first_seq, first_seq + len(reads))
    records["device_seq"] = np.arange(first_device_seq, first_device_seq + len(reads))
    for row, read in zip(records, reads, strict=True):
        row["industry"] = read.utility
        row["psam_number"] = _octets(psam_bytes(read.meter_number.rjust(_METER_DIGITS, "0")))
        row["balance_before_fen"] = read.remaining
        row["list_price_fen"] = read.cumulative
        row["time"] = _octets(bcd.bcd_time(read.read_time))
    return seal(records)


def from_records(records: Records) -> list[MeterRead]:
    """The reads in records that passed the format check.

    Raises:
        RecordMismatch: A record is not of kind 0A, of no utility, has a card, money or a TAC, or a negative quantity.
    """
    for field, good in (
        ("kind", records["kind"] == Kind.METER_READ),
        ("industry", np.isin(records["industry"], list(Utility))),
        ("card_class", records["card_class"] == 0),
        ("card_number", ~records["card_number"].any(axis=1)),
        ("amount_fen", records["amount_fen"] == 0),
        ("tti", records["tti"] == 0),
        ("tac", ~records["tac"].any(axis=1)),
        ("balance_before_fen", records["balance_before_fen"] >= 0),
    ):
        if not good.all():
            raise RecordMismatch(field=field, index=int(np.argmin(good)))
    return [
        MeterRead(
            Utility(int(row["industry"])),
            short_number(psam_text(row["psam_number"].tobytes())),
            int(row["list_price_fen"]),
            int(row["balance_before_fen"]),
            bcd.time_of(row["time"].tobytes()),
        )
        for row in records
    ]


def _octets(packed: bytes) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    return np.frombuffer(packed, dtype=np.uint8)
