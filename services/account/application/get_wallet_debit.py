"""One debit of wallets."""

from uuid import UUID

from libs.errors import NotYours
from services.account.application.ports import Transaction
from services.account.domain.wallet_debits import WalletDebit


class GetWalletDebit:
    """Reads one debit."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def __call__(self, debit_id: UUID, participant: str | None) -> WalletDebit:
        """The debit; `participant` restricts it to one's own.

        Raises:
            DebitUnknown: There is none.
            NotYours: Another participant made it.
        """
        async with self._transaction() as uow:
            found = await uow.wallet_books.debits.get(debit_id)
        if participant is not None and found.participant != participant:
            raise NotYours
        return found
