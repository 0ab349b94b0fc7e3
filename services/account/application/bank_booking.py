"""How flows reach the books: each state that a flow comes to has its effect in the transaction that stores it."""

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from services.account.application.bank_ports import BankUnitOfWork
from services.account.application.booking import book, sums_after
from services.account.application.ports import IdFactory
from services.account.domain.bank_errors import ReservationOwned
from services.account.domain.bank_flow import FINAL, FLOW_EVENTS, HOLDING, UNDO_EVENTS, BankFlow, FlowState, Heard
from services.account.domain.book import NewJournal
from services.account.domain.chart import Chart
from services.account.domain.reservation import Reservation


class FlowBooks:
    """Stores flows and books what they decide."""

    def __init__(self, chart: Chart, new_id: IdFactory) -> None:
        self._chart = chart
        self._new_id = new_id

    async def keep(self, uow: BankUnitOfWork, before: BankFlow, heard: Heard, now: datetime) -> BankFlow:
        """Store a flow and what did not fit, and post or let go what it holds; the caller commits.

        Args:
            uow: The transaction; the flow is locked.
            before: As it was read.
            heard: As it shall be.
            now: When.

        Returns:
            The flow, with the journals that posted it.
        """
        flow = heard.flow
        if flow != before:
            # Before the book is locked: a long match of a daily file may be waited for here.
            await uow.bank_flows.save(before, flow)
        if heard.findings:
            await uow.bank_breaks.note(heard.findings, now)
        if before.state not in FINAL and flow.state in FINAL:
            await uow.bank_breaks.unstuck([leg.operation for leg in flow.legs], now)
        if before.state in HOLDING and flow.state is FlowState.POSTED:
            flow = replace(flow, journal=await self._post(uow, flow.id, now))
        elif before.state in HOLDING and flow.state not in HOLDING:
            await self._let_go(uow, flow, now)
        elif before.state is FlowState.UNDOING and flow.state is FlowState.UNDONE:
            assert flow.undo is not None, "what is undone has a reservation that undoes it"
            flow = replace(flow, undo_journal=await self._post(uow, flow.undo, now))
        return flow

    async def _post(self, uow: BankUnitOfWork, reservation_id: UUID, now: datetime) -> UUID:
        found = await uow.reservations.get_for_update(reservation_id)
        journal = self._new_id()
        await uow.reservations.resolve(found.commit(journal, now), now)
        accounts = await book(uow, self._chart, now, posted=found.posting, released=found.posting)
        await uow.journals.post([NewJournal(journal, found.posting, sums_after(found.posting, accounts))], now)
        return journal

    async def _let_go(self, uow: BankUnitOfWork, flow: BankFlow, now: datetime) -> None:
        found = await uow.reservations.get_for_update(flow.id)
        await uow.reservations.resolve(found.void(), now)
        for leg in sorted(flow.legs, key=lambda leg: (leg.bank, leg.business_date)):
            await uow.banks.use(leg.bank, leg.business_date, -leg.amount_fen)
        await book(uow, self._chart, now, released=found.posting)


def refuse_owned(reservation: Reservation) -> None:
    """Let pass reservations that whoever made them may end.

    Raises:
        ReservationOwned: It belongs to a bank flow: ended alone, the books and the bank would part.
    """
    if reservation.posting.event in FLOW_EVENTS | UNDO_EVENTS:
        raise ReservationOwned(reservation=reservation.id, owner=reservation.posting.reference)
