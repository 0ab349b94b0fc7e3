"""Sessions of connected terminals: one a terminal, the newer wins; bounded, whatever the other side does."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from libs.errors import DomainError, LimitReached
from services.terminal_gw.domain.device import Command
from services.terminal_gw.domain.errors import SessionReplaced, SlowReader

_WAITING_MAX: Final = 128


@dataclass(frozen=True, slots=True)
class Pulse:
    """Answer to a heartbeat."""

    centre_time: datetime


@dataclass(frozen=True, slots=True)
class Stored:
    """Events are stored up to a number."""

    event_seq: int


@dataclass(frozen=True, slots=True)
class News:
    """A newer blacklist."""

    version: int


Outgoing = Pulse | Stored | News | Command


class TerminalSession:
    """The line of one terminal: what waits to be told, and how it ends.

    What is told again and again (pulse, stored, news) has one place each, the newest; commands wait in a bounded queue
    and are in the database anyway.

    Args:
        terminal_number: 12 digits.
        session_id: For logs, and for whose row it is.
        caller: Name of the caller, `citycard://…`.
        fingerprint: SHA-256 of its certificate.
    """

    __slots__ = ("_commands", "_end", "_latest", "_over", "_wake", "caller", "fingerprint", "id", "terminal_number")

    def __init__(self, terminal_number: str, session_id: str, caller: str, fingerprint: bytes) -> None:
        self.terminal_number = terminal_number
        self.id = session_id
        self.caller = caller
        self.fingerprint = fingerprint
        self._latest: dict[type[Pulse | Stored | News], Pulse | Stored | News] = {}
        self._commands: deque[Command] = deque()
        self._end: Exception | None = None
        self._over = False
        self._wake = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether it has ended or is about to."""
        return self._over

    def tell(self, message: Outgoing) -> None:
        """Queue a message; a terminal that leaves too many unread is ended with SLOW_READER."""
        if self._over:
            return
        if isinstance(message, Command):
            if len(self._commands) >= _WAITING_MAX:
                self.end(SlowReader(terminal=self.terminal_number))
                return
            self._commands.append(message)
        else:
            self._latest[type(message)] = message
        self._wake.set()

    def end(self, reason: Exception | None = None) -> None:
        """End it; None when the other side hung up. The first reason stands."""
        if not self._over:
            self._over, self._end = True, reason
            self._wake.set()

    async def next(self) -> Outgoing | None:
        """The next message; None when the session ended without a reason.

        Raises:
            DomainError: Why it ended; any other exception is a defect of ours.
        """
        while True:
            if self._over:
                if self._end is not None:
                    raise self._end
                return None
            if self._latest:
                return self._latest.pop(next(iter(self._latest)))
            if self._commands:
                return self._commands.popleft()
            self._wake.clear()
            await self._wake.wait()


class SessionHub:
    """The sessions of this process.

    Args:
        sessions_max: Calls of sessions at once, those included that ended and whose peer does not hang up.
    """

    def __init__(self, sessions_max: int) -> None:
        self._sessions_max = sessions_max
        self._sessions: dict[str, TerminalSession] = {}
        self._call_count = 0
        self._version = 0
        self.commands_waiting = asyncio.Event()

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def call_count(self) -> int:
        """Calls that hold a place."""
        return self._call_count

    def take_place(self) -> Callable[[], None]:
        """Take a place; returns what gives it back, once.

        Raises:
            LimitReached: All are taken.
        """
        if self._call_count >= self._sessions_max:
            raise LimitReached(limit="sessions")
        self._call_count += 1
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._call_count -= 1

        return leave

    def enter(self, session: TerminalSession) -> None:
        """A terminal is connected; the session that it had is told and ended."""
        older = self._sessions.get(session.terminal_number)
        if older is not None:
            older.end(SessionReplaced(terminal=session.terminal_number))
        self._sessions[session.terminal_number] = session

    def leave(self, session: TerminalSession) -> None:
        """It is over; a newer one of the same terminal stays."""
        session.end()
        if self._sessions.get(session.terminal_number) is session:
            del self._sessions[session.terminal_number]

    def find(self, terminal_number: str) -> TerminalSession | None:
        """The session of a terminal."""
        return self._sessions.get(terminal_number)

    def all(self) -> list[TerminalSession]:
        """Every session now."""
        return list(self._sessions.values())

    def news(self, version: int) -> None:
        """There is a blacklist version; whoever is connected hears of it once."""
        if version > self._version:
            self._version = version
            for session in self._sessions.values():
                session.tell(News(version))

    def end_all(self, sessions: Iterable[TerminalSession], reason: Callable[[TerminalSession], DomainError]) -> None:
        """End some of them."""
        for session in sessions:
            session.end(reason(session))
