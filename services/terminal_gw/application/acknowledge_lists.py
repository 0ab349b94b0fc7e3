"""AcknowledgeLists: terminals' words about their lists, gathered and passed on in batches."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from libs.clock import Clock
from libs.errors import DependencyUnavailable, NotYours
from libs.runtime.identity import Identity, Role
from libs.runtime.logging import get_logger
from services.terminal_gw.application.list_ports import ListSource, Word
from services.terminal_gw.application.ports import UnitOfWork

log = get_logger("citycard.terminal_gw.lists")

_BATCH: Final = 10_000
_WAITING_MAX: Final = 50_000
_OFFERS_MAX: Final = 50_000
_NOTED_MAX: Final = 50_000
BLACKLIST: Final = 1
"""Number of the blacklist among the lists (`ListKind` of the blacklist's contract)."""
_AGAIN_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class InForce:
    """A list in force at a terminal.

    Attributes:
        terminal_number: 12 digits.
        kind: Number of the list.
        version: Its version.
        offered_ms: When the terminal had the file, milliseconds since 1970; 0 not said.
    """

    terminal_number: str
    kind: int
    version: int
    offered_ms: int = 0


class ListWords:
    """Gathers words and passes them on: one call for thousands of terminals.

    What was said with `say` is in the blacklist's database when it returns; what was noted with `note` goes along when
    it can, for words that will be said again anyway.

    Args:
        source: The blacklist.
        clock: The centre's.
        pause_s: How long words are gathered, seconds.
    """

    def __init__(self, source: ListSource, clock: Clock, pause_s: float = 0.1) -> None:
        self._source = source
        self._clock = clock
        self._pause_s = pause_s
        self._waiting: list[tuple[int, Word, asyncio.Future[None] | None]] = []
        self._fetched: dict[int, int] = {}
        self._offers: OrderedDict[tuple[str, int], tuple[int, int]] = OrderedDict()
        self._noted: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._wake = asyncio.Event()

    def now_ms(self) -> int:
        """The centre's clock, milliseconds since 1970."""
        return int(self._clock.now().timestamp() * 1000)

    def fetched(self, version: int) -> None:
        """The gateway holds a version of the blacklist for the first time."""
        if version not in self._fetched:
            self._fetched[version] = self.now_ms()
            self._wake.set()

    def offered(self, caller: str, kind: int, version: int) -> None:
        """A caller got the whole file of a version."""
        self._offers[caller, kind] = (version, self.now_ms())
        self._offers.move_to_end((caller, kind))
        if len(self._offers) > _OFFERS_MAX:
            self._offers.popitem(last=False)

    def note(self, caller: str, said: Sequence[InForce]) -> None:
        """Take words along that will be said again, by sign-ins and heartbeats; all are forgotten when too many wait.

        A terminal that only says again what it said last costs nothing. Version 0 is no list.
        """
        news = [one for one in said if one.version > 0 and self._is_news(one)]
        if not news:
            return
        self._waiting.extend((one.kind, self._word(caller, one), None) for one in news)
        if len(self._waiting) > _WAITING_MAX:
            kept = [one for one in self._waiting if one[2] is not None]
            log.warning("lists.words_forgotten", count=len(self._waiting) - len(kept))
            self._waiting = kept
            # What was forgotten must count as news when it is said again.
            self._noted.clear()
        self._wake.set()

    def _is_news(self, said: InForce) -> bool:
        key = (said.terminal_number, said.kind)
        if self._noted.get(key) == said.version:
            return False
        self._noted[key] = said.version
        self._noted.move_to_end(key)
        if len(self._noted) > _NOTED_MAX:
            self._noted.popitem(last=False)
        return True

    async def say(self, caller: str, said: Sequence[InForce]) -> None:
        """Pass words on.

        Raises:
            DependencyUnavailable: The blacklist does not answer; nothing of it counts.
        """
        if self._source.away:
            raise DependencyUnavailable(dependency="blacklist")
        loop = asyncio.get_running_loop()
        taken = [loop.create_future() for _ in said]
        self._waiting.extend(
            (one.kind, self._word(caller, one), future) for one, future in zip(said, taken, strict=True)
        )
        self._wake.set()
        try:
            await asyncio.gather(*taken)
        finally:
            for future in taken:
                future.cancel()

    def _word(self, caller: str, said: InForce) -> Word:
        now_ms = self.now_ms()
        version, offered_ms = self._offers.get((caller, said.kind), (0, 0))
        if said.offered_ms or version != said.version:
            offered_ms = min(said.offered_ms, now_ms)
        return Word(said.terminal_number, said.version, offered_ms, now_ms)

    async def run(self) -> None:
        """Pass on until cancelled; what could not be passed on goes along with the next words, or after a while."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_S):
                    await self._wake.wait()
            await asyncio.sleep(self._pause_s)
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Pass on what was gathered; whoever waits for it is told how it went."""
        batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        if self._waiting:
            self._wake.set()
        kinds = {kind for kind, _, _ in batch} | ({BLACKLIST} if self._fetched else set())
        for kind in sorted(kinds):
            members = [(word, future) for of, word, future in batch if of == kind]
            fetched = list(self._fetched.items()) if kind == BLACKLIST else []
            try:
                await self._source.report(kind, fetched, [word for word, _ in members])
            except DependencyUnavailable as away:
                self._failed(kind, members, away)
                continue
            for version, _ in fetched:
                self._fetched.pop(version, None)
            for _, future in members:
                if future is not None and not future.done():
                    future.set_result(None)

    def _failed(
        self, kind: int, members: list[tuple[Word, "asyncio.Future[None] | None"]], away: DependencyUnavailable
    ) -> None:
        log.warning("lists.words_waiting", count=len(members), dependency=away.facts.get("dependency"))
        for word, future in members:
            if future is None:
                # Not lost: it goes along with the next ones.
                self._waiting.append((kind, word, None))
            elif not future.done():
                future.set_exception(DependencyUnavailable(**away.facts))


class AcknowledgeLists:
    """Takes words of terminals, and of collectors for the terminals of their participant."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], words: ListWords) -> None:
        self._unit_of_work = unit_of_work
        self._words = words

    async def __call__(self, caller: Identity, said: Sequence[InForce]) -> None:
        """Pass the words on; none of them counts when one is refused.

        Raises:
            TerminalUnknown: A terminal is not registered.
            NotYours: A terminal is another's than the caller.
            DependencyUnavailable: The blacklist does not answer.
        """
        async with self._unit_of_work() as uow:
            for number in sorted({one.terminal_number for one in said}):
                terminal = await uow.terminals.get(number)
                caller.must_own(terminal.participant)
                if caller.kind is Role.TERMINAL and caller.id != number:
                    raise NotYours
        await self._words.say(caller.uri, said)
