"""AddEntry: an officer lists a card."""

from collections.abc import Callable
from datetime import datetime, timedelta

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.blacklist.application.change_list import change_list
from services.blacklist.application.ports import UnitOfWork
from services.blacklist.domain.entry import CardKey, Entry, Listing, ListMode, ListReason


class AddEntry:
    """Lists a card by an officer's decision."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock, effective_delay: timedelta) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._effective_delay = effective_delay

    async def __call__(
        self,
        card: CardKey,
        reason: ListReason,
        mode: ListMode,
        effective_time: datetime | None,
        request: RequestKey,
        until_time: datetime | None = None,
    ) -> Entry:
        """List a card; one that is listed keeps its first effective time.

        Args:
            card: Whose card.
            reason: Why.
            mode: What terminals do.
            effective_time: From when on; None: after the usual delay from now.
            request: Repeated, it gets the first answer.
            until_time: From when on it holds no more; None: until it is removed.

        Raises:
            PeriodEmpty: It would end before it begins.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Entry)
            now = self._clock.now()
            listing = Listing(reason, mode, effective_time or now + self._effective_delay, now, until_time)
            entry = await change_list(uow, card, now, lambda before: before.decide(listing))
            await uow.requests.answer(request, entry)
            await uow.commit()
        return entry
