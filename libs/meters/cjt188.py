"""Water, heat and gas meters: frames of CJ/T 188 (2004 and 2018).

68, meter type, address 7 (digits, low byte first), control, length, data, sum of all bytes before it, 16. Nothing is
added to the data. Control: bit 7 from the meter, bit 6 the meter says no, bits 5-0 function. Data begins with the data
identifier (2) and a serial number (1). The editions send the identifier in different order, high byte first (2004) and
low byte first (2018), and meters follow neither faithfully: readings take both.
"""

from dataclasses import dataclass
from typing import Final

from libs.meters.errors import AddressWrong, ControlWrong, DataLengthWrong, FrameCut, MeterTypeWrong
from libs.meters.octets import END, START, address_is_right, awake, check_whole, checksum

ADDRESS_LENGTH: Final = 7
ANY_METER: Final = "aa" * 7
DATA_MAX: Final = 100
COLD_WATER: Final = 0x10
GAS: Final = 0x30
_HEAD: Final = 11
_FROM_METER: Final = 0x80
_NO: Final = 0x40
_READ: Final = 0x01
# Read data, read address, write data, read key version, write address, set the counter of the mechanism.
_FUNCTIONS: Final = frozenset({0x01, 0x03, 0x04, 0x09, 0x15, 0x16})
_IDENTIFIER: Final = 2
_LEAST: Final = _IDENTIFIER + 1


@dataclass(frozen=True, slots=True)
class UtilityFrame:
    """One frame.

    Attributes:
        meter_type: 10-19 water, 20-29 heat, 30-39 gas, 40-49 others (hexadecimal).
        address: 14 characters, high byte first: digits, or all `aa`.
        control: As sent.
        data: As sent.
    """

    meter_type: int
    address: str
    control: int
    data: bytes

    @property
    def from_meter(self) -> bool:
        """An answer."""
        return bool(self.control & _FROM_METER)

    @property
    def is_reading(self) -> bool:
        """The answer to a read that says yes."""
        return self.control == _FROM_METER | _READ

    @property
    def error(self) -> bytes | None:
        """Serial number and status (3 bytes) of a meter that says no."""
        return self.data if self.control & _NO else None

    @property
    def data_identifier(self) -> str | None:
        """4 hexadecimal digits in the order sent; None when the meter says no."""
        return None if self.control & _NO else self.data[:_IDENTIFIER].hex().upper()

    @property
    def serial(self) -> int:
        """The serial number of the exchange, as the asker chose it."""
        return self.data[0 if self.control & _NO else _IDENTIFIER]

    @property
    def value(self) -> bytes:
        """What follows identifier and serial number."""
        return self.data[_LEAST:]

    def pack(self, *, wake: int = 0) -> bytes:
        """The bytes on the wire, `wake` (0 to 4) bytes FE before them.

        Raises:
            MeterTypeWrong, AddressWrong, ControlWrong, DataLengthWrong: Such a frame is not in the standard.
        """
        _check(self)
        address = bytes.fromhex(self.address)[::-1]
        frame = bytes((START, self.meter_type)) + address + bytes((self.control, len(self.data))) + self.data
        return b"\xfe" * wake + frame + bytes((checksum(frame), END))


def parse_utility(octets: bytes) -> UtilityFrame:
    """Read exactly one frame, wake-up bytes before it allowed.

    Raises:
        FrameRefused: One of its kinds for each fault.
    """
    frame = awake(octets)
    if len(frame) < _HEAD + 2:
        raise FrameCut(expected=_HEAD + 2, found=len(frame))
    check_whole(frame, _HEAD, frame[10])
    parsed = UtilityFrame(frame[1], frame[2:9][::-1].hex(), frame[9], frame[_HEAD:-2])
    _check(parsed)
    return parsed


def read_request(meter_type: int, address: str, data_identifier: str, serial: int = 0) -> UtilityFrame:
    """Ask a meter for one data item.

    Args:
        meter_type: Of the meter, or AA of any.
        address: 14 digits.
        data_identifier: 4 hexadecimal digits in the order to be sent: 901F (2004) or 1F90 (2018).
        serial: 0 to 255, comes back in the answer.
    """
    assert len(data_identifier) == 2 * _IDENTIFIER, "an identifier has 4 digits"
    return UtilityFrame(meter_type, address, _READ, bytes.fromhex(data_identifier) + bytes((serial,)))


def read_answer(request: UtilityFrame, value: bytes) -> UtilityFrame:
    """What a meter answers to a read."""
    return UtilityFrame(request.meter_type, request.address, request.control | _FROM_METER, request.data + value)


def _check(frame: UtilityFrame) -> None:
    if not (0x10 <= frame.meter_type <= 0x49 and frame.meter_type & 15 <= 9) and frame.meter_type != 0xAA:
        raise MeterTypeWrong(expected="10 to 49", found=f"{frame.meter_type:02x}")
    if len(frame.address) != 2 * ADDRESS_LENGTH or not address_is_right(frame.address):
        raise AddressWrong(expected="14 digits, or wildcards AA", found=frame.address)
    flags = frame.control & (_FROM_METER | _NO)
    if frame.control & 0x3F not in _FUNCTIONS or flags == _NO:
        raise ControlWrong(expected="a control code of the standard", found=f"{frame.control:02x}")
    longest = _LEAST if frame.control & _NO else DATA_MAX
    if not _LEAST <= len(frame.data) <= longest:
        raise DataLengthWrong(expected=f"{_LEAST} to {longest}", found=len(frame.data))
