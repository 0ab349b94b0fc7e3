"""What does not agree with banks."""

from services.account.application.bank_ports import BankTransaction
from services.account.domain.bank_break import BankBreak, BreakKind


class ListBreaks:
    """Reads a page of breaks."""

    def __init__(self, transaction: BankTransaction) -> None:
        self._transaction = transaction

    async def __call__(
        self, after: int, limit: int, bank: str, *, open_only: bool, kind: BreakKind | None
    ) -> list[BankBreak]:
        """Breaks behind a number, oldest first; only of one bank, only open ones, of one kind when these are given."""
        async with self._transaction() as uow:
            return await uow.bank_breaks.list_page(after, limit, bank, open_only, kind)
