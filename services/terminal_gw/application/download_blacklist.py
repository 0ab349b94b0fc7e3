"""DownloadBlacklist: a delta from the version that the caller has, or the whole list."""

from collections.abc import AsyncIterator

from services.terminal_gw.application.ports import BlacklistSource, ListPart, VersionNotKept


class DownloadBlacklist:
    """Passes list files through."""

    def __init__(self, source: BlacklistSource) -> None:
        self._source = source

    async def __call__(self, base_version: int) -> AsyncIterator[ListPart]:
        """The parts of one file; none when the caller has the newest version.

        Raises:
            DependencyUnavailable: The blacklist does not answer.
        """
        if base_version:
            try:
                async for part in self._source.delta(base_version):
                    yield part
                return
            except VersionNotKept:
                # A version that the list never had or forgot: only the whole list puts the terminal right.
                pass
        async for part in self._source.snapshot():
            yield part
