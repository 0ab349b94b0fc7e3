"""Time as a dependency: whoever needs the hour is handed a clock."""

from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

# The city's local time: UTC+8 all year (docs/domain/README.md, notation).
CITY_TZ = ZoneInfo("Asia/Shanghai")


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock, moved by a fixed offset.

    The offset exists for demos that live on another day; settings refuse it outside of test deployments.
    """

    __slots__ = ("_offset",)

    def __init__(self, offset: timedelta = timedelta(0)) -> None:
        self._offset = offset

    def now(self) -> datetime:
        """The machine's time plus the offset, aware, in UTC."""
        return datetime.now(UTC) + self._offset


class FixedClock:
    """A clock that stands still until it is moved; for tests and replays."""

    __slots__ = ("_at",)

    def __init__(self, at: datetime) -> None:
        self._at = _aware(at)

    def now(self) -> datetime:
        """The moment it was set to, aware, in UTC."""
        return self._at

    def advance(self, step: timedelta | None = None, /, **parts: float) -> datetime:
        """Move by `step`, or by the parts of one (`advance(hours=2)`); returns the new moment.

        Raises:
            ValueError: The step is negative; a clock that must run back is `set` on purpose.
        """
        by = (step or timedelta(0)) + timedelta(**parts)
        if by < timedelta(0):
            raise ValueError("advance goes forward only; use set to go back")
        self._at += by
        return self._at

    def set(self, at: datetime) -> None:
        """Put the clock to another moment, earlier ones included.

        Raises:
            ValueError: The moment has no zone.
        """
        self._at = _aware(at)


def _aware(at: datetime) -> datetime:
    if at.tzinfo is None or at.utcoffset() is None:
        raise ValueError("a moment needs its zone: naive datetimes are refused")
    return at.astimezone(UTC)
