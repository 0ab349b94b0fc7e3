"""The transactions of an upload: keep a group of bytes, store the whole, refuse it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from libs.clock import Clock
from libs.errors import DomainError
from libs.runtime.logging import get_logger
from libs.runtime.refusals import dependency_of
from services.terminal_gw.application.inspect_file import inspect_file
from services.terminal_gw.application.ports import UnitOfWork
from services.terminal_gw.domain.errors import UploadDigest, UploadMalformed, UploadTruncated
from services.terminal_gw.domain.serials import FileSerials, Indexed
from services.terminal_gw.domain.upload import HeaderFacts, Start, Upload, UploadKey, UploadState

log = get_logger("citycard.terminal_gw.uploads")

_TOGETHER_MAX: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A file that is known to be right and waits to be stored; `whole` is None when its bytes were kept before."""

    start: Start
    facts: HeaderFacts
    serials: FileSerials
    whole: bytes | None
    receipt: asyncio.Future[Upload]

    def answer(self, upload: Upload) -> None:
        # Nobody may be waiting any more: the line broke at the last moment, and the file is stored none the less.
        if not self.receipt.done():
            self.receipt.set_result(upload)

    def refuse(self, error: Exception) -> None:
        if not self.receipt.done():
            self.receipt.set_exception(error)


