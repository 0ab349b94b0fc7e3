"""One bank."""

from services.account.application.bank_ports import BankTransaction
from services.account.domain.bank import Bank


class GetBank:
    """Reads a bank."""

    def __init__(self, transaction: BankTransaction) -> None:
        self._transaction = transaction

    async def __call__(self, participant: str) -> Bank:
        """The bank.

        Raises:
            BankUnknown: It is not registered.
        """
        async with self._transaction() as uow:
            return await uow.banks.get(participant)
