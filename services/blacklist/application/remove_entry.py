"""RemoveEntry: an officer takes a card from the list."""

from collections.abc import Callable

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.blacklist.application.change_list import change_list
from services.blacklist.application.ports import UnitOfWork
from services.blacklist.domain.entry import CardKey, Entry


class RemoveEntry:
    """Takes a card from the list, whatever it was listed for."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, card: CardKey, request: RequestKey) -> Entry:
        """Remove a card.

        Raises:
            EntryUnknown: It is not listed.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Entry)
            now = self._clock.now()
            entry = await change_list(uow, card, now, lambda before: before.remove(now))
            await uow.requests.answer(request, entry)
            await uow.commit()
        return entry
