"""One journal."""

from uuid import UUID

from services.account.application.ports import Transaction
from services.account.domain.book import Journal


class GetJournal:
    """Reads one journal."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def __call__(self, which: UUID | int) -> Journal:
        """The journal of an id or of a place in the book.

        Raises:
            JournalUnknown: There is none.
        """
        async with self._transaction() as uow:
            return await uow.journals.get(which)
