"""The platform of a demo: one of its services may live on another day for a while."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from city.launcher import Narrator, Platform

Stub = TypeVar("Stub")


class DemoPlatform(Platform):
    """A platform on which cards can be sold before the day that is played.

    Cards are valid from the day of their sale, and a city's riders have theirs before the first tap. The card service
    therefore starts on an earlier day, and comes to the others' time when all cards are sold.

    Args:
        root: Folder of this city.
        clock: The time it shall be in the city now.
        sale: The time it shall be for the card service until `end_sale`.
        narrate: Is told what happens to services.
    """

    def __init__(self, root: Path, *, clock: datetime, sale: datetime, narrate: Narrator | None = None) -> None:
        super().__init__(root, clock=clock, narrate=narrate)
        self._sale: datetime | None = sale

    def environment(self, service: str) -> dict[str, str]:
        """The environment that a service's process gets."""
        environment = super().environment(service)
        if service == "card" and self._sale is not None:
            offset_s = round((self._sale - datetime.now(UTC)).total_seconds())
            environment["CITYCARD_CLOCK_OFFSET_S"] = str(offset_s)
        return environment

    def ready_count(self) -> int:
        """How many services are ready."""
        return sum(unit.ready for unit in self._units.values())

    async def end_sale(self) -> None:
        """Bring the card service to the time of the others; it is away for a moment."""
        self._sale = None
        await self.stop("card")
        await self.start("card")

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
