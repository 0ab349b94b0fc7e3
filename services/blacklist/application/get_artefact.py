"""GetArtefact: published files for terminals, made once, resumable at any byte."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from libs.clock import Clock
from services.blacklist.application.list_ports import Artefact, ListsUnitOfWork, Publication
from services.blacklist.application.publish import Publish, artefact_of
from services.blacklist.domain.errors import ArtefactUnknown, ListUnsigned
from services.blacklist.domain.rows import ListKind

_PART_BYTES: Final = 64 * 1024
_READ_BYTES: Final = 16 * _PART_BYTES
_KEPT_BYTES_MAX: Final = 16 * 1024 * 1024
_STEPS: Final = (5, 2, 1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for.

    Attributes:
        kind: Which list.
        base_version: What the caller has; 0 none.
        version: To go on with a download; 0 the newest.
        offset: Bytes that the caller has.
        entry_count_max: Most entries that it can hold; 0 no limit.
    """

    kind: ListKind
    base_version: int = 0
    version: int = 0
    offset: int = 0
    entry_count_max: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of a file.

    Attributes:
        artefact: The file.
        offset: Where they begin.
        data: At most 64 KiB.
    """

    artefact: Artefact
    offset: int
    data: bytes


class GetArtefact:
    """Gives files out, and makes the rarer ones at their first wish: deltas from old versions, lists that are cut.

    Args:
        unit_of_work: Opens a transaction.
        clock: The centre's.
        publish: Makes files; None where no key signs them.
    """

    def __init__(self, unit_of_work: Callable[[], ListsUnitOfWork], clock: Clock, publish: Publish | None) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._publish = publish
        self._making = asyncio.Lock()
        self._kept: OrderedDict[Artefact, bytes] = OrderedDict()

    async def __call__(self, wanted: Wanted) -> AsyncIterator[Part]:
        """The parts of one file from the offset on; none when the caller has the newest, or nothing was published.

        Raises:
            ListUnsigned: Nothing can be published here.
            ArtefactUnknown: The version was never published, or its file is no longer kept.
        """
        if self._publish is None:
            raise ListUnsigned
        artefact = await self._find(wanted)
        if artefact is None:
            return
        offset = wanted.offset
        while offset < artefact.size_bytes:
            data = await self._read(artefact, offset)
            for start in range(0, len(data), _PART_BYTES):
                yield Part(artefact, offset + start, data[start : start + _PART_BYTES])
            offset += len(data)

    async def _find(self, wanted: Wanted) -> Artefact | None:
        kind, count_max = wanted.kind, rounded(wanted.entry_count_max)
        async with self._unit_of_work() as uow:
            newest = await uow.files.newest(kind)
            if wanted.version and (newest is None or wanted.version != newest.version):
                return await self._older(uow, wanted, count_max)
            if newest is None or newest.version <= wanted.base_version:
                return None
            if kind is not ListKind.BLACKLIST or count_max >= newest.row_count:
                count_max = 0
            base = 0 if count_max or kind is not ListKind.BLACKLIST else wanted.base_version
            found = await self._known(uow, newest, base, count_max)
        if found is not None:
            return found
        # One at a time: a storm of terminals waits for one file instead of making it a thousand times.
        async with self._making, self._unit_of_work() as uow:
            found = await self._known(uow, newest, base, count_max)
            if found is None:
                found = await self._make(uow, newest, base, count_max)
                await uow.commit()
        return found

    async def _older(self, uow: ListsUnitOfWork, wanted: Wanted, count_max: int) -> Artefact:
        """A download that was begun before a newer version came."""
        found = await uow.files.artefact(wanted.kind, wanted.version, wanted.base_version, count_max)
        if found is None and wanted.base_version:
            found = await uow.files.artefact(wanted.kind, wanted.version, 0, count_max)
        if found is None:
            raise ArtefactUnknown(list=wanted.kind.name, version=wanted.version, base_version=wanted.base_version)
        return found

    async def _known(
        self, uow: ListsUnitOfWork, newest: Publication, base_version: int, count_max: int
    ) -> Artefact | None:
        """A kept file, or the whole list where there is nothing to start from or a delta would be longer."""
        found = await uow.files.artefact(newest.kind, newest.version, base_version, count_max)
        whole = await uow.files.artefact(newest.kind, newest.version, 0, 0)
        assert whole is not None, "the newest publication keeps its whole file"
        if count_max or not base_version:
            return found
        if found is None:
            base = await uow.files.publication(newest.kind, base_version)
            return whole if base is None else None
        return found if found.size_bytes < whole.size_bytes else whole

    async def _make(self, uow: ListsUnitOfWork, newest: Publication, base_version: int, count_max: int) -> Artefact:
        assert self._publish is not None, "asked before"
        if count_max:
            entries = await uow.files.ranked(newest.version, await uow.files.ranking(), count_max)
            data = await asyncio.to_thread(self._publish.cut, newest, entries)
            artefact = artefact_of(newest, data, 0, count_max, newest.row_count - len(entries))
        else:
            base = await uow.files.publication(newest.kind, base_version)
            assert base is not None, "looked at before"
            put, taken = await uow.files.net(base.version, newest.version)
            data = await asyncio.to_thread(self._publish.delta, base, newest, put, taken)
            artefact = artefact_of(newest, data, base_version)
        await uow.files.keep(artefact, data, self._clock.now())
        whole = await uow.files.artefact(newest.kind, newest.version, 0, 0)
        assert whole is not None, "the newest publication keeps its whole file"
        return artefact if artefact.size_bytes < whole.size_bytes or count_max else whole

    async def _read(self, artefact: Artefact, offset: int) -> bytes:
        kept = self._kept.get(artefact)
        if kept is not None:
            return kept[offset : offset + _READ_BYTES]
        async with self._unit_of_work() as uow:
            data = await uow.files.read(artefact, 0, _KEPT_BYTES_MAX) if artefact.size_bytes <= _KEPT_BYTES_MAX else b""
            if data == b"":
                data = await uow.files.read(artefact, offset, _READ_BYTES)
                if data is not None:
                    return data
        if data is None:
            raise ArtefactUnknown(list=artefact.kind.name, version=artefact.version, base_version=artefact.base_version)
        self._kept[artefact] = data
        while sum(map(len, self._kept.values())) > _KEPT_BYTES_MAX and len(self._kept) > 1:
            self._kept.popitem(last=False)
        return data[offset : offset + _READ_BYTES]


def rounded(entry_count_max: int) -> int:
    """Down to 1, 2 or 5 times a power of ten: terminals of many sizes share few files. 0 stays no limit."""
    if not entry_count_max:
        return 0
    power: int = 10 ** (len(str(entry_count_max)) - 1)
    return next(step * power for step in _STEPS if step * power <= entry_count_max)
