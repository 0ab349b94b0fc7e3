"""Posts what was held."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from libs.clock import Clock
from services.account.application.bank_booking import refuse_owned
from services.account.application.booking import book, compare_purses, sums_after
from services.account.application.ports import IdFactory, Transaction
from services.account.application.settle_wallets import settle_wallets
from services.account.domain.book import NewJournal, check_balanced
from services.account.domain.chart import Chart
from services.account.domain.reservation import Reservation


class CommitReservation:
    """Posts what was held."""

    def __init__(
        self, transaction: Transaction, chart: Chart, clock: Clock, new_id: IdFactory, clock_tolerance_s: float
    ) -> None:
        self._transaction = transaction
        self._chart = chart
        self._clock = clock
        self._clock_tolerance_s = clock_tolerance_s
        self._new_id = new_id

    async def __call__(self, reservation_id: UUID, amounts_fen: Sequence[int] = ()) -> Reservation:
        """Post it, or a part of it; a committed one is answered as it is. No limit is asked again: it was held.

        Args:
            reservation_id: Which.
            amounts_fen: To post a part: one per leg, 0 to leave it out. What is left is given up. Empty: everything.

        Raises:
            ReservationUnknown: There is none.
            ReservationOwned: It belongs to a bank flow.
            ReservationResolved: It was voided, or its time ran out.
            CommitAboveHeld: A leg would be posted for more than it holds.
            JournalUnbalanced: The part does not balance.
        """
        async with self._transaction() as uow:
            found = await uow.reservations.get_for_update(reservation_id)
            refuse_owned(found)
            now = self._clock.now()
            journal_id = self._new_id()
            committed = found.commit(journal_id, now)
            if committed is found:
                return found
            posting = found.part(amounts_fen)
            check_balanced(posting.legs, self._chart)
            committed = replace(committed, partial=posting != found.posting)
            await uow.reservations.resolve(committed, now)
            accounts = await book(uow, self._chart, now, posted=posting, released=found.posting)
            await settle_wallets(uow, committed, posting)
            await uow.journals.post([NewJournal(journal_id, posting, sums_after(posting, accounts))], now)
            await compare_purses(uow, found.posting, self._clock_tolerance_s, now)
            await uow.commit()
        return committed
