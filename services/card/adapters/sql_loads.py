"""Loads in PostgreSQL."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Integer, Row, and_, cast, func, insert, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.card.adapters.sql_tables import LOAD
from services.card.application.ports import LoadFilter
from services.card.domain.errors import LoadUnknown
from services.card.domain.load import (
    OPEN_STATES,
    CardSight,
    Evidence,
    Load,
    LoadOrder,
    LoadState,
    Tender,
    Verdict,
)

_L = LOAD.c
# Written out, not bound: the planner must see that the partial indexes apply.
_OPEN: ColumnElement[bool] = _L.state.in_([state.value for state in sorted(OPEN_STATES)])


def _load(row: Row[Any]) -> Load:
    order = LoadOrder(
        card=row.card,
        amount_fen=row.amount_fen,
        outlet=row.outlet,
        terminal_number=row.terminal_number,
        answer_a=bytes(row.answer_a),
        tender=Tender(row.tender),
    )
    return Load(
        id=str(row.id),
        order=order,
        generation=row.generation,
        state=LoadState(row.state),
        verdict=Verdict(row.verdict) if row.verdict else None,
        evidence=Evidence(row.evidence) if row.evidence else None,
        reservation=row.reservation,
        mac2=bytes(row.mac2),
        tac=bytes(row.tac),
        host_time=row.host_time,
        create_time=row.create_time,
        expire_time=row.expire_time,
        resolve_time=row.resolve_time,
    )


def _moving(load: Load) -> dict[str, Any]:
    """The columns that move; what was ordered never does."""
    return {
        "state": load.state.value,
        "verdict": load.verdict,
        "evidence": load.evidence,
        "reservation": load.reservation,
        "mac2": load.mac2,
        "tac": load.tac,
        "host_time": load.host_time,
        "expire_time": load.expire_time,
        "resolve_time": load.resolve_time,
    }


class SqlLoads:
    """`Loads` over one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, load: Load) -> None:
        """Store a new load."""
        order = load.order
        ordered = {
            "id": uuid.UUID(load.id),
            "card": order.card,
            "generation": load.generation,
            "amount_fen": order.amount_fen,
            "outlet": order.outlet,
            "terminal_number": order.terminal_number,
            "tender": order.tender.value,
            "answer_a": order.answer_a,
            "online_counter": order.online_counter,
            "card_balance_fen": order.card_balance_fen,
            "create_time": load.create_time,
        }
        await self._connection.execute(insert(LOAD).values(ordered | _moving(load)))

    async def get(self, load_id: str) -> Load:
        """One load; raises LoadUnknown."""
        return await self._one(load_id, lock=False)

    async def get_for_update(self, load_id: str) -> Load:
        """One load, locked; raises LoadUnknown."""
        return await self._one(load_id, lock=True)

    async def _one(self, load_id: str, *, lock: bool) -> Load:
        try:
            query = select(LOAD).where(_L.id == uuid.UUID(load_id))
        except ValueError:
            # 36 characters of the right alphabet are not always a UUID.
            raise LoadUnknown(load=load_id) from None
        row = (await self._connection.execute(query.with_for_update() if lock else query)).first()
        if row is None:
            raise LoadUnknown(load=load_id)
        return _load(row)

    async def save(self, load: Load) -> None:
        """Store a locked load that has moved."""
        await self._connection.execute(update(LOAD).where(_L.id == uuid.UUID(load.id)).values(_moving(load)))

    async def open_of_card_for_update(self, card: str) -> Sequence[Load]:
        """Loads of a card that are not final, locked, oldest first."""
        query = select(LOAD).where(_L.card == card, _OPEN).order_by(_L.create_time, _L.id).with_for_update()
        return [_load(row) for row in await self._connection.execute(query)]

    async def sight(self, order: LoadOrder, generation: int) -> CardSight:
        """When the card was seen last, by its loads."""
        written = cast(_L.verdict.is_not_distinct_from(Verdict.WRITTEN.value), Integer)
        known = and_(_L.answer_a == order.answer_a, _L.verdict.is_not(None), func.octet_length(_L.mac2) > 0)
        query = select(
            func.coalesce(func.max(_L.online_counter + written), 0).label("counter_min"),
            func.coalesce(func.bool_or(known), False).label("known"),
        ).where(_L.card == order.card, _L.generation == generation)
        row = (await self._connection.execute(query)).one()
        return CardSight(row.counter_min, row.known)

    async def page(self, wanted: LoadFilter, before: tuple[datetime, str] | None, limit: int) -> Sequence[Load]:
        """Loads, newest first."""
        query = select(LOAD)
        if wanted.card is not None:
            query = query.where(_L.card == wanted.card)
        if wanted.state is not None:
            query = query.where(_L.state == wanted.state.value)
        if before is not None:
            moment, load_id = before
            query = query.where(tuple_(_L.create_time, _L.id) < (moment, uuid.UUID(load_id)))
        rows = await self._connection.execute(query.order_by(_L.create_time.desc(), _L.id.desc()).limit(limit))
        return [_load(row) for row in rows]

    async def due(self, *, requested_before: datetime, now: datetime, limit: int) -> Sequence[str]:
        """Ids of loads to look after, oldest first."""
        late = and_(_L.state == LoadState.REQUESTED.value, _L.create_time <= requested_before)
        silent = and_(_L.state == LoadState.AUTHORISED.value, _L.expire_time <= now)
        query = (
            select(_L.id).where(_OPEN, or_(_L.verdict.is_not(None), late, silent)).order_by(_L.create_time).limit(limit)
        )
        return [str(load_id) for load_id in await self._connection.scalars(query)]
