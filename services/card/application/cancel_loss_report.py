"""CancelLossReport: a loss report is taken back (解挂)."""

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.card.application.ports import OpenUnitOfWork
from services.card.domain.card import Card
from services.card.domain.states import Verb


class CancelLossReport:
    """Moves a lost card back to ACTIVE and tells the blacklist."""

    def __init__(self, unit_of_work: OpenUnitOfWork, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, number: str, request: RequestKey) -> Card:
        """Answers the active card.

        Raises:
            CardUnknown, CardClosed, CardStateForbids: In this order.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Card)
            card = await uow.cards.get_for_update(number)
            found, events = card.cancel_loss_report(self._clock.now())
            await uow.cards.save(found, Verb.CANCEL_LOSS_REPORT)
            await uow.events.add(events)
            await uow.requests.answer(request, found)
            await uow.commit()
        return found
