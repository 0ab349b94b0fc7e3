"""What the frames of both standards share: wake-up bytes, start and end, sum, packed digits with the low byte first."""

from typing import Final

from libs.meters.errors import ChecksumWrong, DigitsWrong, EndWrong, FrameCut, FrameOverlong, StartWrong

START: Final = 0x68
END: Final = 0x16
WAKE: Final = 0xFE
WAKE_MAX: Final = 4
WILDCARD: Final = "aa"


def awake(octets: bytes) -> bytes:
    """The frame behind its wake-up bytes FE.

    Raises:
        FrameCut: Nothing follows.
        StartWrong: More than four wake-up bytes, or no start byte behind them.
    """
    frame = octets.lstrip(bytes((WAKE,)))
    if not frame:
        raise FrameCut(expected="a frame", found=len(octets))
    if len(octets) - len(frame) > WAKE_MAX or frame[0] != START:
        raise StartWrong(expected="68 after at most four FE", found=octets[: WAKE_MAX + 1].hex())
    return frame


def check_whole(frame: bytes, head_length: int, data_length: int) -> None:
    """Hold a frame against the length that it says, its sum and its end.

    Args:
        frame: From the start byte on.
        head_length: Bytes up to and with the length byte.
        data_length: What that byte says.

    Raises:
        FrameCut, FrameOverlong, EndWrong, ChecksumWrong: In this order.
    """
    expected = head_length + data_length + 2
    if len(frame) < expected:
        raise FrameCut(expected=expected, found=len(frame))
    if len(frame) > expected:
        raise FrameOverlong(expected=expected, found=len(frame))
    if frame[-1] != END:
        raise EndWrong(expected=f"{END:02x}", found=f"{frame[-1]:02x}")
    if checksum(frame[:-2]) != frame[-2]:
        raise ChecksumWrong(expected=f"{checksum(frame[:-2]):02x}", found=f"{frame[-2]:02x}")


def checksum(octets: bytes) -> int:
    """Sum of the bytes modulo 256."""
    return sum(octets) & 0xFF


def address_is_right(text: str) -> bool:
    """Whether an address, high byte first in hexadecimal, is digits, or digits behind wildcard bytes AA."""
    while text.startswith(WILDCARD):
        text = text[2:]
    return not text or text.isdecimal()


def digits_value(octets: bytes) -> int:
    """The number in packed digits, low byte first.

    Raises:
        DigitsWrong: A nibble is no digit.
    """
    text = octets[::-1].hex()
    if not text.isdecimal():
        raise DigitsWrong(found=text)
    return int(text)


def packed_digits(value: int, length: int) -> bytes:
    """Write a number as packed digits, low byte first.

    Raises:
        DigitsWrong: Negative, or more digits than fit.
    """
    text = f"{value:0{2 * length}d}"
    if value < 0 or len(text) > 2 * length:
        raise DigitsWrong(found=value)
    return bytes.fromhex(text)[::-1]
