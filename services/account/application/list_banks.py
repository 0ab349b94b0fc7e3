"""Registered banks."""

from services.account.application.bank_ports import BankTransaction
from services.account.domain.bank import Bank


class ListBanks:
    """Reads a page of banks."""

    def __init__(self, transaction: BankTransaction) -> None:
        self._transaction = transaction

    async def __call__(self, after: str, limit: int) -> list[Bank]:
        """Banks by participant id, those behind `after`."""
        async with self._transaction() as uow:
            return await uow.banks.list_page(after, limit)
