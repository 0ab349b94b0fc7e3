"""Posts journals that belong together."""

from collections.abc import Sequence

from libs.errors import DomainError
from libs.runtime.requests import RequestKey
from services.account.application.posting_queue import PostingQueue
from services.account.domain.book import Journal, Posting
from services.account.domain.chart import Chart


class PostLinkedJournals:
    """Posts journals that belong together."""

    def __init__(self, queue: PostingQueue, chart: Chart) -> None:
        self._queue = queue
        self._chart = chart

    async def __call__(self, postings: Sequence[Posting], request: RequestKey) -> tuple[Journal, ...]:
        """Post all of them in order, or none; a later one may spend what an earlier one brings.

        Raises:
            JournalUnbalanced, PurseLegMismatch, ChartNumberUnknown, PurseUnknown, InsufficientBalance, LimitExceeded:
                Of the first posting that is refused, which the fact `posting` numbers from 1.
            RequestIdReused: The id was used for other content.
        """
        for number, posting in enumerate(postings, 1):
            try:
                posting.check(self._chart)
            except DomainError as refusal:
                refusal.facts["posting"] = str(number)
                raise
        return await self._queue.post(postings, request, linked=True)
