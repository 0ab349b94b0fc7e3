"""Fetches a bank's daily file from the bank itself."""

from datetime import date

from services.account.application.bank_ports import BankGateway, BankTransaction
from services.account.application.import_bank_file import ImportBankFile
from services.account.domain.bank_break import FileMatch


class FetchBankFile:
    """Fetches a daily file from the bank's adapter and imports it."""

    def __init__(self, transaction: BankTransaction, gateway: BankGateway, import_file: ImportBankFile) -> None:
        self._transaction = transaction
        self._gateway = gateway
        self._import = import_file

    async def __call__(self, participant: str, business_date: date) -> FileMatch:
        """Fetch and import.

        Raises:
            BankSilent: The bank did not give it.
            BankUnknown, BankFileMalformed, BankFileForeign, BankFileConflict: As `ImportBankFile`.
        """
        async with self._transaction() as uow:
            bank = await uow.banks.get(participant)
        return await self._import(participant, await self._gateway.daily_file(bank, business_date), business_date)
