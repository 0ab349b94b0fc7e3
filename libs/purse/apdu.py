"""Short command APDUs (purse-protocol.md, section 1)."""

from typing import NamedTuple

DATA_SIZE_MAX = 255


class Command(NamedTuple):
    """A command as a card sees it.

    Attributes:
        cla: Class byte.
        ins: Instruction byte.
        p1: First parameter.
        p2: Second parameter.
        data: Command data, empty in cases 1 and 2.
        le: Expected length; 0 means all; None when the command carries none.
        raw: The whole command, for its MAC.
    """

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes
    le: int | None
    raw: bytes


def parse(apdu: bytes) -> Command | None:
    """The parts of a short APDU of ISO 7816-4 cases 1 to 4; None when its lengths contradict."""
    size = len(apdu)
    if size < 4:
        return None
    if size == 4:
        return Command(apdu[0], apdu[1], apdu[2], apdu[3], b"", None, apdu)
    length = apdu[4]
    if size == 5:
        return Command(apdu[0], apdu[1], apdu[2], apdu[3], b"", length, apdu)
    if not length:
        return None
    if size == 5 + length:
        return Command(apdu[0], apdu[1], apdu[2], apdu[3], apdu[5:], None, apdu)
    if size == 6 + length:
        return Command(apdu[0], apdu[1], apdu[2], apdu[3], apdu[5:-1], apdu[-1], apdu)
    return None


def build(header: bytes, data: bytes = b"", le: int | None = None) -> bytes:
    """The bytes of a command.

    Args:
        header: CLA INS P1 P2.
        data: At most 255 bytes.
        le: 0 to 255; None leaves it out.
    """
    assert len(header) == 4, "CLA INS P1 P2"
    assert len(data) <= DATA_SIZE_MAX, "a short APDU carries at most 255 bytes"
    body = bytes((len(data),)) + data if data else b""
    return header + body + (b"" if le is None else bytes((le,)))
