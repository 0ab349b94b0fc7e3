"""What connected terminals say, kept in sets: never a transaction per heartbeat."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from libs.clock import Clock
from libs.errors import DomainError
from libs.runtime.logging import get_logger
from libs.runtime.refusals import dependency_of
from services.terminal_gw.application.ports_field import Beat, FieldUnitOfWork
from services.terminal_gw.application.sessions import Stored, TerminalSession
from services.terminal_gw.domain.completeness import Register
from services.terminal_gw.domain.device import CommandAnswer, DeviceEvent, PackReport

log = get_logger("citycard.terminal_gw.sessions")

_RETRY_S: Final = 1.0


@dataclass(slots=True)
class _Said:
    """What waits to be kept."""

    beats: dict[str, Beat] = field(default_factory=dict)
    events: list[tuple[TerminalSession, DeviceEvent]] = field(default_factory=list)
    answers: list[CommandAnswer] = field(default_factory=list)
    packs: list[tuple[str, PackReport]] = field(default_factory=list)
    registers: list[tuple[str, str, Register]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    @property
    def row_count(self) -> int:
        return len(self.beats) + len(self.events) + len(self.answers) + len(self.packs) + len(self.registers)

    def merge_older(self, older: "_Said") -> None:
        for number, before in older.beats.items():
            self.beats[number] = self.beats[number].over(before) if number in self.beats else before
        self.events[:0] = older.events
        self.answers[:0] = older.answers
        self.packs[:0] = older.packs
        self.registers[:0] = older.registers
        self.closed[:0] = older.closed


class KeepReports:
    """Collects what sessions say and keeps it together.

    Args:
        unit_of_work: Opens a transaction.
        clock: Tells when something was heard.
        flush_s: What was said waits no longer than this, seconds.
        rows_max: Rows in memory; above it the sessions are not read until there is room.
    """

    def __init__(
        self, unit_of_work: Callable[[], FieldUnitOfWork], clock: Clock, flush_s: float, rows_max: int
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._flush_s = flush_s
        self._rows_max = rows_max
        self._said = _Said()
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def beat(self, beat: Beat) -> None:
        """A heartbeat; the newest of a terminal counts, and what it leaves unsaid stays."""
        await self._room.wait()
        before = self._said.beats.get(beat.terminal_number)
        if before is not None:
            beat = beat.over(before)
        self._said.beats[beat.terminal_number] = beat
        self._added()

    async def events(self, session: TerminalSession, events: Sequence[DeviceEvent]) -> None:
        """Events; the session is told when they are stored."""
        await self._room.wait()
        self._said.events += [(session, one) for one in events]
        self._added()

    async def answer(self, answer: CommandAnswer) -> None:
        """An answer to a command."""
        await self._room.wait()
        self._said.answers.append(answer)
        self._added()

    async def packs(self, terminal_number: str, packs: Sequence[PackReport]) -> None:
        """What is in force."""
        await self._room.wait()
        self._said.packs += [(terminal_number, one) for one in packs]
        self._added()

    async def register(self, participant: str, terminal_number: str, register: Register) -> None:
        """The registers of a shift."""
        await self._room.wait()
        self._said.registers.append((participant, terminal_number, register))
        self._added()

    def closed(self, session_id: str) -> None:
        """A session ended."""
        self._said.closed.append(session_id)
        self._work.set()

    def _added(self) -> None:
        self._work.set()
        if self._said.row_count >= self._rows_max:
            self._room.clear()

    async def run(self) -> None:
        """Keep, again and again, until cancelled."""
        while True:
            await self._work.wait()
            await asyncio.sleep(self._flush_s)
            try:
                await self.flush()
            except Exception as error:
                # Nothing was lost: it is all here, and is tried again with what comes meanwhile.
                if dependency_of(error) is None:
                    raise
                log.warning("session.reports_waiting", error=repr(error)[:500], row_count=self._said.row_count)
                await asyncio.sleep(_RETRY_S)

    async def flush(self) -> None:
        """Keep what was said so far in one transaction; on failure it waits for the next."""
        said, self._said = self._said, _Said()
        self._work.clear()
        try:
            await self._keep(said)
        except BaseException:
            self._said.merge_older(said)
            self._work.set()
            raise
        finally:
            if self._said.row_count < self._rows_max:
                self._room.set()
        last: dict[TerminalSession, int] = {}
        for session, event in said.events:
            last[session] = max(last.get(session, 0), event.event_seq)
        for session, event_seq in last.items():
            session.tell(Stored(event_seq))
        while said.registers:
            try:
                await self._keep_register(*said.registers[0])
            except BaseException:
                self._said.registers[:0] = said.registers
                self._work.set()
                raise
            del said.registers[0]

    async def _keep(self, said: _Said) -> None:
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            if said.beats:
                await uow.devices.beat([said.beats[number] for number in sorted(said.beats)])
            if said.events:
                await uow.devices.keep_events(
                    [session.terminal_number for session, _ in said.events], [event for _, event in said.events], now
                )
            if said.packs:
                await uow.devices.keep_packs(said.packs, now)
            if said.answers:
                known = set(await uow.commands.answer(said.answers, now))
                await uow.collection.declare_void([one for one in said.answers if one.number in known])
            if said.closed:
                await uow.devices.close_sessions(said.closed, now)
            await uow.commit()

    async def _keep_register(self, participant: str, terminal_number: str, register: Register) -> None:
        try:
            register.check()
            async with self._unit_of_work() as uow:
                await uow.collection.keep_registers(participant, terminal_number, [register], self._clock.now())
                await uow.commit()
        except DomainError as refusal:
            # The event that carried it is stored with its bytes: somebody can look.
            log.warning("session.register_refused", terminal=terminal_number, reason=refusal.reason, **refusal.facts)
