"""Calendars and day rules against a real database."""

import uuid
from datetime import date, datetime, time, timedelta

import pytest

from libs.runtime.requests import RequestKey
from services.clearing.application.calendars import Calendars, PublishCalendar, SetDayRule
from services.clearing.domain.calendar import CalendarVersion, DayRule
from services.clearing.domain.errors import ParticipantUnknown, TimeZoneUnknown
from services.clearing.domain.errors_settlement import CalendarExists, CalendarUnknown, DayBegun, DayClosed

from .conftest import Centre, a_batch
from .test_results_and_windows import DAY, NOON, a_city, rides


def a_key() -> RequestKey:
    return RequestKey("citycard://administrator/test", "test/Test", str(uuid.uuid4()), bytes(32))


FRIDAY = date(2025, 1, 3)
CITY = CalendarVersion("city", date(2025, 1, 3), (6, 7), (date(2025, 1, 6),), (date(2025, 1, 4),))


async def test_payout_follows_the_calendar_that_a_participant_was_given(centre: Centre) -> None:
    await a_city(centre)
    publish, set_rule = PublishCalendar(centre.unit_of_work), SetDayRule(centre.unit_of_work, centre.clock)
    assert await publish(CITY, a_key()) == CITY
    assert await publish(CITY, a_key()) == CITY
    rule = DayRule(FRIDAY, time(22), "Asia/Shanghai", "city")
    assert await set_rule("bus", rule, a_key()) == rule
    centre.gateway.store("bus", a_batch(rides(centre, 10), 1), NOON)
    centre.gateway.store("bus", a_batch(rides(centre, 10, first_seq=50, counter=1), 2), NOON + timedelta(days=1))
    centre.clock.advance(timedelta(days=2))
    await centre.judge_all()
    # The day before the rule: Monday to Friday; the day of the rule: a make-up Saturday.
    assert (await centre.close_window("bus", DAY)).payout_date == date(2025, 1, 3)
    assert (await centre.close_window("bus", FRIDAY)).payout_date == date(2025, 1, 4)
    assert [line for line in (await centre.prove()).lines if line.broken and line.invariant != "I10"] == []
    with pytest.raises(DayClosed):
        await publish(CalendarVersion("city", FRIDAY - timedelta(days=1), (7,), (), ()), a_key())
    with pytest.raises(CalendarExists):
        await publish(CalendarVersion("city", FRIDAY, (7,), (), ()), a_key())


async def test_a_day_that_has_begun_keeps_its_end(centre: Centre) -> None:
    await a_city(centre)
    set_rule, reads = SetDayRule(centre.unit_of_work, centre.clock), Calendars(centre.unit_of_work)
    # It is 21:00 of the second: the second has begun, the third has not.
    with pytest.raises(DayBegun):
        await set_rule("bus", DayRule(DAY, time(2), "Asia/Shanghai"), a_key())
    with pytest.raises(CalendarUnknown):
        await set_rule("bus", DayRule(FRIDAY, time(2), "Asia/Shanghai", "nowhere"), a_key())
    with pytest.raises(TimeZoneUnknown):
        await set_rule("bus", DayRule(FRIDAY, time(2), "Mars/Olympus"), a_key())
    with pytest.raises(ParticipantUnknown):
        await set_rule("tram", DayRule(FRIDAY, time(2), "Asia/Shanghai"), a_key())
    rule = DayRule(FRIDAY, time(2), "Asia/Shanghai")
    assert await set_rule("bus", rule, a_key()) == await set_rule("bus", rule, a_key())
    with pytest.raises(DayBegun):
        await set_rule("bus", DayRule(FRIDAY, time(3), "Asia/Shanghai"), a_key())
    assert [one.cut_off for one in await reads.rules("bus")] == [time(22), time(2)]
    day = await reads.settlement_day("bus", datetime.fromisoformat("2025-01-03T01:59:59+08:00"))
    assert (day.settlement_date, day.ends_at.isoformat()) == (FRIDAY, "2025-01-03T02:00:00+08:00")
    # Another participant's days are its own.
    theirs = await reads.settlement_day("metro", datetime.fromisoformat("2025-01-03T03:00:00+08:00"))
    assert theirs.settlement_date == FRIDAY


async def test_no_calendar_holds_before_its_first_version(centre: Centre) -> None:
    reads = Calendars(centre.unit_of_work)
    with pytest.raises(CalendarUnknown):
        await reads.on("city", FRIDAY)
    await PublishCalendar(centre.unit_of_work)(CITY, a_key())
    assert await reads.on("city", FRIDAY) == CITY
    with pytest.raises(CalendarUnknown):
        await reads.on("city", DAY)
    assert await reads.page(None, 10) == [CITY]
