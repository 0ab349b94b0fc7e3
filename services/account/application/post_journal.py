"""Posts one journal."""

from libs.runtime.requests import RequestKey
from services.account.application.posting_queue import PostingQueue
from services.account.domain.book import Journal, Posting
from services.account.domain.chart import Chart


class PostJournal:
    """Posts one journal."""

    def __init__(self, queue: PostingQueue, chart: Chart) -> None:
        self._queue = queue
        self._chart = chart

    async def __call__(self, posting: Posting, request: RequestKey) -> Journal:
        """Post it, whole or not at all.

        Raises:
            JournalUnbalanced, PurseLegMismatch, ChartNumberUnknown, PurseUnknown, InsufficientBalance, LimitExceeded:
                First match wins.
            RequestIdReused: The id was used for other content.
        """
        posting.check(self._chart)
        (journal,) = await self._queue.post([posting], request, linked=False)
        return journal
