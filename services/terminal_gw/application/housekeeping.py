"""What the gateway does by itself: forget abandoned uploads."""

from collections.abc import Callable
from datetime import timedelta

from libs.clock import Clock
from libs.runtime.logging import get_logger
from services.terminal_gw.application.ports import UnitOfWork

log = get_logger("citycard.terminal_gw.housekeeping")


class RemoveAbandoned:
    """Removes unfinished uploads that nobody went on with; a stored one is never touched."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock, after: timedelta) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._after = after

    async def __call__(self) -> int:
        """Remove them; returns how many."""
        async with self._unit_of_work() as uow:
            count = await uow.uploads.remove_abandoned(self._clock.now() - self._after)
            await uow.commit()
        if count:
            log.info("upload.abandoned_removed", count=count)
        return count
