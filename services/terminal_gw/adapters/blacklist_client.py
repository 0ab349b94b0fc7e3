"""The blacklist service over its public RPCs."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
from citycard.blacklist.v1 import blacklist_service_pb2 as service_pb

from libs.errors import DependencyUnavailable
from libs.runtime.refusals import error_info
from services.terminal_gw.adapters.lists.client import Patience
from services.terminal_gw.application.ports import ListPart, VersionNotKept

if TYPE_CHECKING:
    # Exists for types only: at run time one stub class serves both worlds.
    from citycard.blacklist.v1.blacklist_service_pb2_grpc import BlacklistServiceAsyncStub


class GrpcBlacklist:
    """The port `BlacklistSource`."""

    def __init__(self, stub: "BlacklistServiceAsyncStub", patience: Patience) -> None:
        self._stub = stub
        self._patience = patience

    async def snapshot(self) -> AsyncIterator[ListPart]:
        """GetSnapshot."""
        async for part in _parts(self._stub.GetSnapshot(service_pb.GetSnapshotRequest())):
            yield part

    async def delta(self, base_version: int) -> AsyncIterator[ListPart]:
        """GetDelta."""
        async for part in _parts(self._stub.GetDelta(service_pb.GetDeltaRequest(base_version=base_version))):
            yield part

    async def newest_version(self) -> int:
        """GetVersion."""

        async def ask() -> int:
            return (await self._stub.GetVersion(service_pb.GetVersionRequest())).version

        return await self._patience.ask(ask)


async def _parts(call: Any) -> AsyncIterator[ListPart]:
    try:
        async for part in call:
            yield ListPart(part.version, part.data)
    except grpc.aio.AioRpcError as error:
        if error_info(error).reason == "VERSION_UNKNOWN":
            raise VersionNotKept from error
        raise DependencyUnavailable(dependency="blacklist") from error
