"""One reservation."""

from uuid import UUID

from services.account.application.ports import Transaction
from services.account.domain.reservation import Reservation


class GetReservation:
    """Reads one reservation."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def __call__(self, reservation_id: UUID) -> Reservation:
        """The reservation.

        Raises:
            ReservationUnknown: There is none.
        """
        async with self._transaction() as uow:
            return await uow.reservations.get(reservation_id)
