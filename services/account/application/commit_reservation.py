"""Posts what was held."""

from uuid import UUID

from libs.clock import Clock
from services.account.application.booking import book
from services.account.application.ports import IdFactory, Transaction
from services.account.domain.chart import Chart
from services.account.domain.reservation import Reservation


class CommitReservation:
    """Posts what was held."""

    def __init__(self, transaction: Transaction, chart: Chart, clock: Clock, new_id: IdFactory) -> None:
        self._transaction = transaction
        self._chart = chart
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, reservation_id: UUID) -> Reservation:
        """Post it; a committed one is answered as it is. No limit is asked again: the amount was held.

        Raises:
            ReservationUnknown: There is none.
            ReservationResolved: It was voided, or its time ran out.
        """
        async with self._transaction() as uow:
            found = await uow.reservations.get_for_update(reservation_id)
            now = self._clock.now()
            committed = found.commit(self._new_id(), now)
            if committed is found or committed.journal is None:
                return found
            await uow.reservations.resolve(committed, now)
            await book(uow, self._chart, found.posting, now, posted=1, pending=-1)
            await uow.journals.post(committed.journal, found.posting, now)
            await uow.commit()
        return committed
