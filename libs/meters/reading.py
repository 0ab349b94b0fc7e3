"""What a meter says it has counted, in hundredths of its unit, from the answers of both standards."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum
from typing import Final

from libs.meters.cjt188 import UtilityFrame
from libs.meters.dlt645 import BROADCAST, ElectricityFrame
from libs.meters.errors import AddressOpen, MeterSaidNo, NotAReading, UnitWrong, ValueLengthWrong
from libs.meters.octets import digits_value
from libs.records import bcd
from libs.records.errors import TimeInvalid


class Utility(IntEnum):
    """Who is behind the meter; the number is the industry code of its records (card-files.md, section 8)."""

    WATER = 0x0101
    POWER = 0x0102
    GAS = 0x0103
    HEAT = 0x0104


class Unit(Enum):
    """Of a value; the records carry hundredths."""

    KILOWATT_HOUR = "kWh"
    CUBIC_METRE = "m3"


class Quantity(Enum):
    """What was counted."""

    CUMULATIVE = "cumulative"
    REMAINING = "remaining"


@dataclass(frozen=True, slots=True)
class Measured:
    """One value of one meter.

    Attributes:
        utility: Whose meter.
        meter_number: Its address: 12 digits (electricity) or 14.
        quantity: What was counted.
        hundredths: In hundredths of the unit.
        unit: Of the value.
        meter_time: What the meter's own clock says; None where the frame does not tell.
        battery_low: The meter asks for a new battery.
    """

    utility: Utility
    meter_number: str
    quantity: Quantity
    hundredths: int
    unit: Unit
    meter_time: datetime | None = None
    battery_low: bool = False


# DL/T 645: positive active energy, total; energy left of a prepaid meter. All XXXXXX.XX kWh, 4 bytes.
_ELECTRICITY: Final = {
    "00010000": Quantity.CUMULATIVE,
    "9010": Quantity.CUMULATIVE,
    "00900100": Quantity.REMAINING,
}
_VALUE_LENGTH: Final = 4
# CJ/T 188: the metering data of now, 90 1F in the order of 2004 and of 2018.
_METERING_DATA: Final = frozenset({"901F", "1F90"})
_CUBIC_METRE: Final = 0x2C
# Now 4 and unit 1, at the settling day 4 and unit 1, time 7, status 2.
_WATER_LENGTH: Final = 19
_BATTERY_LOW: Final = 0x04
_UTILITIES: Final = {1: Utility.WATER, 3: Utility.GAS}


def measured_electricity(frame: ElectricityFrame) -> Measured:
    """The value in an answer to a read of total positive active energy (00010000, 9010) or energy left (00900100).

    Raises:
        ReadingRefused: One of its kinds for each fault.
    """
    if frame.error is not None:
        raise MeterSaidNo(error=f"{frame.error:02x}")
    quantity = _ELECTRICITY.get(frame.data_identifier or "")
    if quantity is None or not frame.is_reading or frame.more_follows:
        raise NotAReading(control=f"{frame.control:02x}", data_identifier=frame.data_identifier)
    if len(frame.value) != _VALUE_LENGTH:
        raise ValueLengthWrong(expected=_VALUE_LENGTH, found=len(frame.value))
    number = _one_meter(frame.address)
    return Measured(Utility.POWER, number, quantity, digits_value(frame.value), Unit.KILOWATT_HOUR)


def measured_volume(frame: UtilityFrame) -> Measured:
    """The cumulative volume in an answer to a read of a water or gas meter's metering data (901F).

    Heat meters answer in another layout and are not read here. A unit other than the cubic metre is refused: its
    hundredths would be told for those of another.

    Raises:
        ReadingRefused: One of its kinds for each fault.
        TimeInvalid: The meter's clock shows no real time.
    """
    if frame.error is not None:
        raise MeterSaidNo(error=frame.error.hex())
    utility = _UTILITIES.get(frame.meter_type >> 4)
    if utility is None or not frame.is_reading or frame.data_identifier not in _METERING_DATA:
        raise NotAReading(control=f"{frame.control:02x}", data_identifier=frame.data_identifier)
    value = frame.value
    if len(value) != _WATER_LENGTH:
        raise ValueLengthWrong(expected=_WATER_LENGTH, found=len(value))
    if value[4] != _CUBIC_METRE:
        raise UnitWrong(unit=f"{value[4]:02x}")
    # Seconds come first and the century last.
    return Measured(
        utility, _one_meter(frame.address), Quantity.CUMULATIVE, digits_value(value[:4]), Unit.CUBIC_METRE,
        _meter_time(value[10:17]), bool(value[17] & _BATTERY_LOW),
    )  # fmt: skip


def _meter_time(packed: bytes) -> datetime | None:
    # A meter without a clock sends zeros.
    if not any(packed):
        return None
    try:
        return bcd.time_of(packed[::-1])
    except TimeInvalid as wrong:
        raise TimeInvalid(digits=packed[::-1].hex(), expected="the time of the meter") from wrong


def _one_meter(address: str) -> str:
    if not address.isdecimal() or address == BROADCAST:
        raise AddressOpen(found=address)
    return address
