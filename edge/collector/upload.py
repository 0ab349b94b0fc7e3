"""Sending one batch file to the gateway: in chunks, resumed after a cut, harmless when repeated."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import grpc
from citycard.terminal_gw.v1 import terminal_gw_pb2 as gw
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from libs.errors import Refusal, Unavailable
from libs.records.crc32c import crc32c
from libs.runtime.refusals import error_info

if TYPE_CHECKING:
    # Exists for the type checker only; at run time a channel decides what the stub is.
    from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceAsyncStub

CHUNK_BYTES = 256 * 1024
ATTEMPTS_MAX = 8
PAUSE_FIRST_S = 0.2
PAUSE_LAST_S = 10.0
# A chunk of 256 KiB passes the slowest line of a depot in this time; a gateway that is silent for longer is gone.
_TIMEOUT_FIXED_S = 30.0
_TIMEOUT_PER_MIB_S = 10.0

# What a repetition can cure: no line, no answer, damage on the way, a gateway that is busy or was restarted in between,
# another stream of the same file that came first. Everything else says that the file or the sender is wrong.
_CURABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
_CURABLE_REASONS = frozenset({"UPLOAD_ORDER", "LIMIT_REACHED"})


class UploadRefused(Refusal):
    """The gateway will never take this file. Facts: `cause` (its reason), `file_name`, `text`."""

    reason = "UPLOAD_REFUSED"


class UploadUnfinished(Unavailable):
    """All attempts failed; the gateway keeps what it has, and the next `send` goes on there. Facts as UploadRefused."""

    reason = "UPLOAD_UNFINISHED"


class Uploader:
    """Sends files as one identity.

    Args:
        gateway: Stub of TerminalGatewayService over a channel with the sender's certificate.
        key: Private key of that certificate, ECDSA P-256.
        participant: Whom the certificate belongs to, `metro-1`.
        carrier: How the file travels.
        chunk_bytes: Bytes in a chunk; at most `chunk_bytes_max` of the sign-in.
        attempts_max: How often a file is tried in one `send`.
        sleep: Waits some seconds; tests put their own in place.
    """

    def __init__(
        self,
        gateway: "TerminalGatewayServiceAsyncStub",
        key: ec.EllipticCurvePrivateKey,
        participant: str,
        *,
        carrier: "gw.Carrier.ValueType" = gw.CARRIER_COLLECTOR,
        chunk_bytes: int = CHUNK_BYTES,
        attempts_max: int = ATTEMPTS_MAX,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gateway = gateway
        self._key = key
        self._participant = participant
        self._carrier = carrier
        self._chunk_bytes = chunk_bytes
        self._attempts_max = attempts_max
        self._sleep = sleep

    async def send(self, content: bytes, file_name: str) -> gw.Upload:
        """Send a file and return the gateway's receipt; the file is then stored durably.

        A file sent before, by whom and under whatever name, gets its first receipt (`already_stored`).

        Raises:
            UploadRefused: The gateway says no for good.
            UploadUnfinished: It could not be reached, or not long enough; try again later.
        """
        digest = hashlib.sha256(content).digest()
        start = service.UploadStart(
            sha256=digest,
            size_bytes=len(content),
            file_name=file_name,
            carrier=self._carrier,
            signature=self._key.sign(digest, ec.ECDSA(hashes.SHA256())),
        )
        # The first attempt is mostly the only one: it does not ask where to begin.
        offset = 0
        error: grpc.aio.AioRpcError | None = None
        for attempt in range(self._attempts_max):
            try:
                if attempt:
                    await self._sleep(_pause_s(attempt))
                    known = await self._known(digest)
                    if known is not None and known.state == gw.UPLOAD_STATE_STORED:
                        return known
                    offset = known.received_bytes if known is not None else 0
                return await self._attempt(start, content, offset)
            except grpc.aio.AioRpcError as refused:
                error = refused
                if refused.code() not in _CURABLE and error_info(refused).reason not in _CURABLE_REASONS:
                    raise UploadRefused(**_facts(refused, file_name)) from refused
        assert error is not None, "an attempt either returns or leaves its error"
        raise UploadUnfinished(**_facts(error, file_name)) from error

    async def _attempt(self, start: service.UploadStart, content: bytes, offset: int) -> gw.Upload:
        timeout_s = _TIMEOUT_FIXED_S + _TIMEOUT_PER_MIB_S * len(content) / 2**20
        return await self._gateway.UploadBatch(self._messages(start, content, offset), timeout=timeout_s)

    async def _messages(
        self, start: service.UploadStart, content: bytes, offset: int
    ) -> AsyncIterator[service.UploadBatchRequest]:
        yield service.UploadBatchRequest(start=start)
        for begin in range(offset, len(content), self._chunk_bytes):
            data = content[begin : begin + self._chunk_bytes]
            yield service.UploadBatchRequest(chunk=service.UploadChunk(offset=begin, data=data, crc32c=crc32c(data)))

    async def _known(self, digest: bytes) -> gw.Upload | None:
        """What the gateway has of a file; None when it never heard of it."""
        name = f"participants/{self._participant}/uploads/{digest.hex()}"
        try:
            return await self._gateway.GetUpload(service.GetUploadRequest(name=name))
        except grpc.aio.AioRpcError as refused:
            if refused.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise


def _pause_s(attempt: int) -> float:
    """How long to wait before an attempt: doubled each time, partly by chance: no marching in step."""
    longest: float = min(PAUSE_FIRST_S * 2 ** (attempt - 1), PAUSE_LAST_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 (spreads load, protects nothing)


def _facts(error: grpc.aio.AioRpcError, file_name: str) -> dict[str, str]:
    detail = error_info(error)
    return {"file_name": file_name, "cause": detail.reason or error.code().name, "text": error.details() or ""}
