"""Fields at fixed places, and how their bytes are read. What a layout does not name is unknown, never guessed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum, auto

from libs.clock import CITY_TZ

Value = int | str | bytes | date | datetime | None


class As(Enum):
    """How bytes are read."""

    BYTES = auto()  # no meaning of its own
    DIGITS = auto()  # packed decimal digits
    NUMBER = auto()  # most significant byte first
    FEN = auto()  # a sum, likewise
    DATE = auto()  # YYYYMMDD, packed
    TIME = auto()  # hhmmss, packed
    STAMP = auto()  # YYYYMMDDhhmmss, packed
    INSTITUTION = auto()  # digits, then F
    TEXT = auto()  # GB 18030, padded with 00, 20 or FF
    ASCII = auto()  # likewise
    CODE = auto()  # one of a table


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a layout.

    Attributes:
        name: In code.
        zh: Name for people.
        en: The same.
        offset: Zero-based.
        size: In bytes.
        as_: How to read it.
        codes: For `As.CODE`: value -> (中文, English).
    """

    name: str
    zh: str
    en: str
    offset: int
    size: int
    as_: As = As.BYTES
    codes: Mapping[int, tuple[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A file or record.

    Attributes:
        name: Of the file, such as `0015`.
        zh: What it is, for people.
        en: The same.
        size: In bytes; longer data is shown to its end.
        fields: In order of their offsets, without overlap.
    """

    name: str
    zh: str
    en: str
    size: int
    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        end = 0
        for field in self.fields:
            assert field.offset >= end, f"{self.name}: {field.name} overlaps the field before it"
            end = field.offset + field.size
        assert end <= self.size, f"{self.name}: {field.name} ends behind the layout"


@dataclass(frozen=True, slots=True)
class Reading:
    """One field as it was found.

    Attributes:
        name: Of the field; empty for bytes that the layout does not name.
        zh: Name for people.
        en: The same.
        offset: Where it stands.
        raw: Its bytes.
        value: What they say; None when they are not what the field should hold.
        text: The value for people, in Chinese and English where words are needed.
    """

    name: str
    zh: str
    en: str
    offset: int
    raw: bytes
    value: Value
    text: str


def decode(layout: Layout, data: bytes) -> tuple[Reading, ...]:
    """Every byte of `data`, once, in order: fields of the layout, and unknown bytes between and behind them.

    Data may be shorter than the layout (cards have older versions of a file): fields that are cut short are unknown.
    """
    readings: list[Reading] = []
    at = 0
    for field in layout.fields:
        if field.offset + field.size > len(data):
            break
        if field.offset > at:
            readings.append(_unknown(data, at, field.offset))
        raw = data[field.offset : field.offset + field.size]
        value = _READERS[field.as_](raw, field)
        readings.append(Reading(field.name, field.zh, field.en, field.offset, raw, value, _text(field, raw, value)))
        at = field.offset + field.size
    if at < len(data):
        readings.append(_unknown(data, at, len(data)))
    return tuple(readings)


def values(layout: Layout, data: bytes) -> dict[str, Value]:
    """The values by field name; unknown bytes are left out, fields that are cut short are missing."""
    return {reading.name: reading.value for reading in decode(layout, data) if reading.name}


def _unknown(data: bytes, start: int, end: int) -> Reading:
    raw = data[start:end]
    return Reading("", "未知", "unknown", start, raw, raw, raw.hex().upper())


def _digits(raw: bytes, _: Field) -> Value:
    text = raw.hex()
    return text if text.isdecimal() else None


def _number(raw: bytes, _: Field) -> Value:
    return int.from_bytes(raw, "big")


def _date(raw: bytes, _: Field) -> Value:
    try:
        return datetime.strptime(raw.hex(), "%Y%m%d").replace(tzinfo=CITY_TZ).date()
    except ValueError:
        return None


def _time(raw: bytes, _: Field) -> Value:
    try:
        return datetime.strptime(raw.hex(), "%H%M%S").replace(tzinfo=CITY_TZ).strftime("%H:%M:%S")
    except ValueError:
        return None


def _stamp(raw: bytes, _: Field) -> Value:
    try:
        return datetime.strptime(raw.hex(), "%Y%m%d%H%M%S").replace(tzinfo=CITY_TZ)
    except ValueError:
        return None


def _institution(raw: bytes, _: Field) -> Value:
    text = raw.hex().upper().rstrip("F")
    return text if text.isdecimal() else None


def _words(encoding: str) -> Callable[[bytes, Field], Value]:
    def read(raw: bytes, _: Field) -> Value:
        try:
            return raw.rstrip(b"\x00\x20\xff").decode(encoding)
        except UnicodeDecodeError:
            return None

    return read


def _code(raw: bytes, field: Field) -> Value:
    value = int.from_bytes(raw, "big")
    return value if value in (field.codes or {}) else None


_READERS: dict[As, Callable[[bytes, Field], Value]] = {
    As.BYTES: lambda raw, _: raw,
    As.DIGITS: _digits,
    As.NUMBER: _number,
    As.FEN: _number,
    As.DATE: _date,
    As.TIME: _time,
    As.STAMP: _stamp,
    As.INSTITUTION: _institution,
    As.TEXT: _words("gb18030"),
    As.ASCII: _words("ascii"),
    As.CODE: _code,
}


def _text(field: Field, raw: bytes, value: Value) -> str:
    """For people; bytes that are not what the field should hold are shown as they are."""
    shown = raw.hex().upper()
    if value is None:
        return f"{shown} (无法识别 not recognised)"
    if field.as_ is As.CODE:
        assert field.codes is not None, "a code has its table"
        assert isinstance(value, int), "a code is a number"
        zh, en = field.codes[value]
        return f"{shown} {zh} {en}"
    if field.as_ is As.FEN:
        assert isinstance(value, int), "a sum is a number"
        return f"{value // 100}.{value % 100:02d} 元 yuan"
    if isinstance(value, bytes):
        return shown
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(value)