class StoreUpload:
    """Everything that happens to an upload in the database.

    No lock is held between two groups. Two streams that send the same file help one another: each appends what is
    still missing behind what is there, under the row's lock, and the digest of what is stored decides at the end.

    Args:
        unit_of_work: Opens a transaction.
        clock: Tells the moment of storing.
        finishing_max: Large files looked at in memory at once.
    """

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock, finishing_max: int) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._finishing = asyncio.Semaphore(finishing_max)
        self._waiting: list[_Waiting] = []
        self._storing: asyncio.Task[None] | None = None

    async def find(self, key: UploadKey) -> Upload | None:
        """An upload as it stands, or None."""
        async with self._unit_of_work() as uow:
            return await uow.uploads.find(key)

    async def keep(self, start: Start, offset: int, data: bytes) -> Upload:
        """Keep a group of bytes durably.

        Args:
            start: Of the upload.
            offset: Where the bytes start in the file; what is there already is skipped.
            data: The bytes.

        Returns:
            The upload after it; stored already, when another stream was faster.

        Raises:
            UploadTruncated: The bytes before these are gone (refused meanwhile, or of another size): resume.
        """
        async with self._unit_of_work() as uow:
            upload_id, upload = await uow.uploads.claim(start, self._clock.now())
            if upload.state is UploadState.STORED:
                return replace(upload, already_stored=True)
            if upload.size_bytes != start.size_bytes:
                # The digest fixes the size: one of the two starts is wrong, and the end will tell which.
                await uow.uploads.clear(upload_id, start.size_bytes)
                upload = replace(upload, size_bytes=start.size_bytes, received_bytes=0)
            if offset > upload.received_bytes:
                raise UploadTruncated(received_bytes=upload.received_bytes, size_bytes=start.size_bytes)
            fresh = data[upload.received_bytes - offset :]
            if fresh:
                await uow.uploads.write(upload_id, upload.received_bytes, fresh, self._clock.now())
            await uow.commit()
        return replace(upload, received_bytes=upload.received_bytes + len(fresh))

    async def finish_whole(self, start: Start, data: bytes) -> Upload:
        """Store a file that came in one piece and is still in memory: one transaction.

        Raises:
            UploadDigest, UploadMalformed: It is refused and kept nowhere.
        """
        return await self._store(start, *await self._inspected(start, data), data)

    async def finish(self, start: Start) -> Upload:
        """Store a file all of whose bytes were kept; what is in the database is what is looked at.

        Raises:
            UploadTruncated: Bytes are missing: they were refused meanwhile, or sent with another size.
            UploadDigest, UploadMalformed: It is refused and removed.
        """
        async with self._finishing:
            data = bytearray()
            async with self._unit_of_work() as uow:
                upload = await uow.uploads.find(start.key)
                if upload is not None and upload.state is UploadState.STORED:
                    return replace(upload, already_stored=True)
                while len(data) < start.size_bytes and (part := await uow.uploads.part(start.key, len(data))):
                    data += part
            if len(data) != start.size_bytes:
                raise UploadTruncated(received_bytes=len(data), size_bytes=start.size_bytes)
            facts, serials = await self._inspected(start, data)
            del data
        return await self._store(start, facts, serials, None)

    async def _inspected(self, start: Start, data: bytes | bytearray) -> tuple[HeaderFacts, FileSerials]:
        try:
            # Hashing lets other threads run.
            return await asyncio.to_thread(inspect_file, data, start.key.sha256)
        except (UploadDigest, UploadMalformed) as refusal:
            await self._refuse(start, refusal)
            raise

    async def _store(self, start: Start, facts: HeaderFacts, serials: FileSerials, whole: bytes | None) -> Upload:
        waiting = _Waiting(start, facts, serials, whole, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._storing is None:
            self._storing = asyncio.create_task(self._store_all())
        return await waiting.receipt

    async def _store_all(self) -> None:
        """Store what waits, together.

        The journal's lock lets one transaction commit at a time. Whoever comes while one commits waits for the next,
        which takes them all: the disk is asked once for many small files.
        """
        try:
            while self._waiting:
                together = self._waiting[:_TOGETHER_MAX]
                del self._waiting[:_TOGETHER_MAX]
                # In one order everywhere, so that two gateways cannot wait for one another.
                together.sort(key=lambda one: (one.start.key.participant, one.start.key.sha256))
                error = await self._tried(together)
                if error is not None and len(together) > 1 and dependency_of(error) is None:
                    # One of them is the cause; the others must not pay for it.
                    for one in together:
                        await self._tried([one])
        finally:
            self._storing = None

    async def _tried(self, together: Sequence[_Waiting]) -> Exception | None:
        """Store some; what went wrong is handed to who waits for it, unless others may be to blame."""
        try:
            await self._store_together(together)
        except Exception as error:
            if len(together) == 1 or dependency_of(error) is not None:
                for one in together:
                    one.refuse(error)
            return error
        return None

    async def _store_together(self, together: Sequence[_Waiting]) -> None:
        receipts: list[tuple[_Waiting, Upload]] = []
        async with self._unit_of_work() as uow:
            places: list[tuple[_Waiting, int]] = []
            for one in together:
                try:
                    upload_id, upload = await self._ready(uow, one)
                except UploadTruncated as refusal:
                    one.refuse(refusal)
                    continue
                if upload.state is UploadState.STORED:
                    receipts.append((one, replace(upload, already_stored=True)))
                elif any(upload_id == known for _, known in places):
                    # The same file twice in one round: the second is answered in the next.
                    self._waiting.append(one)
                else:
                    places.append((one, upload_id))
            indexed: list[Indexed] = []
            for one, upload_id in places:
                # The journal's lock comes last: positions and times of storing go up together.
                sequence = await uow.uploads.next_sequence()
                stored = await uow.uploads.store(upload_id, one.start, one.facts, self._clock.now(), sequence)
                await uow.announce.upload_stored(stored)
                receipts.append((one, stored))
                number = one.facts.batch_number
                indexed.append(Indexed(upload_id, one.start.key, one.start.sender, number, one.serials))
            if indexed:
                await uow.collection.index(indexed)
            await uow.commit()
        for one, upload in receipts:
            one.answer(upload)
            if not upload.already_stored:
                log.info("upload.stored", upload=str(upload.key), sequence=upload.sequence)

    async def _ready(self, uow: UnitOfWork, one: _Waiting) -> tuple[int, Upload]:
        """The locked upload with all its bytes, or stored already.

        Raises:
            UploadTruncated: Bytes are missing; nothing was changed.
        """
        start, whole = one.start, one.whole
        upload_id, upload = await uow.uploads.claim(start, self._clock.now())
        if upload.state is UploadState.STORED:
            return upload_id, upload
        if whole is None:
            if (upload.received_bytes, upload.size_bytes) != (start.size_bytes, start.size_bytes):
                raise UploadTruncated(received_bytes=upload.received_bytes, size_bytes=start.size_bytes)
        else:
            if upload.received_bytes or upload.size_bytes != start.size_bytes:
                # What an earlier attempt left may be anything; this is known to be right.
                await uow.uploads.clear(upload_id, start.size_bytes)
            await uow.uploads.write(upload_id, 0, whole, self._clock.now())
        return upload_id, upload

    async def _refuse(self, start: Start, refusal: DomainError) -> None:
        async with self._unit_of_work() as uow:
            await uow.uploads.remove(start.key)
            await uow.uploads.refuse(start, self._clock.now(), refusal.reason, refusal.facts)
            await uow.commit()
        log.warning("upload.refused", upload=str(start.key), reason=refusal.reason, **refusal.facts)
