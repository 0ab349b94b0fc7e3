"""Takes a bank's daily file."""

from datetime import date

from services.account.application.bank_ports import BankTransaction
from services.account.application.match_bank_day import MatchBankDay
from services.account.domain.bank import Bank
from services.account.domain.bank_break import FileMatch
from services.account.domain.bank_errors import BankFileForeign
from services.account.domain.bank_file import BankFile


class ImportBankFile:
    """Takes a daily file, whole or not at all, and matches it."""

    def __init__(self, transaction: BankTransaction, match: MatchBankDay) -> None:
        self._transaction = transaction
        self._match = match

    async def __call__(self, participant: str, content: bytes, business_date: date | None = None) -> FileMatch:
        """Import a file; the same one again changes nothing and is matched again.

        Args:
            participant: Whose file it must be.
            content: The file.
            business_date: Whose operations it must list; None: whatever its header says.

        Raises:
            BankUnknown: The bank is not registered.
            BankFileMalformed: It breaks its format; nothing of it was taken.
            BankFileForeign: It is another bank's, another day's, or in another currency.
            BankFileConflict: Another file of the day stands, and this one has no higher revision.
        """
        async with self._transaction() as uow:
            bank = await uow.banks.get(participant)
        file = BankFile.decode(content)
        _check(file, bank, business_date)
        match = await self._match(participant, file.business_date, file)
        assert match is not None, "a file that was taken stands for its day"
        return match


def _check(file: BankFile, bank: Bank, business_date: date | None) -> None:
    expected = (bank.participant, bank.currency, business_date or file.business_date)
    found = (file.bank, file.currency, file.business_date)
    if found != expected:
        raise BankFileForeign(found=" ".join(map(str, found)), expected=" ".join(map(str, expected)))
