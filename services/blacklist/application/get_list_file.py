"""GetSnapshot and GetDelta: the list as a file."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from services.blacklist.application.known_head import KnownHead
from services.blacklist.application.list_file import ListFile, list_file
from services.blacklist.application.ports import UnitOfWork
from services.blacklist.domain.errors import VersionUnknown

_KEPT_BYTES_MAX: Final = 16 * 1024 * 1024


class GetListFile:
    """Makes list files, each once: a whole fleet asks for the same few after every change.

    Args:
        unit_of_work: Opens a transaction.
        known_head: The newest version.
        centre: Institution id of the centre, 16 hexadecimal digits.
    """

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], known_head: KnownHead, centre: str) -> None:
        self._unit_of_work = unit_of_work
        self._known_head = known_head
        self._centre = centre
        self._kept: OrderedDict[tuple[str, int], ListFile] = OrderedDict()
        self._making = asyncio.Lock()

    async def snapshot(self) -> ListFile:
        """The whole list; no bytes when it is still the empty version 0."""
        return await self._file(0)

    async def delta(self, base_version: int) -> ListFile:
        """The changes since a version; no bytes when it is the newest.

        Raises:
            VersionUnknown: The list never had it.
        """
        head = await self._known_head.newest()
        if base_version > head.version:
            raise VersionUnknown(version=base_version)
        if base_version == head.version:
            return ListFile(head.version, b"")
        # From the empty list everything is an addition: the whole list says the same.
        return await self._file(base_version)

    async def _file(self, base_version: int) -> ListFile:
        head = await self._known_head.newest()
        if head.version == 0:
            return ListFile(0, b"")
        # One at a time: a storm of terminals waits for one file instead of making it a thousand times.
        async with self._making:
            kept = self._kept.get((head.stamp, base_version))
            if kept is not None:
                return kept
            async with self._unit_of_work() as uow:
                if base_version:
                    head, columns = await uow.entries.increment(base_version)
                else:
                    head, columns = await uow.entries.full()
            made = await asyncio.to_thread(list_file, head, columns, base_version=base_version, centre=self._centre)
            self._keep(head.stamp, base_version, made)
        return made

    def _keep(self, stamp: str, base_version: int, made: ListFile) -> None:
        for key in [key for key in self._kept if key[0] != stamp]:
            del self._kept[key]
        self._kept[stamp, base_version] = made
        while sum(len(one.data) for one in self._kept.values()) > _KEPT_BYTES_MAX and len(self._kept) > 1:
            self._kept.popitem(last=False)
