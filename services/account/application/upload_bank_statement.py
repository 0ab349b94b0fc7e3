"""Takes the bank's statement of a special account and day, and matches it with the book."""

from libs.clock import Clock
from libs.runtime.logging import get_logger
from libs.runtime.requests import RequestKey
from services.account.application.float_ports import FloatTransaction
from services.account.domain.bank_statement import BankStatement, Reconciliation
from services.account.domain.errors import BankStatementConflict

log = get_logger("citycard.account")

# Items that an answer carries; the rest is listed in pages.
ITEMS_MAX = 1000


class UploadBankStatement:
    """Takes statements in any order of days."""

    def __init__(self, transaction: FloatTransaction, clock: Clock) -> None:
        self._transaction = transaction
        self._clock = clock

    async def __call__(self, statement: BankStatement, request: RequestKey) -> Reconciliation:
        """Keep it, match it, and answer with bank and book at the end of its day.

        The same statement of the same day again changes nothing, under whatever request.

        Raises:
            BankStatementUnbalanced: Opening and lines do not make the closing balance.
            BankStatementConflict: Another statement of this account and day is here; it stays.
            RequestIdReused: The id was used for other content.
        """
        statement.check()
        now = self._clock.now()
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Reconciliation)
            # Also keeps two uploads of one account from each other.
            await uow.accounts.lock([statement.account], now)
            known = await uow.bank.find(statement.account, statement.day)
            if known is None:
                await uow.bank.add(statement)
            elif not known.says_the_same(statement):
                raise BankStatementConflict(account=statement.account, day=statement.day, closing_fen=known.closing_fen)
            await uow.bank.settle(statement.account, now)
            found = await uow.bank.reconcile(statement.account, statement.day, ITEMS_MAX)
            await uow.requests.answer(request, found)
            await uow.commit()
        log.info(
            "account.bank_statement_recorded",
            account=statement.account,
            day=statement.day.isoformat(),
            line_count=len(statement.lines),
            difference_fen=found.difference_fen,
            item_count=len(found.items),
        )
        return found
