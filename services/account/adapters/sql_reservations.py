"""Reservations in PostgreSQL."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.errors import RequestIdReused
from services.account.adapters.sql_purses import purse_key
from services.account.domain.book import Leg, Posting
from services.account.domain.chart import Side
from services.account.domain.errors import ReservationUnknown
from services.account.domain.purse import PurseKey
from services.account.domain.reservation import Reservation, ReservationState

_ADD = text(
    "INSERT INTO reservation (reservation_id, state, event, reference, event_time, create_time, expire_time,"
    " participant, purpose, member)"
    " VALUES (:reservation_id, :state, :event, :reference, :event_time, :create_time, :expire_time,"
    " :participant, :purpose, :member)"
    " ON CONFLICT (reservation_id) DO NOTHING"
)
_ADD_LEGS = text(
    "INSERT INTO reservation_leg (reservation_id, leg_number, account_id, side, amount_fen, purse_id)"
    " SELECT :reservation_id, leg_number, account_id, side, amount_fen, purse_id"
    " FROM unnest(CAST(:accounts AS integer[]), CAST(:sides AS smallint[]), CAST(:amounts AS bigint[]),"
    " CAST(:purses AS integer[])) WITH ORDINALITY AS leg (account_id, side, amount_fen, purse_id, leg_number)"
)
_FIND = (
    "SELECT state, event, reference, event_time, create_time, expire_time, journal_id, participant, purpose, member,"
    " partial FROM reservation"
    " WHERE reservation_id = :reservation_id"
)
_GET = text(_FIND)
_LOCK = text(f"{_FIND} FOR NO KEY UPDATE")
_GET_LEGS = text(
    "SELECT account.name, leg.side, leg.amount_fen, purse.scheme, purse.card_number, purse.generation"
    " FROM reservation_leg leg JOIN account USING (account_id) LEFT JOIN purse USING (purse_id)"
    " WHERE leg.reservation_id = :reservation_id ORDER BY leg.leg_number"
)
_RESOLVE = text(
    "UPDATE reservation SET state = :state, journal_id = :journal_id, resolve_time = :now,"
    " partial = :partial"
    " WHERE reservation_id = :reservation_id AND state = 'PENDING'"
)
_DUE = text(
    "SELECT reservation_id FROM reservation WHERE state = 'PENDING' AND expire_time <= :now"
    " ORDER BY expire_time LIMIT :limit"
)


class PostgresReservations:
    """`ReservationRepository` of one transaction."""

    def __init__(
        self, connection: AsyncConnection, account_ids: Mapping[str, int], purse_ids: Mapping[PurseKey, int]
    ) -> None:
        self._connection = connection
        self._account_ids = account_ids
        self._purse_ids = purse_ids

    async def add(self, reservation: Reservation) -> None:
        """See the port."""
        posting = reservation.posting
        values = {
            "reservation_id": reservation.id,
            "state": reservation.state.value,
            "event": posting.event,
            "reference": posting.reference,
            "event_time": posting.event_time,
            "create_time": reservation.create_time,
            "expire_time": reservation.expire_time,
            "participant": posting.participant,
            "purpose": posting.purpose,
            "member": posting.member,
        }
        if (await self._connection.execute(_ADD, values)).rowcount == 0:
            raise RequestIdReused(request_id=reservation.id)
        legs = {
            "reservation_id": reservation.id,
            "accounts": [self._account_ids[leg.account] for leg in posting.legs],
            "sides": [leg.side.value for leg in posting.legs],
            "amounts": [leg.amount_fen for leg in posting.legs],
            "purses": [None if leg.purse is None else self._purse_ids[leg.purse] for leg in posting.legs],
        }
        result = await self._connection.execute(_ADD_LEGS, legs)
        assert result.rowcount == len(posting.legs), "accounts and purses are locked before they are reserved on"

    async def get(self, reservation_id: UUID) -> Reservation:
        """See the port."""
        return await self._read(_GET, reservation_id)

    async def get_for_update(self, reservation_id: UUID) -> Reservation:
        """See the port."""
        return await self._read(_LOCK, reservation_id)

    async def resolve(self, reservation: Reservation, now: datetime) -> None:
        """See the port."""
        values = {
            "reservation_id": reservation.id,
            "state": reservation.state.value,
            "journal_id": reservation.journal,
            "now": now,
            "partial": reservation.partial,
        }
        result = await self._connection.execute(_RESOLVE, values)
        assert result.rowcount == 1, "a reservation is locked before it is resolved, and resolved once"

    async def due(self, now: datetime, limit: int) -> list[UUID]:
        """See the port."""
        rows = await self._connection.execute(_DUE, {"now": now, "limit": limit})
        return [row.reservation_id for row in rows]

    async def _read(self, statement: TextClause, reservation_id: UUID) -> Reservation:
        values: dict[str, Any] = {"reservation_id": reservation_id}
        row = (await self._connection.execute(statement, values)).first()
        if row is None:
            raise ReservationUnknown(reservation=reservation_id)
        legs = tuple(
            Leg(
                leg.name,
                Side(leg.side),
                leg.amount_fen,
                None if leg.scheme is None else purse_key(leg.scheme, leg.card_number, leg.generation),
            )
            for leg in await self._connection.execute(_GET_LEGS, values)
        )
        return Reservation(
            id=reservation_id,
            state=ReservationState(row.state),
            posting=Posting(row.event, row.reference, legs, row.event_time, row.participant, row.purpose, row.member),
            expire_time=row.expire_time,
            journal=row.journal_id,
            create_time=row.create_time,
            partial=row.partial,
        )
