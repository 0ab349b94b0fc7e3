"""PublishCalendar, SetDayRule and the reads of calendars: working days and ends of days as versioned data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.clearing.application.messages import window_name
from services.clearing.application.ports import UnitOfWork
from services.clearing.application.terms import calendar_of
from services.clearing.domain.calendar import CalendarVersion, DayRule, version_on
from services.clearing.domain.errors import ParticipantUnknown
from services.clearing.domain.errors_settlement import CalendarExists, CalendarUnknown, DayBegun, DayClosed
from services.clearing.domain.participant import Participant, zone_of


@dataclass(frozen=True, slots=True)
class SettlementDay:
    """One settlement day: its date, the instant at which it ends, and when it is paid out."""

    settlement_date: date
    ends_at: datetime
    payout_date: date


class PublishCalendar:
    """Puts a version of a calendar in force from a settlement date on."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, version: CalendarVersion, request: RequestKey) -> CalendarVersion:
        """Store it; the same version again is answered as it stands.

        Raises:
            CalendarInvalid, CalendarExists, DayClosed: In this order.
        """
        version.check()
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: CalendarVersion = await uow.requests.first_answer(request, CalendarVersion)
                return first
            if not await uow.calendars.add(version):
                known = {one.effective_on: one for one in await uow.calendars.versions(version.calendar)}
                if known[version.effective_on] != version:
                    raise CalendarExists(calendar=version.calendar, effective_date=version.effective_on.isoformat())
            else:
                closed = await uow.calendars.closed_since(version.calendar, version.effective_on)
                if closed is not None:
                    raise DayClosed(window=window_name(*closed))
            await uow.requests.answer(request, version)
            await uow.commit()
        return version


class SetDayRule:
    """Changes how a participant's days end."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, participant: str, rule: DayRule, request: RequestKey) -> DayRule:
        """Store the rule; days that have begun end as they were going to.

        Raises:
            TimeZoneUnknown, ParticipantUnknown, CalendarUnknown, DayBegun: In this order.
        """
        zone_of(rule.time_zone)
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: DayRule = await uow.requests.first_answer(request, DayRule)
                return first
            found = await _participant(uow, participant)
            if rule.calendar and not await uow.calendars.versions(rule.calendar):
                raise CalendarUnknown(calendar=rule.calendar)
            last = found.day_rules[-1] if found.day_rules else None
            if rule != last:
                begun = found.settlement_date(self._clock.now())
                newest = await uow.calendars.newest_window(found.number)
                begun = max(begun, newest) if newest else begun
                if rule.effective_on <= begun or (last and rule.effective_on <= last.effective_on):
                    raise DayBegun(participant=participant, settlement_date=rule.effective_on.isoformat())
                await uow.calendars.add_rule(found.number, rule)
            await uow.requests.answer(request, rule)
            await uow.commit()
        return rule


class Calendars:
    """Reads of calendars and days."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def on(self, calendar: str, settlement_date: date) -> CalendarVersion:
        """The version of a calendar that holds for a day.

        Raises:
            CalendarUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            versions: Sequence[CalendarVersion] = await uow.calendars.versions(calendar)
        found = version_on(versions, settlement_date)
        if found not in versions:
            raise CalendarUnknown(calendar=calendar)
        return found

    async def page(self, after: tuple[str, str] | None, size: int) -> list[CalendarVersion]:
        """Versions of all calendars, by name and first day."""
        async with self._unit_of_work() as uow:
            return list(await uow.calendars.page(after, size))

    async def rules(self, participant: str) -> list[DayRule]:
        """The rules of a participant's days, that of its registration first.

        Raises:
            ParticipantUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            found = await _participant(uow, participant)
        return [found.day_rule(date.min), *found.day_rules]

    async def settlement_day(self, participant: str, accepted_at: datetime) -> SettlementDay:
        """The day that an upload accepted at an instant settles on.

        Raises:
            ParticipantUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            found = await _participant(uow, participant)
            day = found.settlement_date(accepted_at)
            calendar = await calendar_of(uow, found, day)
        return SettlementDay(day, found.cut_off_instant(day), calendar.working_day_after(day))


async def _participant(uow: UnitOfWork, participant: str) -> Participant:
    found: Participant | None = await uow.participants.find(participant)
    if found is None:
        raise ParticipantUnknown(participant=participant)
    return found
