"""Health as orchestrators ask for it: liveness depends on nothing, readiness on everything that a call needs."""

import asyncio
from collections.abc import Awaitable, Callable

from grpc_health.v1 import health, health_pb2

from libs.runtime.background import Supervisor
from libs.runtime.logging import get_logger

log = get_logger("citycard.health")

LIVENESS = "liveness"
READINESS = "readiness"


class Health:
    """Follows the readiness of a process and tells it under all its names.

    Args:
        service_names: Full names of the offered services; they, `readiness` and the empty name follow readiness.
        ready: Raises when the service cannot serve now.
        supervisor: A loop that is down makes the service not ready.
        poll_s: Pause between two looks, seconds.
        timeout_s: A look that takes longer counts as not ready, seconds.
    """

    def __init__(
        self,
        service_names: tuple[str, ...],
        ready: Callable[[], Awaitable[None]],
        supervisor: Supervisor,
        *,
        poll_s: float = 2.0,
        timeout_s: float = 5.0,
    ) -> None:
        self.servicer = health.aio.HealthServicer()
        self._names = ("", READINESS, *service_names)
        self._ready = ready
        self._supervisor = supervisor
        self._poll_s = poll_s
        self._timeout_s = timeout_s
        self._serving: bool | None = None
        self._draining = False

    @property
    def serving(self) -> bool:
        """Whether the last look found the service ready."""
        return bool(self._serving)

    async def start(self) -> None:
        """Alive from now on; ready only after the first good look."""
        await self.servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self._tell(False)

    async def watch(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._poll_s)

    async def look(self) -> None:
        """Look once and tell the result."""
        reason = await self._reason_not_ready()
        if self._draining:
            return
        if (reason is None) != self._serving:
            if reason is None:
                log.info("health.serving")
            else:
                log.warning("health.not_serving", why=reason)
            await self._tell(reason is None)

    async def drain(self) -> None:
        """Not ready from now on, whatever later looks find; still alive."""
        self._draining = True
        await self._tell(False)

    async def _reason_not_ready(self) -> str | None:
        if self._supervisor.failing:
            return "background loops down: " + ", ".join(sorted(self._supervisor.failing))
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._ready()
        except Exception as error:
            return repr(error)[:300]
        return None

    async def _tell(self, serving: bool) -> None:
        self._serving = serving
        response = health_pb2.HealthCheckResponse
        for name in self._names:
            await self.servicer.set(name, response.SERVING if serving else response.NOT_SERVING)
