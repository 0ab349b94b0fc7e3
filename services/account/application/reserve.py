"""Holds legs pending."""

from datetime import datetime
from uuid import UUID

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.booking import book
from services.account.application.ports import Transaction
from services.account.domain.book import Posting
from services.account.domain.chart import Chart
from services.account.domain.reservation import Reservation, ReservationState


class Reserve:
    """Holds legs pending."""

    def __init__(self, transaction: Transaction, chart: Chart, clock: Clock) -> None:
        self._transaction = transaction
        self._chart = chart
        self._clock = clock

    async def __call__(self, posting: Posting, expire_time: datetime | None, request: RequestKey) -> Reservation:
        """Hold the legs; the reservation is named as the request, so that a caller that lost the answer finds it.

        Raises:
            JournalUnbalanced, PurseLegMismatch, ChartNumberUnknown, PurseUnknown, InsufficientBalance, LimitExceeded:
                First match wins.
            RequestIdReused: The id was used for other content, or by another caller.
        """
        posting.check(self._chart)
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Reservation)
            now = self._clock.now()
            reservation = Reservation(
                UUID(request.request_id), ReservationState.PENDING, posting, expire_time, None, now
            )
            # Its legs name rows of accounts, which the booking opens.
            await book(uow, self._chart, now, held=posting, limited=True)
            await uow.reservations.add(reservation)
            await uow.requests.answer(request, reservation)
            await uow.commit()
        return reservation
