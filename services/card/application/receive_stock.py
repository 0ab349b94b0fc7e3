"""ReceiveStock: personalised cards come to the stock of an outlet (入库)."""

from collections.abc import Sequence

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.card.application.ports import Delivery, OpenUnitOfWork, StockLevel
from services.card.domain.batch import check_numbers


class ReceiveStock:
    """Takes cards to stock, all or none."""

    def __init__(self, unit_of_work: OpenUnitOfWork, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, numbers: Sequence[str], delivery: Delivery, request: RequestKey) -> StockLevel:
        """Answers the level of that outlet and product afterwards.

        Raises:
            ProductUnknown: There is no such product.
            CardNumberInvalid: A number is not one of its scheme.
            RequestMalformed: A card is named twice.
            CardExists: A card is in the registry already.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, StockLevel)
            await uow.products.get(delivery.product)
            check_numbers(numbers)
            await uow.cards.receive(numbers, delivery, self._clock.now())
            level = await uow.stock.change(delivery.outlet, delivery.product, stock=len(numbers), issued=0)
            await uow.requests.answer(request, level)
            await uow.commit()
        return level
