"""Field encodings of the card: sums, dates and times (docs/domain/README.md, notation)."""

from datetime import date, datetime

from libs.clock import CITY_TZ

AMOUNT_MAX_FEN = 0xFFFF_FFFF


def amount_bytes(amount_fen: int) -> bytes:
    """4 bytes, most significant first; 0 to 2**32-1 fen.

    Raises:
        OverflowError: Outside that range.
    """
    return amount_fen.to_bytes(4, "big")


def limit_bytes(limit_fen: int) -> bytes:
    """An overdraft limit, 3 bytes, most significant first.

    Raises:
        OverflowError: Not 0 to 2**24-1 fen.
    """
    return limit_fen.to_bytes(3, "big")


def date_bytes(day: date) -> bytes:
    """YYYYMMDD, 4 bytes BCD."""
    return bytes.fromhex(f"{day.year:04d}{day.month:02d}{day.day:02d}")


def stamp_bytes(at: datetime) -> bytes:
    """YYYYMMDDhhmmss in city time, 7 bytes BCD; `at` must be aware, fractions of a second are cut."""
    assert at.tzinfo is not None, "a naive time has no place on a card"
    local = at.astimezone(CITY_TZ)
    return bytes.fromhex(
        f"{local.year:04d}{local.month:02d}{local.day:02d}{local.hour:02d}{local.minute:02d}{local.second:02d}"
    )


# An institution id is 8 digits left-aligned in 8 bytes, padded F (card-files.md, section 4).
INSTITUTION_FILL = b"\xff\xff\xff\xff"
