"""The platform of a demo, and its callers."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from city.launcher import Platform

Stub = TypeVar("Stub")


class DemoPlatform(Platform):
    """A platform that tells how far it has started, and that may be left running."""

    def ready_count(self) -> int:
        """How many services are ready."""
        return sum(unit.ready for unit in self._units.values())

    def leave_running(self) -> None:
        """Let servers and services live on when this process ends; `citycard down` stops them.

        From now on nobody starts a service again that falls.
        """
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        self.state.release()


class Callers:
    """Stubs of the services as anybody the demo needs, one channel for each pair; closed together.

    Args:
        platform: An open platform.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._channels: dict[tuple[str, str], grpc.aio.Channel] = {}

    def stub(self, stub: Callable[[grpc.aio.Channel], Stub], service: str, as_: str = "administrator/demo") -> Stub:
        """A stub of a generated class, `stub(CardServiceStub, "card", "outlet/luohu")`."""
        key = (service, as_)
        if key not in self._channels:
            self._channels[key] = self._platform.channel(service, as_)
        return stub(self._channels[key])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()


Progress = Callable[[int], Any]
"""Told how much is done so far."""
