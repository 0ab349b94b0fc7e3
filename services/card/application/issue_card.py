"""IssueCard: one card is sold or rented over the counter (售卡/租卡)."""

from libs.clock import CITY_TZ, Clock
from libs.runtime.requests import RequestKey
from services.card.application.ports import OpenUnitOfWork
from services.card.domain.card import Card
from services.card.domain.holder import Holder
from services.card.domain.states import Verb


class IssueCard:
    """Makes a stocked card ACTIVE under the newest terms of its product."""

    def __init__(self, unit_of_work: OpenUnitOfWork, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, number: str, outlet: str, holder: Holder | None, request: RequestKey) -> Card:
        """Answers the issued card.

        Raises:
            CardUnknown, CardStateForbids, CardNotAtOutlet, HolderRequired: In this order.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Card)
            card = await uow.cards.get_for_update(number)
            product = await uow.products.get(card.product)
            now = self._clock.now()
            issued, events = card.issue(
                product, outlet=outlet, with_holder=holder is not None, at=now, today=now.astimezone(CITY_TZ).date()
            )
            await uow.cards.save(issued, Verb.ISSUE)
            if holder is not None:
                await uow.holders.put(issued, holder)
            await uow.stock.change(outlet, card.product, stock=-1, issued=1)
            await uow.events.add(events)
            await uow.requests.answer(request, issued)
            await uow.commit()
        return issued
