"""Entries of an account."""

from services.account.application.ports import Transaction
from services.account.domain.book import Entry


class ListEntries:
    """Reads a page of an account's entries."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def __call__(self, account: str, after: tuple[int, int], limit: int) -> list[Entry]:
        """Entries behind a place of the book, oldest first.

        Args:
            account: Its name.
            after: Sequence and leg number of the last entry of the page before; (0, 0) for the first page.
            limit: Most entries to return.

        Raises:
            AccountUnknown: It was never opened.
        """
        async with self._transaction() as uow:
            await uow.accounts.get(account)
            return await uow.journals.list_entries(account, after, limit)
