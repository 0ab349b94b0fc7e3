"""Takes a flow back."""

from uuid import UUID

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.bank_booking import FlowBooks
from services.account.application.bank_ports import BankTransaction, BankUnitOfWork
from services.account.application.booking import book
from services.account.domain.bank_flow import HOLDING, BankFlow, FlowState, Heard
from services.account.domain.chart import Chart
from services.account.domain.reservation import Reservation, ReservationState


class ReverseBankFlow:
    """Takes a flow back; the banks are told by `DriveBankFlow`."""

    def __init__(self, transaction: BankTransaction, chart: Chart, books: FlowBooks, clock: Clock) -> None:
        self._transaction = transaction
        self._chart = chart
        self._books = books
        self._clock = clock

    async def __call__(self, flow_id: UUID, request: RequestKey) -> BankFlow:
        """Give up what is still being authorised; undo what was posted. One that was taken back is answered as it is.

        Raises:
            BankFlowUnknown: There is none.
            BankFlowBusy: The banks are being told to book.
            InsufficientBalance, LimitExceeded: What was posted is spent.
            RequestIdReused: The id was used for other content.
        """
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.bank_flows.get(flow_id)
            found = await uow.bank_flows.get_for_update(flow_id)
            now = self._clock.now()
            flow = found
            if found.state is FlowState.POSTED:
                flow = found.undoing(UUID(request.request_id), now)
                await self._hold(uow, flow)
            elif found.state in HOLDING:
                flow = found.cancel(now)
            if flow is not found:
                flow = await self._books.keep(uow, found, Heard(flow), now)
            await uow.requests.answer(request, str(flow.id))
            await uow.commit()
        return flow

    async def _hold(self, uow: BankUnitOfWork, flow: BankFlow) -> None:
        """Hold the opposite of what was posted: a holder who has spent it cannot have it taken back."""
        assert flow.undo is not None, "what is being undone has a reservation that undoes it"
        now = self._clock.now()
        posting = flow.undoing_posting(now)
        await book(uow, self._chart, now, held=posting, limited=True)
        await uow.reservations.add(Reservation(flow.undo, ReservationState.PENDING, posting, None, None, now))
