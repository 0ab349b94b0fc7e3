"""Calendars and day rules in SQL."""

from datetime import date
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.clearing.domain.calendar import CalendarVersion, DayRule

_COLUMNS = "calendar, effective_on, rest_weekdays, holidays, make_up_days"


def _to_version(row: Row[Any]) -> CalendarVersion:
    return CalendarVersion(
        calendar=row.calendar,
        effective_on=row.effective_on,
        rest_weekdays=tuple(row.rest_weekdays),
        holidays=tuple(row.holidays),
        make_up_days=tuple(row.make_up_days),
    )


class SqlCalendars:
    """Calendars on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, version: CalendarVersion) -> bool:
        """Store a version; False when one of the calendar begins on the same day."""
        statement = text(
            f"INSERT INTO calendar_version ({_COLUMNS}) VALUES (:calendar, :day, :rest, :holidays, :make_up) "
            "ON CONFLICT DO NOTHING RETURNING calendar"
        )
        values = {
            "calendar": version.calendar,
            "day": version.effective_on,
            "rest": list(version.rest_weekdays),
            "holidays": list(version.holidays),
            "make_up": list(version.make_up_days),
        }
        return (await self._connection.execute(statement, values)).first() is not None

    async def versions(self, calendar: str) -> list[CalendarVersion]:
        """All versions of a calendar, by first day."""
        query = text(f"SELECT {_COLUMNS} FROM calendar_version WHERE calendar = :calendar ORDER BY effective_on")
        return [_to_version(row) for row in await self._connection.execute(query, {"calendar": calendar})]

    async def page(self, after: tuple[str, str] | None, size: int) -> list[CalendarVersion]:
        """Versions by calendar and first day."""
        query = text(
            f"SELECT {_COLUMNS} FROM calendar_version WHERE (calendar, effective_on) > (:calendar, CAST(:day AS date)) "
            "ORDER BY calendar, effective_on LIMIT :size"
        )
        calendar, day = after or ("", "-infinity")
        values = {"calendar": calendar, "day": day, "size": size}
        return [_to_version(row) for row in await self._connection.execute(query, values)]

    async def closed_since(self, calendar: str, day: date) -> tuple[str, date] | None:
        """A closed window on or after a day whose payout was computed by the calendar."""
        query = text(
            "SELECT p.id, s.settlement_date FROM statement s JOIN participant p ON p.number = s.participant "
            "WHERE s.settlement_date >= :day AND :calendar = (SELECT r.calendar FROM day_rule r "
            "WHERE r.participant = p.number AND r.effective_on <= s.settlement_date "
            "ORDER BY r.effective_on DESC LIMIT 1) ORDER BY s.settlement_date, p.id LIMIT 1"
        )
        row = (await self._connection.execute(query, {"calendar": calendar, "day": day})).first()
        return (row.id, row.settlement_date) if row else None

    async def newest_window(self, participant: int) -> date | None:
        """The latest window of a participant, open or closed."""
        query = text("SELECT max(settlement_date) FROM settlement_window WHERE participant = :participant")
        newest: date | None = (await self._connection.execute(query, {"participant": participant})).scalar()
        return newest

    async def add_rule(self, participant: int, rule: DayRule) -> None:
        """Store a rule; the caller has looked that none stands on or after its first day."""
        await self._connection.execute(
            text("INSERT INTO day_rule VALUES (:participant, :day, :cut_off, :zone, :calendar)"),
            {
                "participant": participant,
                "day": rule.effective_on,
                "cut_off": rule.cut_off,
                "zone": rule.time_zone,
                "calendar": rule.calendar,
            },
        )
