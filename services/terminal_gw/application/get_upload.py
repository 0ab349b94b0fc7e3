"""GetUpload, ListUploads and ReadUpload."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

from services.terminal_gw.application.ports import UnitOfWork
from services.terminal_gw.domain.errors import UploadUnknown
from services.terminal_gw.domain.upload import Upload, UploadKey, UploadState


class GetUpload:
    """Reads one upload, also while it is being received."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, key: UploadKey, may_see: Callable[[str], bool]) -> Upload:
        """One upload.

        Raises:
            UploadUnknown: There is none that the caller may see.
        """
        if may_see(key.participant):
            async with self._unit_of_work() as uow:
                upload = await uow.uploads.find(key)
            if upload is not None:
                return upload
        raise UploadUnknown(upload=key)


class ListUploads:
    """Reads a page of stored uploads."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(
        self, participant: str | None, after: int, size: int, *, store_time_min: datetime | None
    ) -> Sequence[Upload]:
        """At most `size` stored uploads behind a position of the journal, of one participant or of all."""
        async with self._unit_of_work() as uow:
            return await uow.uploads.list(participant, after, size, store_time_min=store_time_min)


class ReadUpload:
    """Reads the bytes of a stored upload."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, key: UploadKey, offset: int) -> AsyncIterator[tuple[int, bytes]]:
        """Offset and bytes of part after part; nothing at or beyond the end.

        Raises:
            UploadUnknown: It is not stored: what is still coming is nobody's business yet.
        """
        async with self._unit_of_work() as uow:
            upload = await uow.uploads.find(key)
        if upload is None or upload.state is not UploadState.STORED:
            raise UploadUnknown(upload=key)
        while offset < upload.size_bytes:
            # A transaction a part: a reader that is slow must not hold a connection.
            async with self._unit_of_work() as uow:
                data = await uow.uploads.part(key, offset)
            assert data, "a stored upload has all its bytes"
            yield offset, data
            offset += len(data)
