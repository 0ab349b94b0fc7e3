"""One account with its balance."""

from services.account.application.ports import Transaction
from services.account.domain.accounts import Account


class GetAccount:
    """Reads one account."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def __call__(self, name: str) -> Account:
        """The account.

        Raises:
            AccountUnknown: It was never opened.
        """
        async with self._transaction() as uow:
            return await uow.accounts.get(name)
