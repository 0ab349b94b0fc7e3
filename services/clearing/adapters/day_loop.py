"""The loop that works on day runs beside the calls."""

import asyncio
import contextlib

from services.clearing.application.day_run import WorkOnDays
from services.clearing.application.settlement import Caps

_IDLE_S = 2.0


class DayLoop:
    """Rounds over open runs, at once when somebody asks and every two seconds for what waits."""

    def __init__(self, caps: Caps) -> None:
        self._caps = caps
        self._woken = asyncio.Event()
        self.work: WorkOnDays | None = None

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    async def run(self) -> None:
        """Round after round; a day that moved on is followed by a look at the caps."""
        assert self.work is not None, "the wiring sets what is to be done"
        while True:
            self._woken.clear()
            moved = await self.work()
            if moved:
                await self._caps.check()
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _IDLE_S)
