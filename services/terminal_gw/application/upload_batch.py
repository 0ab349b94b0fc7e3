"""UploadBatch: one batch file in chunks, stored durably before it is acknowledged."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from libs.errors import DomainError, LimitReached
from libs.records.crc32c import crc32c
from libs.runtime.logging import get_logger
from services.terminal_gw.application.ports import Signatures
from services.terminal_gw.application.store_upload import StoreUpload
from services.terminal_gw.domain.errors import ChunkChecksum, UploadOrder, UploadTooLarge, UploadTruncated
from services.terminal_gw.domain.upload import Start, Upload, UploadState

log = get_logger("citycard.terminal_gw.uploads")


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: where it starts in the file, its bytes, and their CRC-32C."""

    offset: int
    data: bytes
    crc32c: int


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What the gateway takes.

    Attributes:
        file_bytes_max: Largest file.
        chunk_bytes_max: Largest chunk.
        streams_max: Streams at once.
        group_bytes: So many bytes of one stream are kept in one transaction.
        buffer_bytes_max: Bytes of all streams in memory; above it every stream keeps what it has at once.
        flush_s: Bytes wait no longer than this for their group, seconds.
        idle_timeout_s: A stream that says nothing for so long is over, seconds.
    """

    file_bytes_max: int
    chunk_bytes_max: int
    streams_max: int
    group_bytes: int
    buffer_bytes_max: int
    flush_s: float
    idle_timeout_s: float


class _Buffers:
    """What all streams of a process hold in memory together."""

    def __init__(self) -> None:
        self.byte_count = 0
        # Groups that are being kept for a stream that is gone; a task that nobody holds may vanish.
        self.keeping: set[asyncio.Task[None]] = set()


class UploadBatch:
    """Receives uploads.

    Args:
        store: The transactions.
        signatures: Checks who sent it.
        limits: What is taken.
        monotonic: Tells elapsed seconds; for tests.
    """

    def __init__(
        self,
        store: StoreUpload,
        signatures: Signatures,
        limits: UploadLimits,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._signatures = signatures
        self._limits = limits
        self._monotonic = monotonic
        self._buffers = _Buffers()
        self._stream_count = 0

    async def __call__(self, messages: AsyncIterator[Start | Chunk]) -> Upload:
        """Take one stream and answer when the file is stored.

        The signature covers the digest and is checked before any byte is taken. Whatever ends the stream early, an
        error, the line, or our own stop, what came in good order before it is kept for resuming.

        Args:
            messages: A start, then chunks.

        Returns:
            The receipt; with `already_stored` when the same file was stored before.

        Raises:
            LimitReached: Too many streams at once, or a chunk is too large.
            UploadOrder: The start is missing or comes twice, a chunk leaves a hole or goes beyond the file.
            UploadTooLarge: The file is.
            SignatureWrong: The signature is not the sender's.
            ChunkChecksum: A chunk was damaged.
            UploadTruncated: The stream ended before the file did.
            UploadDigest, UploadMalformed: The file is refused.
        """
        if self._stream_count >= self._limits.streams_max:
            raise LimitReached(limit="upload_streams")
        self._stream_count += 1
        try:
            start = await _next(messages, self._limits.idle_timeout_s)
            if not isinstance(start, Start):
                raise UploadOrder(expected="start", found="chunk" if start else "end")
            if start.size_bytes > self._limits.file_bytes_max:
                raise UploadTooLarge(size_bytes=start.size_bytes, limit_bytes=self._limits.file_bytes_max)
            self._signatures.verify(start.certificate, start.key.sha256, start.signature)
            known = await self._store.find(start.key)
            if known is not None and known.state is UploadState.STORED:
                return replace(known, already_stored=True)
            resume_at = known.received_bytes if known is not None and known.size_bytes == start.size_bytes else 0
            stream = _Stream(self._store, self._limits, self._buffers, self._monotonic, start, resume_at)
            return await stream.receive(messages)
        finally:
            self._stream_count -= 1


async def _next(messages: AsyncIterator[Start | Chunk], idle_timeout_s: float) -> Start | Chunk | None:
    """The next message; None at the end of the stream, and when it went silent."""
    try:
        async with asyncio.timeout(idle_timeout_s):
            return await anext(messages, None)
    except TimeoutError:
        return None


class _Stream:
    """What is known of one stream while it lasts."""

    def __init__(
        self,
        store: StoreUpload,
        limits: UploadLimits,
        buffers: _Buffers,
        monotonic: Callable[[], float],
        start: Start,
        resume_at: int,
    ) -> None:
        self._store = store
        self._limits = limits
        self._buffers = buffers
        self._monotonic = monotonic
        self._start = start
        # Where the next chunk has to start; the first may also go back and send again what is there.
        self._position = resume_at
        self._begun_at: int | None = None
        self._buffer = bytearray()
        self._kept_any = False
        self._waiting_since = 0.0

    async def receive(self, messages: AsyncIterator[Start | Chunk]) -> Upload:
        try:
            while True:
                message = await _next(messages, self._limits.idle_timeout_s)
                if message is None:
                    return await self._end()
                self._take(message)
                if self._must_keep():
                    upload = await self._keep()
                    if upload.state is UploadState.STORED:
                        return upload
        except BaseException:
            await self._keep_for_resuming()
            raise
        finally:
            self._drop()

    def _take(self, message: Start | Chunk) -> None:
        if isinstance(message, Start):
            raise UploadOrder(expected="chunk", found="start")
        end = message.offset + len(message.data)
        in_order = message.offset == self._position or (self._begun_at is None and message.offset < self._position)
        if not in_order:
            raise UploadOrder(expected=self._position, found=message.offset)
        if end > self._start.size_bytes:
            raise UploadOrder(expected=f"at most {self._start.size_bytes}", found=end)
        if len(message.data) > self._limits.chunk_bytes_max:
            raise LimitReached(limit="chunk_bytes_max")
        if crc32c(message.data) != message.crc32c:
            raise ChunkChecksum(offset=message.offset)
        if self._begun_at is None:
            self._begun_at = message.offset
        if not self._buffer:
            self._waiting_since = self._monotonic()
        self._buffer += message.data
        self._buffers.byte_count += len(message.data)
        self._position = end

    def _must_keep(self) -> bool:
        return (
            len(self._buffer) >= self._limits.group_bytes
            or self._buffers.byte_count > self._limits.buffer_bytes_max
            or self._monotonic() - self._waiting_since > self._limits.flush_s
        )

    async def _keep(self) -> Upload:
        data, offset = bytes(self._buffer), self._position - len(self._buffer)
        upload = await self._store.keep(self._start, offset, data)
        self._kept_any = True
        self._drop()
        return upload

    async def _end(self) -> Upload:
        if self._position == self._start.size_bytes:
            if self._begun_at == 0 and not self._kept_any:
                return await self._store.finish_whole(self._start, bytes(self._buffer))
            if self._buffer and (upload := await self._keep()).state is UploadState.STORED:
                return upload
            return await self._store.finish(self._start)
        received = self._position
        if self._buffer:
            upload = await self._keep()
            if upload.state is UploadState.STORED:
                return upload
            received = upload.received_bytes
        raise UploadTruncated(received_bytes=received, size_bytes=self._start.size_bytes)

    async def _keep_for_resuming(self) -> None:
        """Keep what came in good order, also when this call was cancelled: the line broke, or we are stopping."""
        if not self._buffer or self._position == self._start.size_bytes:
            # Complete and refused, or complete and not stored: to be sent again as a whole.
            return

        async def keep() -> None:
            try:
                await self._keep()
            except DomainError as refusal:
                log.info("upload.not_kept", upload=str(self._start.key), reason=refusal.reason)

        task = asyncio.create_task(keep())
        self._buffers.keeping.add(task)
        task.add_done_callback(self._buffers.keeping.discard)
        # A second cancellation leaves the task running.
        await asyncio.shield(task)

    def _drop(self) -> None:
        self._buffers.byte_count -= len(self._buffer)
        self._buffer = bytearray()
