"""Electricity meters: frames of DL/T 645-1997 and DL/T 645-2007.

68, address 6 (digits, low byte first), 68, control, length, data (each byte plus 33H), sum of all bytes before, 16.
Control: bit 7 from the meter, bit 6 the meter says no, bit 5 more follows, bits 4-0 function. The two editions differ
in functions and in the data identifier, of 2 and of 4 bytes, low byte first.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from libs.meters.errors import AddressWrong, ControlWrong, DataLengthWrong, FrameCut, StartWrong
from libs.meters.octets import END, START, address_is_right, awake, check_whole, checksum

ADDRESS_LENGTH: Final = 6
BROADCAST: Final = "9" * 12
ANY_METER: Final = "aa" * 6
# No function carries more (the answer to a read).
DATA_MAX: Final = 200
_HEAD: Final = 10
_SHIFT: Final = 0x33
_FROM_METER: Final = 0x80
_NO: Final = 0x40
_MORE: Final = 0x20
_READ_1997: Final = 0x01
_READ_2007: Final = 0x11
_READ_ADDRESS: Final = 0x13
_TIME: Final = 0x08
_FUNCTIONS_1997: Final = frozenset({0x01, 0x02, 0x03, 0x04, 0x08, 0x0A, 0x0C, 0x0F, 0x10})
_FUNCTIONS_2007: Final = frozenset(range(0x11, 0x1D))
# Functions whose data begins with a data identifier, in requests and in answers that say yes.
_IDENTIFIED: Final = frozenset({0x01, 0x02, 0x04, 0x11, 0x12})


class Edition(IntEnum):
    """Of the standard; a broadcast of the time (08) is the same in both and counts as 1997."""

    E1997 = 1997
    E2007 = 2007


@dataclass(frozen=True, slots=True)
class ElectricityFrame:
    """One frame.

    Attributes:
        address: 12 characters, high byte first: digits, `aa` for wildcards at the high end.
        control: As sent.
        data: Without the 33H.
    """

    address: str
    control: int
    data: bytes = b""

    @property
    def function(self) -> int:
        """Bits 4-0 of the control code."""
        return self.control & 0x1F

    @property
    def edition(self) -> Edition:
        """Which edition has this function."""
        return Edition.E2007 if self.function in _FUNCTIONS_2007 else Edition.E1997

    @property
    def from_meter(self) -> bool:
        """An answer."""
        return bool(self.control & _FROM_METER)

    @property
    def more_follows(self) -> bool:
        """The answer goes on in another frame."""
        return bool(self.control & _MORE)

    @property
    def error(self) -> int | None:
        """What the meter says when it says no."""
        return self.data[0] if self.control & _NO else None

    @property
    def is_reading(self) -> bool:
        """The answer to a read that says yes."""
        return self.control & ~_MORE in (_FROM_METER | _READ_1997, _FROM_METER | _READ_2007)

    @property
    def data_identifier(self) -> str | None:
        """8 hexadecimal digits (2007) or 4 (1997), high byte first; None where the function has none."""
        if self.function not in _IDENTIFIED or self.control & _NO or not self.data:
            return None
        return self.data[: _identifier_length(self.function)][::-1].hex().upper()

    @property
    def value(self) -> bytes:
        """What follows the data identifier, low byte first as sent."""
        return self.data[_identifier_length(self.function) :] if self.data_identifier else self.data

    def pack(self, *, wake: int = 0) -> bytes:
        """The bytes on the wire.

        Args:
            wake: Bytes FE before the frame, 0 to 4.

        Raises:
            AddressWrong, ControlWrong, DataLengthWrong: Such a frame is not in the standard.
        """
        _check(self)
        shifted = bytes((byte + _SHIFT) & 0xFF for byte in self.data)
        address = bytes.fromhex(self.address)[::-1]
        frame = bytes((START,)) + address + bytes((START, self.control, len(shifted))) + shifted
        return b"\xfe" * wake + frame + bytes((checksum(frame), END))


def parse_electricity(octets: bytes) -> ElectricityFrame:
    """Read exactly one frame, wake-up bytes before it allowed.

    Raises:
        FrameRefused: One of its kinds for each fault.
    """
    frame = awake(octets)
    if len(frame) < _HEAD + 2:
        raise FrameCut(expected=_HEAD + 2, found=len(frame))
    if frame[7] != START:
        raise StartWrong(expected="68 after the address", found=f"{frame[7]:02x}")
    check_whole(frame, _HEAD, frame[9])
    data = bytes((byte - _SHIFT) & 0xFF for byte in frame[_HEAD:-2])
    parsed = ElectricityFrame(frame[1:7][::-1].hex(), frame[8], data)
    _check(parsed)
    return parsed


def read_request(address: str, data_identifier: str) -> ElectricityFrame:
    """Ask a meter for one data item; the length of the identifier, 8 or 4 digits, chooses the edition.

    Args:
        address: 12 digits, or `ANY_METER` where only one meter listens.
        data_identifier: Hexadecimal, high byte first, such as 00010000 or 9010.
    """
    assert len(data_identifier) in (4, 8), "an identifier has 4 digits (1997) or 8 (2007)"
    control = _READ_2007 if len(data_identifier) == 8 else _READ_1997
    return ElectricityFrame(address, control, bytes.fromhex(data_identifier)[::-1])


def read_answer(address: str, data_identifier: str, value: bytes) -> ElectricityFrame:
    """What a meter answers; `value` is low byte first."""
    asked = read_request(address, data_identifier)
    return ElectricityFrame(address, asked.control | _FROM_METER, asked.data + value)


def _identifier_length(function: int) -> int:
    return 4 if function in _FUNCTIONS_2007 else 2


def _check(frame: ElectricityFrame) -> None:
    if len(frame.address) != 2 * ADDRESS_LENGTH or not address_is_right(frame.address):
        raise AddressWrong(expected="12 digits, AA for wildcards at the high end", found=frame.address)
    flags = frame.control & (_FROM_METER | _NO | _MORE)
    known = frame.function in _FUNCTIONS_1997 or frame.function in _FUNCTIONS_2007
    if not known or flags not in (0, _FROM_METER, _FROM_METER | _NO, _FROM_METER | _MORE):
        raise ControlWrong(expected="a control code of the standard", found=f"{frame.control:02x}")
    shortest, longest = _lengths(frame)
    if not shortest <= len(frame.data) <= longest:
        raise DataLengthWrong(expected=f"{shortest} to {longest}", found=len(frame.data))


def _lengths(frame: ElectricityFrame) -> tuple[int, int]:
    """Shortest and longest data of a control code."""
    if frame.control & _NO:
        return 1, 1
    if frame.function == _READ_ADDRESS:
        return (ADDRESS_LENGTH, ADDRESS_LENGTH) if frame.from_meter else (0, 0)
    if frame.function == _TIME:
        return 6, 6
    if frame.function == _READ_1997 and not frame.from_meter:
        return 2, 2
    if frame.function == _READ_2007 and not frame.from_meter:
        # With the block number of a load record, or the time that it begins at.
        return 4, 10
    # The answer to a write or a further read of an identified function may be empty, that to a read may not.
    if frame.function in (_READ_1997, _READ_2007):
        return _identifier_length(frame.function), DATA_MAX
    return 0, DATA_MAX
