"""Posts one journal."""

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.booking import book
from services.account.application.ports import IdFactory, Transaction
from services.account.domain.book import Journal, Posting
from services.account.domain.chart import Chart


class PostJournal:
    """Posts one journal."""

    def __init__(self, transaction: Transaction, chart: Chart, clock: Clock, new_id: IdFactory) -> None:
        self._transaction = transaction
        self._chart = chart
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, posting: Posting, request: RequestKey) -> Journal:
        """Post it, whole or not at all.

        Raises:
            JournalUnbalanced, PurseLegMismatch, ChartNumberUnknown, PurseUnknown, LimitExceeded: First match wins.
            RequestIdReused: The id was used for other content.
        """
        posting.check(self._chart)
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Journal)
            now = self._clock.now()
            await book(uow, self._chart, posting, now, posted=1, limited=True)
            journal = await uow.journals.post(self._new_id(), posting, now)
            await uow.requests.answer(request, journal)
            await uow.commit()
        return journal
