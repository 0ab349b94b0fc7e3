"""The balance of an account at a moment of the past."""

from dataclasses import replace
from datetime import datetime

from services.account.application.ports import Transaction
from services.account.domain.accounts import Account
from services.account.domain.book import TimeAxis


class GetBalance:
    """Reads a balance as of any time."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def __call__(self, name: str, at: datetime, axis: TimeAxis) -> Account:
        """The account with its sums of that moment; nothing is pending in the past.

        Args:
            name: `2203.metro-1`.
            at: The moment, which itself counts.
            axis: `POST_TIME` asks what the book said then, `EVENT_TIME` what is known today to have happened by then.

        Raises:
            AccountUnknown: It was never opened.
        """
        async with self._transaction() as uow:
            account = await uow.accounts.get(name)
            debits, credits_ = await uow.journals.sums_as_of(name, at, axis)
        return replace(account, debits_fen=debits, credits_fen=credits_, pending_debits_fen=0, pending_credits_fen=0)
