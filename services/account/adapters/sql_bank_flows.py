"""Flows and their operations in PostgreSQL; what the books hold for them stands in their reservations."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import date, datetime
from typing import Any
from uuid import UUID

from services.account.adapters.driver import Driver, Row
from services.account.adapters.sql_reservations import PostgresReservations
from services.account.application.bank_ports import NumberedFlow
from services.account.domain.bank_errors import BankFlowUnknown, BankOperationUnknown
from services.account.domain.bank_flow import BankFlow, FlowKind, FlowState
from services.account.domain.bank_leg import BankLeg, Direction, LegState
from services.account.domain.purse import PurseKey

_ADD = (
    "INSERT INTO bank_flow (flow_id, kind, state, create_time, deadline, next_time, refusal, purse) VALUES"
    " (%(flow)s, %(kind)s, %(state)s, %(create_time)s, %(deadline)s, %(next_time)s, %(refusal)s, %(purse)s)"
)
_ADD_LEG = (
    "INSERT INTO bank_leg (operation_id, flow_id, leg_number, bank, direction, account_token, amount_fen,"
    " business_date, state, sent, doubt, promised, attempts, reference, refusal) VALUES (%(operation)s, %(flow)s,"
    " %(leg_number)s, %(bank)s, %(direction)s, %(account_token)s, %(amount_fen)s, %(business_date)s, %(state)s,"
    " %(sent)s, %(doubt)s, %(promised)s, %(attempts)s, %(reference)s, %(refusal)s)"
)
_SAVE = (
    "UPDATE bank_flow SET state = %(state)s, next_time = %(next_time)s, refusal = %(refusal)s, undo_id = %(undo)s"
    " WHERE flow_id = %(flow)s"
)
_SAVE_LEG = (
    "UPDATE bank_leg SET state = %(state)s, sent = %(sent)s, doubt = %(doubt)s, promised = %(promised)s,"
    " attempts = %(attempts)s, reference = %(reference)s, refusal = %(refusal)s WHERE operation_id = %(operation)s"
)
# Whoever matches the day has taken the same lock alone: either it sees this change, or the day is matched again.
_SHARE_DAY = "SELECT pg_advisory_xact_lock_shared(hashtextextended(%(bank)s || %(date)s, 0))"
# Files that mention the operation under another day are matched again too.
_STALE = (
    "UPDATE bank_file SET stale = true WHERE current AND NOT stale AND bank = %(bank)s AND (business_date = %(date)s"
    " OR file_id IN (SELECT file_id FROM bank_file_line WHERE operation_id = %(operation)s))"
)
_FLOW = (
    "SELECT flow_id, kind, state, create_time, deadline, next_time, refusal, undo_id, purse, flow_number FROM bank_flow"
)
_GET = f"{_FLOW} WHERE flow_id = %(flow)s"
_LOCK = f"{_GET} FOR NO KEY UPDATE"
_LIST = (
    f"{_FLOW} WHERE flow_number > %(after)s AND (%(state)s = '' OR state = %(state)s) AND (%(bank)s = '' OR EXISTS"
    " (SELECT FROM bank_leg WHERE bank_leg.flow_id = bank_flow.flow_id AND bank_leg.bank = %(bank)s))"
    " ORDER BY flow_number LIMIT %(limit)s"
)
_LEGS = (
    "SELECT bank, direction, operation_id, account_token, amount_fen, business_date, state, sent, doubt, promised,"
    " attempts, reference, refusal FROM bank_leg WHERE flow_id = %(flow)s ORDER BY leg_number"
)
_FLOW_OF = "SELECT flow_id FROM bank_leg WHERE operation_id = %(operation)s AND bank = %(bank)s"
_DUE = (
    "SELECT flow_id FROM (SELECT flow_id, next_time, row_number() OVER (PARTITION BY bank ORDER BY next_time) AS place"
    " FROM bank_flow JOIN bank_leg USING (flow_id) WHERE next_time <= %(now)s) AS waiting"
    " WHERE place <= %(per_bank)s GROUP BY flow_id ORDER BY min(next_time)"
)


class PostgresBankFlows:
    """`FlowRepository` of one transaction."""

    def __init__(self, driver: Driver, reservations: PostgresReservations) -> None:
        self._driver = driver
        self._reservations = reservations

    async def add(self, flow: BankFlow) -> None:
        """See the port."""
        await self._driver.execute(_ADD, _flow_values(flow))
        for number, leg in enumerate(flow.legs, 1):
            await self._driver.execute(_ADD_LEG, {**_leg_values(leg), "flow": flow.id, "leg_number": number})

    async def get(self, flow_id: UUID) -> BankFlow:
        """See the port."""
        return await self._one(_GET, flow_id)

    async def get_for_update(self, flow_id: UUID) -> BankFlow:
        """See the port."""
        return await self._one(_LOCK, flow_id)

    async def save(self, before: BankFlow, flow: BankFlow) -> None:
        """See the port."""
        await self._driver.execute(_SAVE, _flow_values(flow))
        moved = [
            (old, leg)
            for old, leg in zip(before.legs, flow.legs, strict=True)
            if (old.state, before.state) != (leg.state, flow.state)
        ]
        days: set[tuple[str, date]] = {(leg.bank, leg.business_date) for _, leg in moved}
        for bank, day in sorted(days):
            await self._driver.execute(_SHARE_DAY, {"bank": bank, "date": day.isoformat()})
        for old, leg in zip(before.legs, flow.legs, strict=True):
            if old != leg:
                await self._driver.execute(_SAVE_LEG, _leg_values(leg))
        for _, leg in moved:
            values = {"bank": leg.bank, "date": leg.business_date, "operation": leg.operation}
            await self._driver.execute(_STALE, values)

    async def flow_of(self, bank: str, operation: UUID) -> UUID:
        """See the port."""
        rows = await self._driver.fetch(_FLOW_OF, {"operation": operation, "bank": bank})
        if not rows:
            raise BankOperationUnknown(operation=operation)
        return UUID(str(rows[0][0]))

    async def due(self, now: datetime, per_bank: int) -> list[UUID]:
        """See the port."""
        return [row[0] for row in await self._driver.fetch(_DUE, {"now": now, "per_bank": per_bank})]

    async def list_page(self, after: int, limit: int, bank: str, state: FlowState | None) -> list[NumberedFlow]:
        """See the port."""
        values = {"after": after, "limit": limit, "bank": bank, "state": state.value if state else ""}
        return [NumberedFlow(row[-1], await self._flow(row)) for row in await self._driver.fetch(_LIST, values)]

    async def _one(self, statement: str, flow_id: UUID) -> BankFlow:
        rows = await self._driver.fetch(statement, {"flow": flow_id})
        if not rows:
            raise BankFlowUnknown(flow=flow_id)
        return await self._flow(rows[0])

    async def _flow(self, row: Row) -> BankFlow:
        flow_id, kind, state, create_time, deadline, next_time, refusal, undo, purse, _ = row
        reservation = await self._reservations.get(flow_id)
        undoing = None if undo is None else await self._reservations.get(undo)
        return BankFlow(
            id=flow_id,
            kind=FlowKind(kind),
            posting=reservation.posting,
            state=FlowState(state),
            legs=_legs(await self._driver.fetch(_LEGS, {"flow": flow_id})),
            create_time=create_time,
            deadline=deadline,
            next_time=next_time,
            refusal=refusal,
            undo=undo,
            purse=PurseKey.parse(purse) if purse else None,
            journal=reservation.journal,
            undo_journal=None if undoing is None else undoing.journal,
        )


def _flow_values(flow: BankFlow) -> dict[str, Any]:
    return {
        "flow": flow.id,
        "kind": flow.kind.value,
        "state": flow.state.value,
        "create_time": flow.create_time,
        "deadline": flow.deadline,
        "next_time": flow.next_time,
        "refusal": flow.refusal,
        "undo": flow.undo,
        "purse": "" if flow.purse is None else flow.purse.name,
    }


def _leg_values(leg: BankLeg) -> dict[str, Any]:
    values = {field.name: getattr(leg, field.name) for field in fields(leg)}
    return values | {"direction": leg.direction.value, "state": leg.state.value}


def _legs(rows: Sequence[Row]) -> tuple[BankLeg, ...]:
    return tuple(
        BankLeg(row[0], Direction(row[1]), row[2], row[3], row[4], row[5], LegState(row[6]), *row[7:]) for row in rows
    )
