"""What the blacklist does by itself: publish, expire, drop, measure."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from libs.runtime.logging import get_logger
from libs.runtime.refusals import refusal_of
from services.blacklist.application.report import GetDelays, HopDelay

log = get_logger("citycard.blacklist.loops")

# Seconds, by hop and percentile (50, 90, 95, 99), over the last seven days; the name a dashboard may rely on.
DELAY_METRIC: Final = "citycard.blacklist.delay"
# Terminals whose last word is an older version than the newest published one.
BEHIND_METRIC: Final = "citycard.blacklist.terminals_behind"


class Alarm:
    """Wakes a loop before its time."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Something changed."""
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Until it rings, at most so long; what rang since the last time counts."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return
        finally:
            self._event.clear()


async def repeat(work: Callable[[], Awaitable[int]], alarm: Alarm, pause_s: float, poll_s: float) -> None:
    """Work until cancelled: again after a pause while there is something to do, else when woken or after the poll time.

    A dependency that is away is waited out and makes nobody unready.

    Args:
        work: One round; tells how much it did.
        alarm: Wakes it.
        pause_s: Shortest time between two rounds, seconds.
        poll_s: Longest, seconds.
    """
    while True:
        done = 0
        try:
            done = await work()
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            log.warning("background.waiting", error=str(refusal))
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # The database's driver may take a cancellation that reaches it for its own and finish the statement.
            raise asyncio.CancelledError
        await asyncio.sleep(pause_s)
        if not done:
            await alarm.wait(poll_s)


class DelayMetrics:
    """The percentiles as metrics, read now and then.

    Args:
        get_delays: Reads them.
    """

    def __init__(self, get_delays: GetDelays) -> None:
        self._get_delays = get_delays
        self._delays: list[HopDelay] = []
        self._behind = 0
        meter = metrics.get_meter("citycard.blacklist")
        meter.create_observable_gauge(
            DELAY_METRIC, [self._observe], unit="s", description="Delay of a hop of the blacklist, by percentile"
        )
        meter.create_observable_gauge(
            BEHIND_METRIC, [self._observe_behind], description="Terminals without the newest published blacklist"
        )

    async def __call__(self) -> int:
        """Read them; nothing to hurry for."""
        self._delays, reach = await self._get_delays()
        self._behind = reach.terminal_count - reach.current_count
        return 0

    def _observe(self, options: CallbackOptions) -> Iterable[Observation]:
        for one in self._delays:
            for percentile, value in ((50, one.p50_s), (90, one.p90_s), (95, one.p95_s), (99, one.p99_s)):
                yield Observation(value, {"hop": one.hop.name.lower(), "percentile": percentile})

    def _observe_behind(self, options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(self._behind)
