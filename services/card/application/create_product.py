"""CreateProduct: the first or next version of a product."""

from dataclasses import replace

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.card.application.ports import OpenUnitOfWork
from services.card.domain.product import Product


class CreateProduct:
    """Stores rules as the next version of their name."""

    def __init__(self, unit_of_work: OpenUnitOfWork, clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, rules: Product, request: RequestKey) -> Product:
        """Version and time of `rules` are ignored.

        Raises:
            ProductRulesContradict: No card could be sold or loaded under them.
        """
        rules.check_rules()
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Product)
            product = await uow.products.add(replace(rules, create_time=self._clock.now()))
            await uow.requests.answer(request, product)
            await uow.commit()
        return product
