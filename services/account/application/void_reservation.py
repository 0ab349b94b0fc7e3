"""Gives up what was held."""

from uuid import UUID

from libs.clock import Clock
from services.account.application.bank_booking import refuse_owned
from services.account.application.booking import book, compare_purses
from services.account.application.ports import Transaction
from services.account.application.settle_wallets import settle_wallets
from services.account.domain.chart import Chart
from services.account.domain.reservation import Reservation


class VoidReservation:
    """Gives up what was held."""

    def __init__(self, transaction: Transaction, chart: Chart, clock: Clock, clock_tolerance_s: float) -> None:
        self._transaction = transaction
        self._chart = chart
        self._clock = clock
        self._clock_tolerance_s = clock_tolerance_s

    async def __call__(self, reservation_id: UUID) -> Reservation:
        """Give it up; one that was given up, or expired, is answered as it is.

        Raises:
            ReservationUnknown: There is none.
            ReservationOwned: It belongs to a bank flow.
            ReservationResolved: It was committed.
        """
        async with self._transaction() as uow:
            found = await uow.reservations.get_for_update(reservation_id)
            refuse_owned(found)
            voided = found.void()
            if voided is found:
                return found
            now = self._clock.now()
            await uow.reservations.resolve(voided, now)
            await book(uow, self._chart, now, released=found.posting)
            await settle_wallets(uow, voided)
            await compare_purses(uow, found.posting, self._clock_tolerance_s, now)
            await uow.commit()
        return voided
