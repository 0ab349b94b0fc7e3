"""Tags, lengths and values of ISO 7816-4 as cards answer them (card-files.md, section 1). Tolerant: cards are not ours.

What cannot be parsed is left out; a reader that needs a tag looks for it and does without.
"""

from collections.abc import Iterator
from typing import NamedTuple

_CONSTRUCTED = 0x20
_MORE_TAG = 0x1F


class Object(NamedTuple):
    """One object and where it stands.

    Attributes:
        start: Of its tag.
        value_start: Of its value.
        tag: All tag bytes as one number.
        value: Its value.
    """

    start: int
    value_start: int
    tag: int
    value: bytes


def objects(data: bytes) -> list[Object]:
    """Each object at this level, as far as the lengths hold."""
    found = []
    at = 0
    while at < len(data):
        if data[at] in (0x00, 0xFF):
            # Padding between objects.
            at += 1
            continue
        start, tag = at, data[at]
        at += 1
        if tag & _MORE_TAG == _MORE_TAG:
            while at < len(data):
                tag = tag << 8 | data[at]
                at += 1
                if not tag & 0x80:
                    break
        size, at = _length(data, at)
        if size is None or at + size > len(data):
            break
        found.append(Object(start, at, tag, data[at : at + size]))
        at += size
    return found


def items(data: bytes) -> list[tuple[int, bytes]]:
    """Tag and value of each object at this level."""
    return [(each.tag, each.value) for each in objects(data)]


def walk(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and value of every object, the contents of constructed ones after each."""
    for tag, value in items(data):
        yield tag, value
        if constructed(tag):
            yield from walk(value)


def constructed(tag: int) -> bool:
    """Whether the value is a list of objects."""
    first = tag
    while first > 0xFF:
        first >>= 8
    return bool(first & _CONSTRUCTED)


def _length(data: bytes, at: int) -> tuple[int | None, int]:
    """Length and where the value begins; None when there is none."""
    if at >= len(data):
        return None, at
    first = data[at]
    if first < 0x80:
        return first, at + 1
    count = first & 0x7F
    if not 1 <= count <= 2 or at + 1 + count > len(data):
        return None, at
    return int.from_bytes(data[at + 1 : at + 1 + count], "big"), at + 1 + count
