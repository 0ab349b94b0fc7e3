"""Asks the banks, step by step: every step is stored before the call and after the answer."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from libs.clock import Clock
from libs.runtime.logging import get_logger
from services.account.application.bank_booking import FlowBooks
from services.account.application.bank_ports import BankGateway, BankTransaction
from services.account.domain.bank import Bank
from services.account.domain.bank_errors import BankSilent
from services.account.domain.bank_flow import FINAL, BankFlow, Heard, Pace, Step
from services.account.domain.bank_order import HOLD_FOR

log = get_logger("citycard.account")

# Beyond the call's own time limit, seconds: two transactions, and a slow machine.
_LEASE_MARGIN_S = 5.0
Decide: TypeAlias = Callable[[BankFlow, datetime], Heard]


class DriveBankFlow:
    """Brings flows to their ends. Any number of drivers may meet on one flow: the row and the banks decide."""

    def __init__(
        self, transaction: BankTransaction, gateway: BankGateway, books: FlowBooks, clock: Clock, pace: Pace
    ) -> None:
        self._transaction = transaction
        self._gateway = gateway
        self._books = books
        self._clock = clock
        self._pace = pace

    async def __call__(self, flow_id: UUID, budget_s: float) -> BankFlow:
        """Drive a flow until it ends, or for so many seconds; it is in good hands either way.

        Raises:
            BankFlowUnknown: There is none.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + budget_s
        while True:
            flow = await self.advance(flow_id)
            if flow.state in FINAL or flow.next_time is None:
                return flow
            pause = max((flow.next_time - self._clock.now()).total_seconds(), 0.0)
            if loop.time() + pause >= end:
                return flow
            # Somebody else may be asking the bank in this moment, and be done long before its lease is over.
            await asyncio.sleep(min(pause, 0.2))

    async def advance(self, flow_id: UUID) -> BankFlow:
        """Make the next call of a flow if its time has come; returns the flow after it.

        Raises:
            BankFlowUnknown: There is none.
        """
        flow, call = await self._begin(flow_id)
        if call is None:
            return flow
        step, bank = call
        leg = flow.legs[step.index]
        try:
            answer = await self._gateway.ask(bank, step.verb, leg, flow.kind.value.lower(), flow.create_time + HOLD_FOR)
        except BankSilent as silence:
            log.warning("account.bank_silent", bank=bank.participant, verb=step.verb.value, why=silence.facts["why"])
            return await self._end(flow_id, lambda found, now: found.silent(step, now, self._pace))
        return await self._end(flow_id, lambda found, now: found.heard(step.index, step.verb, answer, now, self._pace))

    async def _begin(self, flow_id: UUID) -> tuple[BankFlow, tuple[Step, Bank] | None]:
        """Store what is about to be asked; nothing is asked while another driver's lease lasts."""
        async with self._transaction() as uow:
            found = await uow.bank_flows.get_for_update(flow_id)
            now = self._clock.now()
            if found.next_time is None or found.next_time > now:
                return found, None
            flow = found.overdue(now)
            step = flow.step()
            call = None
            if step is not None:
                bank = await uow.banks.get(flow.legs[step.index].bank)
                flow = flow.asking(step, now, bank.call_timeout_s + _LEASE_MARGIN_S)
                call = (step, bank)
            flow = await self._books.keep(uow, found, Heard(flow), now)
            await uow.commit()
        return flow, call

    async def _end(self, flow_id: UUID, decide: Decide) -> BankFlow:
        async with self._transaction() as uow:
            found = await uow.bank_flows.get_for_update(flow_id)
            now = self._clock.now()
            heard = decide(found, now)
            flow = await self._books.keep(uow, found, heard, now)
            await uow.commit()
        for finding in heard.findings:
            log.warning(
                "account.bank_finding",
                flow=str(flow_id),
                bank=finding.bank,
                operation=str(finding.operation),
                kind=finding.kind.value,
                bank_state=finding.bank_state.value,
            )
        if flow.state in FINAL and found.state not in FINAL:
            log.info("account.bank_flow_ended", flow=str(flow_id), kind=flow.kind.value, state=flow.state.value)
        return flow
