"""GetCard: one card with the centre's view of its purse."""

from services.card.application.ports import Ledger, OpenUnitOfWork
from services.card.domain.card import Card


class GetCard:
    """Reads the registry, and asks the ledger for the balance."""

    def __init__(self, unit_of_work: OpenUnitOfWork, ledger: Ledger) -> None:
        self._unit_of_work = unit_of_work
        self._ledger = ledger

    async def __call__(self, number: str) -> tuple[Card, int]:
        """The card, and its balance in fen.

        Raises:
            CardUnknown: There is no such card.
            DependencyUnavailable: The ledger does not answer; a balance that may be wrong would be worse than none.
        """
        async with self._unit_of_work() as uow:
            card = await uow.cards.get(number)
        if card.issue_time is None:
            return card, 0
        balance_fen = await self._ledger.balance(card)
        # Not heard of yet: then nothing was loaded or paid either, and what was on the chip at issue is exact.
        return card, card.opening_fen if balance_fen is None else balance_fen
