"""Registers a bank, or changes what is registered of it."""

from libs.runtime.requests import RequestKey
from services.account.application.bank_ports import BankTransaction
from services.account.domain.bank import Bank, bank_currency
from services.account.domain.bank_errors import BankCurrencyUnsupported
from services.account.domain.chart import Chart


class RegisterBank:
    """Registers a bank."""

    def __init__(self, transaction: BankTransaction, chart: Chart) -> None:
        self._transaction = transaction
        self._chart = chart

    async def __call__(self, bank: Bank, request: RequestKey) -> Bank:
        """Register it as it is given; flows under way go on under what they began with.

        Raises:
            BankCurrencyUnsupported: The books have no account for banks in its currency.
            RequestIdReused: The id was used for other content.
        """
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Bank)
            if bank.currency != bank_currency(self._chart):
                raise BankCurrencyUnsupported(currency=bank.currency)
            await uow.banks.save(bank)
            await uow.requests.answer(request, bank)
            await uow.commit()
        return bank
