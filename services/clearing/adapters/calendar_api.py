"""CalendarService over gRPC: translate, call one use case, translate back."""

from dataclasses import dataclass
from datetime import date, time

from citycard.clearing.v1 import calendar_service_pb2 as service
from citycard.clearing.v1.calendar_service_pb2_grpc import CalendarServiceServicer
from citycard.common.v1 import types_pb2

from libs.clock import Clock
from libs.runtime.identity import Context, caller
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.clearing.adapters.reading import bare, day_of
from services.clearing.application.calendars import Calendars, PublishCalendar, SetDayRule
from services.clearing.application.messages import day, instant, timestamp
from services.clearing.domain.calendar import CalendarVersion, DayRule
from services.clearing.domain.participant import CUT_OFF_DEFAULT, TIME_ZONE_DEFAULT


def day_to_pb(value: date) -> types_pb2.Date:
    """One day."""
    return types_pb2.Date(year=value.year, month=value.month, day=value.day)


def calendar_to_pb(version: CalendarVersion) -> service.Calendar:
    """One version."""
    return service.Calendar(
        name=f"calendars/{version.calendar}",
        effective_date=day(version.effective_on),
        rest_weekdays=version.rest_weekdays,
        holidays=[day_to_pb(one) for one in version.holidays],
        make_up_days=[day_to_pb(one) for one in version.make_up_days],
    )


def rule_to_pb(participant: str, rule: DayRule) -> service.DayRule:
    """One rule."""
    return service.DayRule(
        participant=f"participants/{participant}",
        effective_date=None if rule.effective_on == date.min else day(rule.effective_on),
        cut_off=rule.cut_off.isoformat(),
        time_zone=rule.time_zone,
        calendar=f"calendars/{rule.calendar}" if rule.calendar else "",
    )


@dataclass(frozen=True, slots=True)
class CalendarUseCases:
    """Everything that the API calls."""

    publish: PublishCalendar
    set_day_rule: SetDayRule
    reads: Calendars
    clock: Clock


class CalendarApi(CalendarServiceServicer):
    """The servicer."""

    def __init__(self, use_cases: CalendarUseCases) -> None:
        self._do = use_cases

    async def PublishCalendar(self, request: service.PublishCalendarRequest, context: Context) -> service.Calendar:
        wanted = request.calendar
        version = CalendarVersion(
            calendar=bare(wanted.name),
            effective_on=day_of("calendar.effective_date", wanted.effective_date),
            rest_weekdays=tuple(sorted(set(wanted.rest_weekdays))),
            holidays=tuple(sorted({day_of("calendar.holidays", one) for one in wanted.holidays})),
            make_up_days=tuple(sorted({day_of("calendar.make_up_days", one) for one in wanted.make_up_days})),
        )
        return calendar_to_pb(await self._do.publish(version, request_key(request, context)))

    async def GetCalendar(self, request: service.GetCalendarRequest, context: Context) -> service.Calendar:
        wanted = day_of("settlement_date", request.settlement_date)
        return calendar_to_pb(await self._do.reads.on(bare(request.name), wanted))

    async def ListCalendars(
        self, request: service.ListCalendarsRequest, context: Context
    ) -> service.ListCalendarsResponse:
        after = page_key("ListCalendars", request.page_token, (str, str))
        size = page_size(request.page_size)
        page = await self._do.reads.page((str(after[0]), str(after[1])) if after else None, size)
        last = (page[-1].calendar, page[-1].effective_on.isoformat()) if len(page) == size else ()
        token = page_token("ListCalendars", last) if last else ""
        return service.ListCalendarsResponse(calendars=map(calendar_to_pb, page), next_page_token=token)

    async def SetDayRule(self, request: service.SetDayRuleRequest, context: Context) -> service.DayRule:
        rule = DayRule(
            effective_on=day_of("effective_date", request.effective_date),
            cut_off=time.fromisoformat(request.cut_off) if request.cut_off else CUT_OFF_DEFAULT,
            time_zone=request.time_zone or TIME_ZONE_DEFAULT,
            calendar=bare(request.calendar) if request.calendar else "",
        )
        participant = bare(request.participant)
        return rule_to_pb(participant, await self._do.set_day_rule(participant, rule, request_key(request, context)))

    async def ListDayRules(
        self, request: service.ListDayRulesRequest, context: Context
    ) -> service.ListDayRulesResponse:
        participant = bare(request.participant)
        caller(context).must_own(participant)
        rules = await self._do.reads.rules(participant)
        return service.ListDayRulesResponse(rules=[rule_to_pb(participant, one) for one in rules])

    async def GetSettlementDay(
        self, request: service.GetSettlementDayRequest, context: Context
    ) -> service.SettlementDay:
        participant = bare(request.participant)
        caller(context).must_own(participant)
        accepted = instant(request.accept_time) if request.HasField("accept_time") else self._do.clock.now()
        found = await self._do.reads.settlement_day(participant, accepted)
        return service.SettlementDay(
            settlement_date=day(found.settlement_date),
            end_time=timestamp(found.ends_at),
            payout_date=day(found.payout_date),
        )
