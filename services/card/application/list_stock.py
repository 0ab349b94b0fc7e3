"""ListStock: cards at outlets, by product."""

from collections.abc import Sequence

from services.card.application.ports import OpenUnitOfWork, StockLevel


class ListStock:
    """Reads a page of stock levels."""

    def __init__(self, unit_of_work: OpenUnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, outlet: str | None, after: tuple[str, str], limit: int) -> Sequence[StockLevel]:
        """Levels of one outlet, or of all, after a pair of outlet and product, at most `limit`."""
        async with self._unit_of_work() as uow:
            return await uow.stock.page(outlet, after, limit)
