"""ListProducts: the newest version of each product, by name."""

from collections.abc import Sequence

from services.card.application.ports import OpenUnitOfWork
from services.card.domain.product import Product


class ListProducts:
    """Reads a page of products."""

    def __init__(self, unit_of_work: OpenUnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, after: str, limit: int) -> Sequence[Product]:
        """Products whose name comes after `after`, at most `limit`."""
        async with self._unit_of_work() as uow:
            return await uow.products.page(after, limit)
