"""Hears a bank that speaks by itself: late, once more, or against what it said."""

from uuid import UUID

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.bank_booking import FlowBooks
from services.account.application.bank_ports import BankTransaction
from services.account.domain.bank_flow import Pace
from services.account.domain.bank_leg import BankAnswer


class ReportBankAnswer:
    """Hears a bank."""

    def __init__(self, transaction: BankTransaction, books: FlowBooks, clock: Clock, pace: Pace) -> None:
        self._transaction = transaction
        self._books = books
        self._clock = clock
        self._pace = pace

    async def __call__(self, bank: str, operation: UUID, answer: BankAnswer, request: RequestKey) -> None:
        """Take what fits, ignore what was known, and open a break for what contradicts.

        Raises:
            BankOperationUnknown: This bank was never asked for such an operation.
            RequestIdReused: The id was used for other content.
        """
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return
            found = await uow.bank_flows.get_for_update(await uow.bank_flows.flow_of(bank, operation))
            now = self._clock.now()
            heard = found.heard(found.leg_of(operation), None, answer, now, self._pace)
            await self._books.keep(uow, found, heard, now)
            await uow.requests.answer(request, True)
            await uow.commit()
