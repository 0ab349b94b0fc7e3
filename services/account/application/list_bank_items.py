"""What differs between bank and book."""

from services.account.application.float_ports import FloatTransaction
from services.account.domain.bank_statement import BankItem


class ListBankItems:
    """Lists items."""

    def __init__(self, transaction: FloatTransaction) -> None:
        self._transaction = transaction

    async def __call__(self, after: int, limit: int, account: str | None, *, include_closed: bool) -> list[BankItem]:
        """Items behind a number, oldest first."""
        async with self._transaction() as uow:
            return await uow.bank.list_items(after, limit, account, include_closed)
