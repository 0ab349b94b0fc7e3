"""Takes up flows whose time has come, and matches days again whose operations have moved."""

import asyncio
from uuid import UUID

from libs.clock import Clock
from libs.runtime.logging import get_logger
from services.account.application.bank_ports import BankTransaction
from services.account.application.drive_bank_flow import DriveBankFlow
from services.account.application.match_bank_day import MatchBankDay

log = get_logger("citycard.account")

# A bank that is away makes each of its flows wait for its time limit: it may not keep those of other banks waiting.
_PER_BANK = 8
_DAYS = 20
# A flow has four calls or so; those that answer are made in one go, seconds.
_BUDGET_S = 2.0
_WAIT_S = 3.0


class SweepBankFlows:
    """The sweep. After a crash it is what brings every flow to its end; late or dead, it loses nothing."""

    def __init__(
        self,
        transaction: BankTransaction,
        drive: DriveBankFlow,
        match: MatchBankDay,
        clock: Clock,
        period_s: float,
    ) -> None:
        self._transaction = transaction
        self._drive = drive
        self._match = match
        self._clock = clock
        self._period_s = period_s
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Sweep until cancelled, every `period_s` seconds."""
        try:
            while True:
                await self.sweep()
                await asyncio.sleep(self._period_s)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def sweep(self) -> int:
        """Take up what is due, at most eight flows of any one bank; returns how many flows and days were looked at.

        Calls to a bank that is silent go on while the next sweep looks after the others.
        """
        async with self._transaction() as uow:
            due = await uow.bank_flows.due(self._clock.now(), _PER_BANK)
            stale = await uow.bank_breaks.stale(_DAYS)
        for flow_id in due:
            task = asyncio.create_task(self._bring_on(flow_id), name=f"bank flow {flow_id}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if self._running:
            await asyncio.wait(set(self._running), timeout=_WAIT_S)
        for bank, business_date in stale:
            await self._match(bank, business_date)
        return len(due) + len(stale)

    async def _bring_on(self, flow_id: UUID) -> None:
        try:
            await self._drive(flow_id, _BUDGET_S)
        except Exception:
            # One that cannot be brought on stops no other; it stays due, and this line repeats.
            log.exception("account.bank_flow_failed", flow=str(flow_id))
