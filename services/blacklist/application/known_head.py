"""The newest version as this process knows it, asked again before it grows old."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from services.blacklist.domain.chain import Head


class KnownHead:
    """The newest version, at most `age_s_max` old, and never older than a change of this process.

    Args:
        read: Asks the database.
        age_s_max: How long an answer is good, seconds; 0 asks each time.
        monotonic: Tells elapsed seconds; for tests.
    """

    def __init__(
        self, read: Callable[[], Awaitable[Head]], age_s_max: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._age_s_max = age_s_max
        self._monotonic = monotonic
        self._head: Head | None = None
        self._known_at = 0.0
        self._asking = asyncio.Lock()

    def tell(self, head: Head) -> None:
        """A change of this process was committed."""
        self._head, self._known_at = head, self._monotonic()

    async def newest(self) -> Head:
        """The newest version.

        Raises:
            Exception: What the database raises when it is away: there is no answer without the truth.
        """
        asked_at = self._monotonic()
        async with self._asking:
            # Whoever waited here finds the answer of the one before.
            if self._head is not None and (self._known_at >= asked_at or asked_at - self._known_at < self._age_s_max):
                return self._head
            began = self._monotonic()
            head = await self._read()
            # A change committed while the question was under way knows better.
            if self._head is None or self._known_at < began or head.version > self._head.version:
                self._head, self._known_at = head, began
            return self._head
