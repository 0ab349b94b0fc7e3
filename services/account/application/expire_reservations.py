"""Gives up reservations whose time ran out."""

import asyncio
from uuid import UUID

from libs.clock import Clock
from libs.runtime.logging import get_logger
from services.account.application.booking import book, compare_purses
from services.account.application.ports import Transaction
from services.account.application.settle_wallets import settle_wallets
from services.account.domain.chart import Chart
from services.account.domain.events import ReservationExpired

log = get_logger("citycard.account")

_ROUND = 100


class ExpireReservations:
    """The sweep. Late or killed, it changes nothing that a caller sees decided: time decides, the sweep only notes."""

    def __init__(
        self, transaction: Transaction, chart: Chart, clock: Clock, period_s: float, clock_tolerance_s: float
    ) -> None:
        self._transaction = transaction
        self._chart = chart
        self._clock = clock
        self._period_s = period_s
        self._clock_tolerance_s = clock_tolerance_s

    async def run(self) -> None:
        """Sweep until cancelled, every `period_s` seconds and at once again after a full round."""
        while True:
            if await self.sweep() < _ROUND:
                await asyncio.sleep(self._period_s)

    async def sweep(self) -> int:
        """Expire what is due, oldest first; returns how many were looked at, at most 100."""
        async with self._transaction() as uow:
            due = await uow.reservations.due(self._clock.now(), _ROUND)
        for reservation_id in due:
            # One transaction each: the locks of one are held for a moment, and a stuck one stops no other.
            await self._expire(reservation_id)
        return len(due)

    async def _expire(self, reservation_id: UUID) -> None:
        async with self._transaction() as uow:
            found = await uow.reservations.get_for_update(reservation_id)
            now = self._clock.now()
            expired = found.expire(now)
            if expired is found:
                return
            await uow.reservations.resolve(expired, now)
            await book(uow, self._chart, now, released=found.posting)
            await settle_wallets(uow, expired)
            await uow.events.add([ReservationExpired(found.id, found.posting.reference, now)])
            await compare_purses(uow, found.posting, self._clock_tolerance_s, now)
            await uow.commit()
        log.info("account.reservation_expired", reservation=str(found.id), reference=found.posting.reference)
