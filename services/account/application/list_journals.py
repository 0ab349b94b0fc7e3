"""Journals in the order of the book."""

from services.account.application.ports import Transaction
from services.account.domain.book import Journal


class ListJournals:
    """Reads a page of the book."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def __call__(self, after: int, limit: int, reference: str) -> list[Journal]:
        """Journals behind a place of the book (0 for the beginning); of one reference when it is given."""
        async with self._transaction() as uow:
            return await uow.journals.list_page(after, limit, reference)
