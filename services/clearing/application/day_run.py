"""RunDay: the end of day, participant by participant, stage by stage; every stage can be run again."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, timedelta

from libs.clock import Clock
from libs.errors import DependencyUnavailable, DomainError
from libs.runtime.logging import get_logger
from services.clearing.application.ports import UnitOfWork
from services.clearing.domain.day_run import (
    DayRun,
    Stage,
    StageRow,
    StageState,
    next_stages,
    progress_of,
)
from services.clearing.domain.errors import WindowBusy, WindowOrder
from services.clearing.domain.errors_settlement import (
    DayNotOver,
    DayRunUnknown,
    PaymentAccountMissing,
    SigningKeyMissing,
)

log = get_logger("citycard.clearing")

Work = Callable[[str, date], Awaitable[str]]
"""Does one stage of a participant's day and says what came of it."""

# A stage is renewed while it is worked on: only a process that died loses it.
_LEASE = timedelta(seconds=30)
_RENEW_S = 10.0
# Participants whose stages are worked on at once.
_AT_ONCE = 3
_POLL_S = 0.2
# What comes by itself is waited for; what nobody arranged is skipped; everything else is a failure to be looked at.
_WAITS = (WindowBusy, WindowOrder, DependencyUnavailable, DayNotOver)
_SKIPS = (SigningKeyMissing, PaymentAccountMissing)


class RunDay:
    """Starts a run, or what failed in it again."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock, wake: Callable[[], None]) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._wake = wake

    async def __call__(self, settlement_date: date, who: str) -> DayRun:
        """The run as it stands; the work goes on behind."""
        async with self._unit_of_work() as uow:
            await uow.day_runs.begin(settlement_date, who, self._clock.now(), tuple(Stage))
            run: DayRun = await uow.day_runs.find(settlement_date)
            await uow.commit()
        self._wake()
        return run


class DayReads:
    """Where runs are."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def run(self, settlement_date: date) -> DayRun:
        """One run with its stages.

        Raises:
            DayRunUnknown: The day was never run.
        """
        async with self._unit_of_work() as uow:
            found: DayRun | None = await uow.day_runs.find(settlement_date)
        if found is None:
            raise DayRunUnknown(settlement_date=settlement_date.isoformat())
        return found

    async def wait(self, settlement_date: date, timeout_s: float) -> DayRun:
        """The run when it is done, or when the time is up.

        Raises:
            DayRunUnknown: The day was never run.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            run = await self.run(settlement_date)
            if progress_of(run.stages).finished or asyncio.get_running_loop().time() > deadline:
                return run
            await asyncio.sleep(_POLL_S)

    async def page(self, before: date | None, size: int) -> Sequence[DayRun]:
        """Runs, the newest day first."""
        async with self._unit_of_work() as uow:
            found: list[DayRun] = await uow.day_runs.page(before, size)
        return found


class WorkOnDays:
    """Does what runs have left to do.

    Args:
        unit_of_work: Opens a transaction.
        clock: The city's.
        work: What each stage does.
    """

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock, work: Mapping[Stage, Work]) -> None:
        assert set(work) == set(Stage), "every stage is somebody's work"
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._work = work

    async def __call__(self) -> int:
        """One round: the next stage of every participant in every open run; how many moved on.

        Nobody waits for another's success: what fails stays FAILED, what waits is tried in the next round.
        """
        async with self._unit_of_work() as uow:
            await uow.day_runs.give_back(self._clock.now())
            days: list[date] = await uow.day_runs.open_days()
            runs = [await uow.day_runs.find(day) for day in days]
            await uow.commit()
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(day: date, row: StageRow) -> bool:
            async with room:
                return await self._try(day, row)

        moved = 0
        # Day by day: windows of one participant close in their order.
        for run in runs:
            moved += sum(await asyncio.gather(*(one(run.settlement_date, row) for row in next_stages(run.stages))))
        return moved

    async def _try(self, day: date, row: StageRow) -> bool:
        """Do one stage; True when it passed or failed, False when it waits or somebody else has it."""
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            mine: bool = await uow.day_runs.claim(day, row.participant, row.stage, now, now + _LEASE)
            await uow.commit()
        if not mine:
            return False
        renewing = asyncio.create_task(self._renew(day, row), name="day stage lease")
        try:
            state, reason, detail = await self._outcome(day, row)
        finally:
            renewing.cancel()
        async with self._unit_of_work() as uow:
            await uow.day_runs.settle(day, row.participant, row.stage, state, reason, detail, self._clock.now())
            await uow.commit()
        return state is not StageState.WAITING

    async def _renew(self, day: date, row: StageRow) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            async with self._unit_of_work() as uow:
                await uow.day_runs.renew(day, row.participant, row.stage, self._clock.now() + _LEASE)
                await uow.commit()

    async def _outcome(self, day: date, row: StageRow) -> tuple[StageState, str, str]:
        facts = {"participant": row.participant, "day": day.isoformat(), "stage": row.stage.name}
        try:
            return StageState.DONE, "", await self._work[row.stage](row.participant, day)
        except _WAITS as waits:
            return StageState.WAITING, waits.reason, str(waits)
        except _SKIPS as skipped:
            return StageState.SKIPPED, skipped.reason, str(skipped)
        except DomainError as refused:
            log.warning("clearing.day_stage_failed", reason=refused.reason, **facts)
            return StageState.FAILED, refused.reason, str(refused)
        except Exception:
            # A defect in one participant's day must not stop the others': it is told in full here, and in the run.
            log.exception("clearing.day_stage_broken", **facts)
            return StageState.FAILED, "INTERNAL", "see the log of the service"
