"""Degraded modes (降级模式): what a station does while something is broken, and what follows from it later.

A mode is a period at some stations. It acts while it lasts, and for its after-effect on the trips that it cut: a card
whose trip was left open by a train fault is not charged for it the next day. The log of periods is what both the
terminal and the centre judge by [convention].
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from libs.errors import InvalidInput

AFTER_EFFECT_DEFAULT: Final = timedelta(days=7)


class DegradedMode(Enum):
    """What is suspended."""

    TRAIN_FAULT = "train_fault"
    TIME_FREE = "time_free"
    DATE_FREE = "date_free"
    FARE_FREE = "fare_free"
    ENTRY_FREE = "entry_free"
    EXIT_FREE = "exit_free"
    EMERGENCY = "emergency"


WORDS: Final = {
    DegradedMode.TRAIN_FAULT: ("列车故障模式：本站出站免费", "Train fault: leaving here is free."),
    DegradedMode.TIME_FREE: ("超时免检模式", "No charge for a long stay."),
    DegradedMode.DATE_FREE: ("日期免检模式", "The validity date is not checked."),
    DegradedMode.FARE_FREE: ("车费免检模式：按最低票价", "Every ride costs the lowest fare."),
    DegradedMode.ENTRY_FREE: ("进站免检模式：请直接进站", "Please enter without tapping."),
    DegradedMode.EXIT_FREE: ("出站免检模式：请直接出站", "Please leave without tapping."),
    DegradedMode.EMERGENCY: ("紧急放行：请尽快离开", "Emergency: the gates are open, please leave."),
}
"""Chinese and English, as displays show them."""

_CUTS_TRIPS: Final = frozenset({DegradedMode.TRAIN_FAULT, DegradedMode.EXIT_FREE, DegradedMode.EMERGENCY})


class ModePeriodWrong(InvalidInput):
    """A period ends before it begins, or has a moment without a zone. Facts: `start`, `end`."""

    reason = "MODE_PERIOD_WRONG"


@dataclass(frozen=True, slots=True)
class ModePeriod:
    """One mode, from when to when, and where.

    Attributes:
        mode: Which.
        start: First instant, aware.
        end: First instant after it; None while it lasts.
        stations: Where; empty means everywhere.
        after_effect: How long after its end the trips that it cut are forgiven.
    """

    mode: DegradedMode
    start: datetime
    end: datetime | None = None
    stations: frozenset[int] = frozenset()
    after_effect: timedelta = AFTER_EFFECT_DEFAULT

    def __post_init__(self) -> None:
        """Raises `ModePeriodWrong`."""
        aware = self.start.tzinfo is not None and (self.end is None or self.end.tzinfo is not None)
        if not aware or (self.end is not None and self.end <= self.start):
            raise ModePeriodWrong(start=self.start, end=self.end)

    def covers(self, at: datetime, station: int | None) -> bool:
        """Whether the mode is on then and there; station None asks for any place."""
        here = station is None or not self.stations or station in self.stations
        return here and self.start <= at and (self.end is None or at < self.end)

    def reaches(self, at: datetime) -> bool:
        """Whether it is on, or its after-effect lasts."""
        return self.start <= at and (self.end is None or at < self.end + self.after_effect)


class ModeLog:
    """All periods that still matter, in the order of their beginning.

    Args:
        periods: Known so far, as they were kept.
    """

    __slots__ = ("_periods",)

    def __init__(self, periods: Iterable[ModePeriod] = ()) -> None:
        self._periods = sorted(periods, key=_by_start)

    @property
    def periods(self) -> tuple[ModePeriod, ...]:
        """All of them."""
        return tuple(self._periods)

    def begin(
        self,
        mode: DegradedMode,
        at: datetime,
        stations: frozenset[int] = frozenset(),
        after_effect: timedelta = AFTER_EFFECT_DEFAULT,
    ) -> None:
        """A mode is switched on; one that is on at the same stations stays as it is."""
        if not any(one.mode is mode and one.end is None and one.stations == stations for one in self._periods):
            self._periods.append(ModePeriod(mode, at, None, stations, after_effect))
            self._periods.sort(key=_by_start)

    def end(self, mode: DegradedMode, at: datetime) -> None:
        """A mode is switched off, wherever it is on.

        Raises:
            ModePeriodWrong: It ends before it began.
        """
        self._periods = [replace(one, end=at) if one.mode is mode and one.end is None else one for one in self._periods]

    def forget(self, now: datetime) -> None:
        """Drop what has no effect any more."""
        self._periods = [one for one in self._periods if one.start > now or one.reaches(now)]

    def on(self, mode: DegradedMode, at: datetime, station: int) -> bool:
        """Whether a mode is on then and there."""
        return any(one.mode is mode and one.covers(at, station) for one in self._periods)

    def now(self, at: datetime, station: int) -> tuple[DegradedMode, ...]:
        """Modes that are on then and there."""
        return tuple(mode for mode in DegradedMode if self.on(mode, at, station))

    def trip_was_cut(self, entered_at: datetime, now: datetime) -> bool:
        """Whether an open trip is forgiven: a mode that lets people out untouched was on during it, anywhere."""
        return any(
            one.mode in _CUTS_TRIPS and one.reaches(now) and (one.end is None or one.end > entered_at)
            for one in self._periods
        )

    def assumed_entries(self, now: datetime, within: timedelta) -> frozenset[int] | None:
        """Stations where people lately entered untouched; None when there were none, empty for "anywhere"."""
        found = [
            one
            for one in self._periods
            if one.mode is DegradedMode.ENTRY_FREE and one.start <= now and (one.end is None or now < one.end + within)
        ]
        if not found:
            return None
        if any(not one.stations for one in found):
            return frozenset()
        return frozenset().union(*(one.stations for one in found))


def _by_start(period: ModePeriod) -> datetime:
    return period.start
