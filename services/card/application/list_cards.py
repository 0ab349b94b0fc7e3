"""ListCards: cards by number."""

from collections.abc import Sequence

from services.card.application.ports import CardFilter, OpenUnitOfWork
from services.card.domain.card import Card


class ListCards:
    """Reads a page of cards."""

    def __init__(self, unit_of_work: OpenUnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, wanted: CardFilter, after: str, limit: int) -> Sequence[Card]:
        """Cards whose number comes after `after`, at most `limit`; without balances, which are the ledger's."""
        async with self._unit_of_work() as uow:
            return await uow.cards.page(wanted, after, limit)
