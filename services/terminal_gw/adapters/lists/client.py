"""The blacklist's lists over its public RPCs: an answer, or a refusal within a second."""

import asyncio
import hashlib
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import grpc
from citycard.blacklist.v1 import list_pb2 as pb
from citycard.blacklist.v1 import list_service_pb2 as service_pb

from libs.errors import DependencyUnavailable
from libs.runtime.refusals import error_info
from services.terminal_gw.application.list_ports import ArtefactUnknown, Asked, ListFile, Lists, ListState, Word

if TYPE_CHECKING:
    from citycard.blacklist.v1.list_service_pb2_grpc import ListServiceAsyncStub

T = TypeVar("T")
# A caller waits a second at most to hear that the blacklist is away.
PATIENCE_S: Final = 0.7
# After that nobody waits for so long.
_REST_S: Final = 2.0
_WATCH_S: Final = 0.5
_REPORT_S: Final = 4.0


class Patience:
    """Asks whether a service is there before something long is asked of it; one that is not is left alone for a while.

    A connection that is being made swallows calls for seconds, and so do retries; only a limit of our own does not. Use
    a channel that does not retry: the callers of this service do, and each of theirs would wait for all of ours.

    Args:
        monotonic: Tells elapsed seconds; for tests.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._rest_until = float("-inf")

    @property
    def resting(self) -> bool:
        """Whether it did not answer a moment ago."""
        return self._monotonic() < self._rest_until

    async def ask(self, question: Callable[[], Awaitable[T]], timeout_s: float = PATIENCE_S) -> T:
        """The answer.

        Raises:
            DependencyUnavailable: None came in time, or none came to the one who asked before.
        """
        if self.resting:
            raise DependencyUnavailable(dependency="blacklist")
        try:
            async with asyncio.timeout(timeout_s):
                return await question()
        except TimeoutError as error:
            self.rest()
            raise DependencyUnavailable(dependency="blacklist") from error
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                self.rest()
            raise DependencyUnavailable(dependency="blacklist") from error

    def rest(self) -> None:
        """It did not answer."""
        self._rest_until = self._monotonic() + _REST_S

    async def watch(self, question: Callable[[], Awaitable[object]]) -> None:
        """Ask now and then until cancelled, so that callers need not find out: refused at once while it is away."""
        while True:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await question()
                self._rest_until = float("-inf")
            except (TimeoutError, grpc.aio.AioRpcError):
                self.rest()
            await asyncio.sleep(_WATCH_S)


class GrpcLists:
    """The port `ListSource`."""

    def __init__(self, stub: "ListServiceAsyncStub", patience: Patience) -> None:
        self._stub = stub
        self._patience = patience

    @property
    def away(self) -> bool:
        """Whether it did not answer a moment ago."""
        return self._patience.resting

    async def lists(self) -> Lists:
        """GetLists."""
        answer = await self._patience.ask(lambda: _awaited(self._stub.GetLists(service_pb.GetListsRequest())))
        states = [ListState(one.list, one.published_version, one.SerializeToString()) for one in answer.lists]
        return Lists(tuple(states), tuple(signer.public_key for signer in answer.signers))

    async def fetch(self, asked: Asked) -> ListFile | None:
        """GetArtefact, all parts; the digest is checked before anybody is served."""
        # Whether it is there is asked of something small: a file may take its time.
        await self.lists()
        request = service_pb.GetArtefactRequest(
            list=pb.ListKind.ValueType(asked.kind),
            base_version=asked.base_version,
            version=asked.version,
            entry_count_max=asked.entry_count_max,
        )
        parts: list[pb.ArtefactPart] = []
        try:
            async for part in self._stub.GetArtefact(request):
                parts.append(part)
        except grpc.aio.AioRpcError as error:
            detail = error_info(error)
            if detail.reason == "ARTEFACT_UNKNOWN":
                raise ArtefactUnknown(**detail.facts) from error
            self._patience.rest()
            raise DependencyUnavailable(dependency="blacklist") from error
        if not parts:
            return None
        data = b"".join(part.data for part in parts)
        first = parts[0]
        if hashlib.sha256(data).digest() != first.sha256:
            raise DependencyUnavailable(dependency="blacklist")
        return ListFile(asked.kind, first.version, first.base_version, first.left_out_count, first.sha256, data)

    async def report(self, kind: int, fetched: Sequence[tuple[int, int]], words: Sequence[Word]) -> None:
        """ReportHops."""
        request = service_pb.ReportHopsRequest(
            request_id=str(uuid.uuid4()),
            list=pb.ListKind.ValueType(kind),
            fetched_versions=[version for version, _ in fetched][:1000],
            fetch_times_ms=[at_ms for _, at_ms in fetched][:1000],
            terminal_numbers=b"".join(bytes.fromhex(word.terminal_number) for word in words),
            versions=[word.version for word in words],
            offer_times_ms=[word.offered_ms for word in words],
            acknowledge_times_ms=[word.acknowledged_ms for word in words],
        )
        await self._patience.ask(lambda: _awaited(self._stub.GetLists(service_pb.GetListsRequest())))
        await self._patience.ask(lambda: _awaited(self._stub.ReportHops(request)), _REPORT_S)


async def _awaited(call: Awaitable[T]) -> T:
    # A call of the library is awaitable and no coroutine.
    return await call
