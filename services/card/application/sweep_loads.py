"""The sweep: loads that nobody asks after any more are taken to their end."""

from datetime import timedelta

from libs.clock import Clock
from libs.errors import DependencyUnavailable
from libs.runtime.logging import get_logger
from services.card.application.ports import LedgerDisagrees, OpenUnitOfWork
from services.card.application.settle_load import SettleLoad, StillInFlight
from services.card.domain.load import Evidence, LoadState

log = get_logger("citycard.card.sweep")

_ROUND_LOADS_MAX = 200


class SweepLoads:
    """One round over the loads that are due; several sweeps at once are harmless.

    Args:
        unit_of_work: Opens a transaction.
        settle: Takes a decided load to its end.
        clock: The time.
        request_wait: A load that has no MAC2 after this long is given up.
    """

    def __init__(self, unit_of_work: OpenUnitOfWork, settle: SettleLoad, clock: Clock, request_wait: timedelta) -> None:
        self._unit_of_work = unit_of_work
        self._settle = settle
        self._clock = clock
        self._request_wait = request_wait

    async def __call__(self) -> int:
        """Answers how many loads moved. A ledger that does not answer ends the round, the next one goes on."""
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            due = await uow.loads.due(requested_before=now - self._request_wait, now=now, limit=_ROUND_LOADS_MAX)
        moved = 0
        for load_id in due:
            try:
                moved += await self._look_after(load_id)
            except StillInFlight:
                continue
            except LedgerDisagrees as problem:
                log.error("load.ledger_disagrees", load=load_id, problem=str(problem))  # noqa: TRY400 (no stack needed)
            except DependencyUnavailable as away:
                log.warning("load.settlement_waits", load=load_id, dependency=away.facts.get("dependency"))
                break
        return moved

    async def _look_after(self, load_id: str) -> bool:
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            load = await uow.loads.get_for_update(load_id)
            if load.awaits_mac2 and load.create_time <= now - self._request_wait:
                await uow.loads.save(load.given_up(Evidence.TIMEOUT))
                await uow.commit()
            elif (
                load.state is LoadState.AUTHORISED
                and load.verdict is None
                and load.expire_time is not None
                and load.expire_time <= now
            ):
                await uow.loads.save(load.timed_out())
                await uow.commit()
                log.warning("load.uncertain", load=load_id)
                return True
        settled = await self._settle(load_id)
        if settled.is_final:
            log.info("load.settled", load=load_id, state=settled.state, evidence=settled.evidence)
        return settled.is_final
