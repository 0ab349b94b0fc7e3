"""Loops that run beside the calls: supervised, restarted with back-off, never silently dead."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from libs.runtime import telemetry
from libs.runtime.logging import get_logger

log = get_logger("citycard.background")

_CANCEL_AGAIN_S = 1.0

Loop = tuple[str, Callable[[], Coroutine[Any, Any, None]]]


class Supervisor:
    """Keeps named loops running until it is stopped.

    A loop that crashes, or returns, is logged, counted and started again after a growing pause; while it is down or
    freshly restarted `failing` names it, and the service is not ready.

    Args:
        loops: Name and factory of each.
        backoff_s: Pause before the first restart, seconds; it doubles up to `backoff_s_max`.
        backoff_s_max: Longest pause, seconds.
        settled_s: A loop that ran this long, seconds, is well again.
    """

    def __init__(
        self, loops: Sequence[Loop], *, backoff_s: float = 0.5, backoff_s_max: float = 30.0, settled_s: float = 2.0
    ) -> None:
        self._loops = loops
        self._backoff_s = backoff_s
        self._backoff_s_max = backoff_s_max
        self._settled_s = settled_s
        self._tasks: list[asyncio.Task[None]] = []
        self._failing: set[str] = set()
        self._crashes = telemetry.counter(telemetry.BACKGROUND_CRASHES, "Crashes of background loops, by name")

    @property
    def failing(self) -> frozenset[str]:
        """Names of the loops that are down now."""
        return frozenset(self._failing)

    def start(self) -> None:
        """Start every loop."""
        self._tasks = [asyncio.create_task(self._keep(name, make), name=name) for name, make in self._loops]

    async def stop(self) -> None:
        """Cancel every loop and wait until each has cleaned up."""
        running = set(self._tasks)
        while running:
            for task in running:
                task.cancel()
            # A library may swallow a cancellation in the middle of a call: whoever is still at work is asked again.
            _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_S)
        self._tasks = []

    async def _keep(self, name: str, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        loop = asyncio.get_running_loop()
        pause = self._backoff_s
        while True:
            settled = loop.call_later(self._settled_s, self._failing.discard, name)
            began = loop.time()
            try:
                await make()
                log.error("background.returned", loop=name)
            except Exception:
                log.exception("background.crashed", loop=name)
            finally:
                settled.cancel()
            self._failing.add(name)
            self._crashes.add(1, {"loop": name})
            if loop.time() - began > self._settled_s:
                pause = self._backoff_s
            # Spread, so that thirty processes do not come back in the same instant.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (not a secret)
            pause = min(pause * 2, self._backoff_s_max)
