"""The reading RPCs."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime

from services.terminal_gw.application.ports import ListFiles, UnitOfWork, VersionUnknown
from services.terminal_gw.domain.errors import TerminalUnknown, UploadUnknown
from services.terminal_gw.domain.terminal import Terminal
from services.terminal_gw.domain.upload import STORED, Upload

_PART_BYTES_MAX = 1024 * 1024


class Queries:
    """Reads for the API."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], list_files: ListFiles) -> None:
        self._unit_of_work = unit_of_work
        self._list_files = list_files

    async def terminal(self, number: str) -> Terminal:
        """One terminal.

        Raises:
            TerminalUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            found: Terminal | None = await uow.terminals.find(number)
        if found is None:
            raise TerminalUnknown(terminal=number)
        return found

    async def terminals(self, participant: str | None, after: str | None, size: int) -> list[Terminal]:
        """Terminals by number."""
        async with self._unit_of_work() as uow:
            return list(await uow.terminals.page(participant, after, size))

    async def upload(self, participant: str, sha256: bytes) -> Upload:
        """One upload, also while it is received.

        Raises:
            UploadUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            found: Upload | None = await uow.uploads.find(participant, sha256)
        if found is None:
            raise UploadUnknown(upload=f"participants/{participant}/uploads/{sha256.hex()}")
        return found

    async def uploads(self, participant: str | None, after: int, since: datetime | None, size: int) -> list[Upload]:
        """Stored uploads after a position of the journal."""
        async with self._unit_of_work() as uow:
            return list(await uow.uploads.page(participant, after, since, size))

    async def read_upload(self, participant: str, sha256: bytes, offset: int) -> AsyncIterator[tuple[int, bytes]]:
        """Bytes of a stored upload in parts of at most 1 MiB.

        Raises:
            UploadUnknown: There is none, or it is not stored.
        """
        upload = await self.upload(participant, sha256)
        if upload.state != STORED:
            raise UploadUnknown(upload=upload.name)
        async with self._unit_of_work() as uow:
            async for part in uow.uploads.parts(upload, offset, _PART_BYTES_MAX):
                yield part

    async def blacklist(self, base_version: int) -> AsyncIterator[tuple[int, bytes]]:
        """Parts of a delta from a version, or of the whole list where there is no such delta."""
        if base_version > 0:
            try:
                async for part in self._list_files.delta(base_version):
                    yield part
            except VersionUnknown:
                # Told before any part of the delta: the whole list is always right.
                pass
            else:
                return
        async for part in self._list_files.snapshot():
            yield part
