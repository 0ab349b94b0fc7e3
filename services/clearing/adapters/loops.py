"""Loops beside the calls: judge what came, decide what waited, compare with the gateway."""

import asyncio
import contextlib

from psycopg.errors import UniqueViolation

from libs.errors import DependencyUnavailable
from libs.runtime.logging import get_logger
from services.clearing.application.find_gaps import FindGaps
from services.clearing.application.intake import Reconcile
from services.clearing.application.judge_files import JudgeFiles
from services.clearing.application.rejudge import Rejudge

log = get_logger("citycard.clearing")

_IDLE_S = 1.0
_AWAY_S = 1.0
_GAPS_PERIOD_S = 3600.0


def tell_progress(done: int, total: int) -> None:
    """How far a proof has come, in records."""
    log.info("clearing.proof_progress", records=done, records_total=total)


class Loops:
    """The clearing service's own background work.

    Args:
        judge_files: Judges this worker's share.
        rejudge: Decides what waited.
        reconcile: Compares with the gateway.
        find_gaps: Looks for missing counters.
        reconcile_period_s: Pause between two comparisons, seconds.
        first: Of several workers one decides what waited: what it takes may be anybody's.
    """

    def __init__(
        self,
        judge_files: JudgeFiles,
        rejudge: Rejudge,
        reconcile: Reconcile,
        find_gaps: FindGaps,
        *,
        reconcile_period_s: float,
        first: bool = True,
    ) -> None:
        self._judge_files = judge_files
        self._rejudge = rejudge
        self._reconcile = reconcile
        self._find_gaps = find_gaps
        self._reconcile_period_s = reconcile_period_s
        self._first = first
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There may be a file to judge."""
        self._woken.set()

    async def judge(self) -> None:
        """Judge set after set while there are files; else wait for one."""
        try:
            await self._judge_for_ever()
        finally:
            self._judge_files.forget()

    async def _judge_for_ever(self) -> None:
        while True:
            self._woken.clear()
            try:
                outcome = await self._judge_files()
                waited = 0 if outcome.files_seen or not self._first else await self._rejudge()
            except UniqueViolation:
                # Another worker took one of the keys while this set was under way. Nothing of the set is stored; judged
                # again, the record meets what is there now and is a duplicate or a conflict.
                log.info("clearing.keys_met")
                self._judge_files.forget()
                continue
            except DependencyUnavailable as away:
                # Uploads wait where they are stored; nothing is lost by trying again.
                log.warning("clearing.dependency_away", **away.facts)
                await asyncio.sleep(_AWAY_S)
                continue
            if outcome.records_judged:
                log.info("clearing.set_posted", files=outcome.files_seen, records=outcome.records_judged)
            if not outcome.files_seen and not waited:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), _IDLE_S)

    async def reconcile(self) -> None:
        """Compare with the gateway's list now and then: a lost event delays a file, and loses none."""
        while True:
            try:
                found = await self._reconcile()
                if found:
                    log.info("clearing.uploads_found", files=found)
                    self.wake()
            except DependencyUnavailable as away:
                log.warning("clearing.dependency_away", **away.facts)
            await asyncio.sleep(self._reconcile_period_s)

    async def gaps(self) -> None:
        """Look for missing counters now and then; the first look waits, so that a start disturbs nobody."""
        while True:
            await asyncio.sleep(_GAPS_PERIOD_S)
            found = await self._find_gaps()
            if found.opened or found.ended:
                log.info("clearing.gaps_found", opened=found.opened, ended=found.ended)
