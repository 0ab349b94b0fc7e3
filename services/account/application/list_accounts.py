"""Accounts by name."""

from services.account.application.ports import Transaction
from services.account.domain.accounts import Account
from services.account.domain.chart import Chart


class ListAccounts:
    """Reads a page of accounts."""

    def __init__(self, transaction: Transaction, chart: Chart) -> None:
        self._transaction = transaction
        self._chart = chart

    async def __call__(self, after: str, limit: int, chart_number: str, participant: str | None) -> list[Account]:
        """Accounts behind a name.

        Args:
            after: Name of the last account of the page before; empty for the first page.
            limit: Most accounts to return.
            chart_number: Only this number; empty for all.
            participant: Only what this participant owns; None for everything. An outlet of the same name owns
                accounts of other numbers, which stay unseen.
        """
        numbers = {chart_number} if chart_number else None
        if participant is not None:
            own = set(self._chart.participant_numbers())
            numbers = own if numbers is None else numbers & own
        async with self._transaction() as uow:
            return await uow.accounts.list_page(after, limit, numbers, participant)
