"""Calendars (工作日历) and the rules by which a participant's days end (clearing-and-ledger.md, section 2).

Both are data with versions: a version holds from a settlement date on and is never changed, so that every day can be
computed again as it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta

from services.clearing.domain.errors_settlement import CalendarInvalid

# Nobody rests for a whole year: a calendar that says so is mistaken.
_SEARCH_DAYS = 366
_WEEK = 7


@dataclass(frozen=True, slots=True)
class CalendarVersion:
    """Working days, from a settlement date on.

    Attributes:
        calendar: Last part of its resource name; empty for the calendar that everybody has who was given none.
        effective_on: First settlement date that it holds for.
        rest_weekdays: Days of the week without work, 1 Monday to 7 Sunday, ascending.
        holidays: Public holidays (法定节假日), ascending.
        make_up_days: Working days (调休上班日) that fall on rest days, ascending.
    """

    calendar: str
    effective_on: date
    rest_weekdays: tuple[int, ...]
    holidays: tuple[date, ...]
    make_up_days: tuple[date, ...]

    def check(self) -> None:
        """Let pass a calendar by which somebody works.

        Raises:
            CalendarInvalid: A weekday is none, a day is both holiday and make-up day, or nobody ever works.
        """
        if any(not 1 <= one <= _WEEK for one in self.rest_weekdays):
            raise CalendarInvalid(fault="WEEKDAY", where="rest_weekdays")
        both = sorted(set(self.holidays) & set(self.make_up_days))
        if both:
            raise CalendarInvalid(fault="HOLIDAY_AND_MAKE_UP", where=both[0].isoformat())
        if len(set(self.rest_weekdays)) == _WEEK:
            raise CalendarInvalid(fault="NO_WORKING_DAY", where="rest_weekdays")

    def works(self, day: date) -> bool:
        """Whether a day is a working day (工作日)."""
        if day in self.make_up_days:
            return True
        return day not in self.holidays and day.isoweekday() not in self.rest_weekdays

    def working_day_after(self, day: date, count: int = 1) -> date:
        """The working day that is `count` working days after a day; the payout date is the first.

        Raises:
            CalendarInvalid: There is none within a year.
        """
        for step in range(1, _SEARCH_DAYS * max(count, 1)):
            later = day + timedelta(days=step)
            count -= self.works(later)
            if not count:
                return later
        raise CalendarInvalid(fault="NO_WORKING_DAY", where=day.isoformat())


@dataclass(frozen=True, slots=True)
class DayRule:
    """How a participant's days end, from a settlement date on.

    Attributes:
        effective_on: First settlement date that it holds for.
        cut_off: Local time of day at which a settlement day ends.
        time_zone: Of the cut-off.
        calendar: Id of the calendar of its payouts; empty for Monday to Friday.
    """

    effective_on: date
    cut_off: time
    time_zone: str
    calendar: str = ""


WEEKDAYS = CalendarVersion("", date.min, (6, 7), (), ())
"""Monday to Friday: what holds where no calendar was given [convention]."""


def version_on(versions: Sequence[CalendarVersion], day: date) -> CalendarVersion:
    """The version in force for a settlement date: the latest that has begun; Monday to Friday before the first."""
    begun = [one for one in versions if one.effective_on <= day]
    return max(begun, key=lambda one: one.effective_on) if begun else WEEKDAYS
