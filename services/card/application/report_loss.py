"""ReportLoss: a card is reported lost and its balance frozen (挂失)."""

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.card.application.ports import OpenUnitOfWork
from services.card.domain.card import Card
from services.card.domain.states import Verb


class ReportLoss:
    """Moves a card to LOST and tells the blacklist."""

    def __init__(self, unit_of_work: OpenUnitOfWork, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, number: str, request: RequestKey) -> Card:
        """Answers the lost card; one that is lost already is answered as it is.

        Raises:
            CardUnknown, CardClosed, CardStateForbids, CardAnonymous: In this order.
        """
        async with self._unit_of_work() as uow:
            # The claim is a row of this transaction: a retry waits here, then reads the first answer.
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Card)
            card = await uow.cards.get_for_update(number)
            lost, events = card.report_loss(self._clock.now())
            if lost is not card:
                await uow.cards.save(lost, Verb.REPORT_LOSS)
            # Outbox, not publish: the blacklist must hear of every loss, and of none rolled back.
            await uow.events.add(events)
            await uow.requests.answer(request, lost)
            await uow.commit()
        return lost
