"""DownloadList: published files for terminals, fetched once and kept, also while the blacklist is away."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Final

from libs.errors import DependencyUnavailable
from services.terminal_gw.application.list_ports import Asked, ListFile, Lists, ListSource

_BLACKLIST: Final = 1
_Place = tuple[int, int, int, int]


class ListFiles:
    """Keeps the files that terminals ask for. A published file never changes, so what is held is right for ever.

    Args:
        source: The blacklist.
        fetched: Is told a version of the blacklist that is held for the first time.
        keep_bytes_max: All files in memory, bytes; the one used longest ago goes first.
        age_s_max: How long the newest versions are believed without asking, seconds.
        monotonic: Tells elapsed seconds; for tests.
    """

    def __init__(
        self,
        source: ListSource,
        fetched: Callable[[int], None] = lambda version: None,
        *,
        keep_bytes_max: int = 48 * 1024 * 1024,
        age_s_max: float = 0.2,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._fetched = fetched
        self._keep_bytes_max = keep_bytes_max
        self._age_s_max = age_s_max
        self._monotonic = monotonic
        self._lists: Lists | None = None
        self._known_at = float("-inf")
        self._asking = asyncio.Lock()
        self._kept: OrderedDict[_Place, ListFile] = OrderedDict()
        self._under_way: dict[_Place, asyncio.Task[ListFile | None]] = {}

    async def lists(self) -> Lists:
        """Where all lists stand, as last known when the blacklist is away.

        Raises:
            DependencyUnavailable: It is away, and never answered this process.
        """
        asked_at = self._monotonic()
        async with self._asking:
            if self._lists is not None and (self._known_at >= asked_at or asked_at - self._known_at < self._age_s_max):
                return self._lists
            try:
                self._lists = await self._source.lists()
            except DependencyUnavailable:
                if self._lists is None:
                    raise
            self._known_at = self._monotonic()
            return self._lists

    async def find(self, asked: Asked) -> ListFile | None:
        """The file for a caller; None where it has the newest, or nothing was published.

        While the blacklist is away the newest file that is held serves: a delta from the caller's version, else the
        whole list.

        Raises:
            ArtefactUnknown: The version to go on with is not kept any more.
            DependencyUnavailable: The blacklist is away, and nothing newer than the caller's version is held.
        """
        newest = (await self.lists()).published(asked.kind)
        version = asked.version or newest
        if not version or (not asked.version and version <= asked.base_version):
            return None
        place = (asked.kind, version, asked.base_version, asked.entry_count_max)
        kept = self._kept.get(place)
        if kept is not None:
            self._kept.move_to_end(place)
            return kept
        try:
            found = await self._shared(place, asked)
        except DependencyUnavailable:
            found = self._instead(asked)
            if found is None:
                raise
        return found

    async def parts(self, file: ListFile, offset: int, size: int) -> AsyncIterator[tuple[int, bytes]]:
        """Offset and bytes of each part of a file, from an offset on."""
        for start in range(offset, len(file.data), size):
            yield start, file.data[start : start + size]

    async def prefetch(self, kind: int, version: int, base_version: int) -> None:
        """Hold a version before terminals ask: the whole list, and the delta from the version before."""
        if version < (await self.lists()).published(kind):
            return
        # Events may overtake what was known of the versions.
        self._known_at = float("-inf")
        for base in {0, base_version}:
            await self.find(Asked(kind, base))

    async def _shared(self, place: _Place, asked: Asked) -> ListFile | None:
        """One fetch for all who ask at once; a caller that hangs up ends nobody else's."""
        task = self._under_way.get(place)
        if task is None:
            task = asyncio.create_task(self._fetch(place, asked))
            self._under_way[place] = task
            task.add_done_callback(lambda done: self._done(place, done))
        return await asyncio.shield(task)

    def _done(self, place: _Place, task: "asyncio.Task[ListFile | None]") -> None:
        self._under_way.pop(place, None)
        if not task.cancelled():
            # Whoever waited was told; where nobody waits any more the error is nobody's.
            task.exception()

    async def _fetch(self, place: _Place, asked: Asked) -> ListFile | None:
        found = await self._source.fetch(asked)
        if found is None:
            return None
        self._kept[(found.kind, found.version, asked.base_version, asked.entry_count_max)] = found
        # Under its own name too: who goes on with it says the base that its parts said.
        self._kept[(found.kind, found.version, found.base_version, asked.entry_count_max)] = found
        while len(self._kept) > 1 and self._held_bytes() > self._keep_bytes_max:
            self._kept.popitem(last=False)
        if found.kind == _BLACKLIST:
            self._fetched(found.version)
        return found

    def _held_bytes(self) -> int:
        return sum(len(data) for data in {id(one): one.data for one in self._kept.values()}.values())

    def _instead(self, asked: Asked) -> ListFile | None:
        if asked.version:
            return None
        held = [
            file
            for (kind, version, base, count_max), file in self._kept.items()
            if kind == asked.kind
            and count_max == asked.entry_count_max
            and base in (0, asked.base_version)
            and version > asked.base_version
        ]
        # The newest; of equal ones the delta.
        return max(held, key=lambda file: (file.version, file.base_version), default=None)
