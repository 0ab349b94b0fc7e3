"""Ends a break by a person's decision."""

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.bank_ports import BankTransaction
from services.account.domain.bank_break import BankBreak
from services.account.domain.bank_errors import BreakClosed


class CloseBreak:
    """Ends a break by a person's decision; what is to be booked for it is a journal of its own."""

    def __init__(self, transaction: BankTransaction, clock: Clock) -> None:
        self._transaction = transaction
        self._clock = clock

    async def __call__(self, break_id: int, note: str, request: RequestKey) -> BankBreak:
        """Close it with a note that says why.

        Raises:
            BreakUnknown: There is none.
            BreakClosed: It ended before.
            RequestIdReused: The id was used for other content.
        """
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, BankBreak)
            found = await uow.bank_breaks.get(break_id)
            if found.outcome is not None:
                raise BreakClosed(**{"break": break_id, "outcome": found.outcome.value})
            await uow.bank_breaks.close(break_id, note, self._clock.now())
            closed = await uow.bank_breaks.get(break_id)
            await uow.requests.answer(request, closed)
            await uow.commit()
        return closed
