"""Begins a flow: LoadFromBank, UnloadToBank, PurchaseFromBank, WithdrawCash, TransferBetweenBanks."""

from uuid import UUID

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.account.application.bank_ports import BankTransaction
from services.account.application.booking import book
from services.account.application.ports import IdFactory
from services.account.domain.bank_flow import BankFlow
from services.account.domain.bank_order import FlowOrder
from services.account.domain.chart import Chart
from services.account.domain.reservation import Reservation, ReservationState


class StartBankFlow:
    """Begins a flow; who asks the banks is `DriveBankFlow`."""

    def __init__(self, transaction: BankTransaction, chart: Chart, clock: Clock, new_id: IdFactory) -> None:
        self._transaction = transaction
        self._chart = chart
        self._clock = clock
        self._new_id = new_id

    async def __call__(self, order: FlowOrder, request: RequestKey) -> BankFlow:
        """Hold the amount in the books and store the flow; nobody was asked yet. A repetition gets it as it is now.

        Raises:
            BankUnknown, BankSuspended, BankLimitExceeded, PurseUnknown, InsufficientBalance, LimitExceeded: First match
                wins.
            RequestIdReused: The id was used for other content, or by another caller.
        """
        flow_id = UUID(request.request_id)
        async with self._transaction() as uow:
            if not await uow.requests.claim(request):
                return await uow.bank_flows.get(flow_id)
            banks = {account.bank: await uow.banks.get(account.bank) for account in order.accounts}
            for account in order.accounts:
                banks[account.bank].check(order.amount_fen)
            now = self._clock.now()
            flow = order.flow(flow_id, banks, [self._new_id() for _ in order.accounts], now)
            # From here on the banks' days are locked, so that a limit is not passed by two at once.
            for leg in sorted(flow.legs, key=lambda leg: (leg.bank, leg.business_date)):
                used = await uow.banks.use(leg.bank, leg.business_date, leg.amount_fen)
                banks[leg.bank].check_day(used - leg.amount_fen, leg.amount_fen)
            if order.purse is not None:
                await uow.purses.get(order.purse)
            flow.posting.check(self._chart)
            await book(uow, self._chart, now, held=flow.posting, limited=True)
            await uow.reservations.add(Reservation(flow.id, ReservationState.PENDING, flow.posting, None, None, now))
            await uow.bank_flows.add(flow)
            await uow.requests.answer(request, str(flow.id))
            await uow.commit()
        return flow
