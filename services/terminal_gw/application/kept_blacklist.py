"""BL and BI files kept by the gateway: made once by the blacklist, fetched once, served while it is away."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Final

from libs.errors import DependencyUnavailable
from services.terminal_gw.application.ports import BlacklistSource, ListPart

_PART_BYTES: Final = 64 * 1024


class KeptBlacklist:
    """A `BlacklistSource` in front of another: each file is fetched once for all who ask for it.

    Args:
        source: The blacklist.
        keep_bytes_max: All files in memory, bytes; a longer file is passed through.
    """

    def __init__(self, source: BlacklistSource, keep_bytes_max: int = 64 * 1024 * 1024) -> None:
        self._source = source
        self._keep_bytes_max = keep_bytes_max
        # By base version: version and bytes. Base 0 is the whole list.
        self._kept: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._fetching = asyncio.Lock()

    async def newest_version(self) -> int:
        """The newest version."""
        return await self._source.newest_version()

    async def snapshot(self) -> AsyncIterator[ListPart]:
        """The whole list, the last one held where the blacklist is away."""
        version, data = await self._file(0)
        for part in _parts(version, data):
            yield part

    async def delta(self, base_version: int) -> AsyncIterator[ListPart]:
        """The changes since a version; those held where the blacklist is away, else the whole list if it is newer."""
        version, data = await self._file(base_version)
        for part in _parts(version, data):
            yield part

    async def _file(self, base_version: int) -> tuple[int, bytes]:
        try:
            newest = await self._source.newest_version()
            if newest == base_version:
                return newest, b""
            async with self._fetching:
                held = self._kept.get(base_version)
                if held is None or held[0] < newest:
                    held = await self._fetch(base_version)
            return held
        except DependencyUnavailable:
            whole, delta = self._kept.get(0), self._kept.get(base_version)
            held = max((one for one in (delta, whole) if one is not None), key=lambda one: one[0], default=None)
            if held is None or held[0] <= base_version:
                raise
            return held

    async def _fetch(self, base_version: int) -> tuple[int, bytes]:
        version, parts = 0, []
        source = self._source.delta(base_version) if base_version else self._source.snapshot()
        async for part in source:
            version = part.version
            parts.append(part.data)
        held = (version, b"".join(parts))
        if held[1]:
            self._kept[base_version] = held
            self._kept.move_to_end(base_version)
        while len(self._kept) > 1 and sum(len(data) for _, data in self._kept.values()) > self._keep_bytes_max:
            # The whole list goes last: it helps whoever asks.
            self._kept.pop(next((base for base in self._kept if base), 0))
        return held


def _parts(version: int, data: bytes) -> list[ListPart]:
    return [ListPart(version, data[start : start + _PART_BYTES]) for start in range(0, len(data), _PART_BYTES)]
