"""What does not add up on cards."""

from services.account.application.ports import Transaction
from services.account.domain.folding import ItemKind, PurseItem
from services.account.domain.purse import PurseKey


class ListPurseItems:
    """Reads a page of items."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def __call__(
        self, after: int, limit: int, *, open_only: bool, kind: ItemKind | None, key: PurseKey | None
    ) -> list[PurseItem]:
        """Items behind a number, oldest first; only open ones, of one kind, of one purse when these are given."""
        async with self._transaction() as uow:
            return await uow.purses.list_items(after, limit, open_only, kind, key)
