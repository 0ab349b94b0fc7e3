"""Bank and book of a special account at the end of a day (余额调节表)."""

from datetime import date

from services.account.application.float_ports import FloatTransaction
from services.account.application.upload_bank_statement import ITEMS_MAX
from services.account.domain.bank_statement import Reconciliation


class GetBankReconciliation:
    """Reads what differs, and why."""

    def __init__(self, transaction: FloatTransaction) -> None:
        self._transaction = transaction

    async def __call__(self, account: str, day: date) -> Reconciliation:
        """By the newest statement that is not behind the day.

        Raises:
            AccountUnknown: It was never opened.
        """
        async with self._transaction() as uow:
            await uow.accounts.get(account)
            return await uow.bank.reconcile(account, day, ITEMS_MAX)
