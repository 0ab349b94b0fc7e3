"""Closed uploads go to an archive that a proof or a replay reads like the gateway; the ledger never leaves."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from libs.clock import Clock
from libs.errors import DataLost
from services.clearing.application.ports import Gateway, StoredFile, UnitOfWork, Upload

_FILES_MAX = 2_000
_RECORDS_MAX = 1_000_000


class ArchiveDiffers(DataLost):
    """An archive that was just written does not give back the bytes it was given; nothing is noted as archived."""

    reason = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Archived:
    """One archive that was made: its name, and what it holds."""

    name: str
    file_count: int
    record_count: int
    size_bytes: int


class Archives(Protocol):
    """A place for archives."""

    def write(self, name: str, files: Iterable[tuple[StoredFile, Upload, bytes]]) -> int:
        """Write one archive, whole or not at all, replacing one of this name; its size in bytes."""
        ...

    def read(self, name: str, participant: str, sha256: bytes) -> bytes:
        """One upload of an archive, byte for byte."""
        ...


class ArchiveFiles:
    """Copies uploads all of whose windows are closed into archives, oldest first.

    Args:
        unit_of_work: Makes a transaction.
        gateway: Gives the stored bytes.
        archives: Where they go.
        clock: Says what is old.
    """

    def __init__(
        self, unit_of_work: Callable[[], UnitOfWork], gateway: Gateway, archives: Archives, clock: Clock
    ) -> None:
        self._unit_of_work = unit_of_work
        self._gateway = gateway
        self._archives = archives
        self._clock = clock

    async def __call__(self, older_than: timedelta) -> Archived | None:
        """Make one archive; None when there is nothing old enough.

        Killed anywhere, it is as if it had not begun: an archive counts from the commit that names its files, and a
        second try writes the same archive again.

        Raises:
            DependencyUnavailable: The gateway does not give an upload.
            ArchiveDiffers: What was written is not what was read.
        """
        async with self._unit_of_work() as uow:
            files = await uow.upkeep.archivable(self._clock.now() - older_than, _FILES_MAX, _RECORDS_MAX)
            if not files:
                return None
            uploads = await uow.upkeep.uploads([file.id for file in files])
            name = f"uploads-{files[0].id:012d}-{files[-1].id:012d}.parquet"
            contents = [(file, uploads[file.id], await self._gateway.read(file.participant, file.sha256))
                        for file in files]  # fmt: skip
            size = self._archives.write(name, contents)
            for file, _, content in contents:
                if self._archives.read(name, file.participant, file.sha256) != content:
                    raise ArchiveDiffers(archive=name, file=file.name)
            await uow.upkeep.note_archived([file.id for file in files], name, self._clock.now())
            await uow.commit()
        return Archived(name, len(files), sum(file.record_count for file in files), size)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is not the ledger is kept.

    Files, records, positions, batches, statements and windows are the ledger: they have no entry here and never will.
    Answers to request ids and ids of events have none either: the runtime clears its own tables away (`libs.runtime`).

    Attributes:
        decided: Waiting records after they were decided; their bytes stay in the upload.
    """

    decided: timedelta = timedelta(days=400)


class ForgetOld:
    """Removes what its class no longer keeps."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, retention: Retention) -> Mapping[str, int]:
        """How many rows of each class were removed."""
        async with self._unit_of_work() as uow:
            removed = await uow.upkeep.forget_decided(self._clock.now() - retention.decided)
            await uow.commit()
        return {"decided": removed}
