"""GetProduct: the newest version of a product."""

from services.card.application.ports import OpenUnitOfWork
from services.card.domain.product import Product


class GetProduct:
    """Reads one product."""

    def __init__(self, unit_of_work: OpenUnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, name: str) -> Product:
        """Raises ProductUnknown."""
        async with self._unit_of_work() as uow:
            return await uow.products.get(name)
