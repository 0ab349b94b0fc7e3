"""Files that change under a running process: certificates, revocation lists, public keys of staff tokens."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from libs.runtime.logging import get_logger

log = get_logger("citycard.watched")

T = TypeVar("T")
# (modified ns, size, inode) of what the path leads to: a mounted secret is changed by moving a link.
_Mark = tuple[tuple[int, int, int], ...]


class Watched(Generic[T]):
    """A value read from files, and read again when one of them has changed.

    What cannot be read is refused and logged, and the value before it stays: half a rotation must not stop a service.

    Args:
        paths: The files; all are looked at together.
        read: Makes the value; raises ValueError or OSError when the files are not what they should be.
        every_s: Shortest pause between two looks, seconds.

    Raises:
        ValueError, OSError: The first reading failed: there is nothing to go on with.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], T], *, every_s: float = 2.0) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._every_s = every_s
        self._mark = self._look()
        self._value = read()
        self._looked_at = time.monotonic()

    @property
    def value(self) -> T:
        """The newest good value."""
        self.refresh()
        return self._value

    def refresh(self) -> bool:
        """Look again unless that was done just now.

        Returns:
            True when the value is a new one.
        """
        if time.monotonic() - self._looked_at < self._every_s:
            return False
        self._looked_at = time.monotonic()
        try:
            mark = self._look()
            if mark == self._mark:
                return False
            value = self._read()
            # Written while we read: what we have may be half old and half new; the next look decides.
            if self._look() != mark:
                return False
        except (ValueError, OSError) as error:
            log.warning("file.not_taken", files=[path.name for path in self._paths], error=repr(error)[:300])
            return False
        self._mark, self._value = mark, value
        log.info("file.taken", files=[path.name for path in self._paths])
        return True

    def _look(self) -> _Mark:
        stats = [path.stat() for path in self._paths]
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)
