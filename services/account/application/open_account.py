"""Opens an account or changes its limit."""

from dataclasses import replace

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.ports import Transaction
from services.account.domain.accounts import Account
from services.account.domain.chart import Chart


class OpenAccount:
    """Opens an account or changes its limit."""

    def __init__(self, transaction: Transaction, chart: Chart, clock: Clock) -> None:
        self._transaction = transaction
        self._chart = chart
        self._clock = clock

    async def __call__(
        self, name: str, balance_limit_fen: int, request: RequestKey, overdraft_fen: int | None = None
    ) -> Account:
        """Open it, or give it other limits; a limit below the balance stops growth and takes nothing back.

        Args:
            name: `2203.metro-1`.
            balance_limit_fen: 0 or more; 0 means no limit.
            request: Claimed in the same transaction.
            overdraft_fen: How far below zero it may go, 0 or more; None leaves it as it is, for a new account as the
                chart says.

        Raises:
            ChartNumberUnknown: The number is not in the chart.
            RequestIdReused: The id was used for other content.
        """
        self._chart.line(name)
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Account)
            account = (await uow.accounts.lock([name], self._clock.now()))[name]
            if overdraft_fen is None:
                overdraft_fen = account.overdraft_fen
            await uow.accounts.set_limits(name, balance_limit_fen, overdraft_fen)
            account = replace(account, balance_limit_fen=balance_limit_fen, overdraft_fen=overdraft_fen)
            await uow.requests.answer(request, account)
            await uow.commit()
        return account
