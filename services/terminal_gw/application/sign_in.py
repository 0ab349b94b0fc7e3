"""SignIn: who the caller is, what it has, what its clock shows; and what it has to do."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from libs.clock import Clock
from libs.errors import NotYours, RequestMalformed
from libs.runtime.identity import Identity, Role
from services.terminal_gw.application.ports import SignedIn, UnitOfWork
from services.terminal_gw.domain.clock import ClockAction, ClockThresholds


@dataclass(frozen=True, slots=True)
class Introduction:
    """What the caller says.

    Attributes:
        terminal_number: 12 digits; empty for a collector that signs in for itself.
        psam_number: 20 digits; empty with the number.
        clock_time: What its clock shows.
        blacklist_version: Version that it has.
        program_version: For the record.
    """

    terminal_number: str
    psam_number: str
    clock_time: datetime
    blacklist_version: int
    program_version: str


@dataclass(frozen=True, slots=True)
class ToDo:
    """The answer.

    Attributes:
        centre_time: The centre's clock.
        clock_ahead_ms: How far the caller's is ahead.
        clock_action: What to do about it.
        blacklist_version: Newest version heard of.
    """

    centre_time: datetime
    clock_ahead_ms: int
    clock_action: ClockAction
    blacklist_version: int


class SignIn:
    """Signs in terminals and collectors."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock, thresholds: ClockThresholds) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._thresholds = thresholds

    async def __call__(self, caller: Identity, introduction: Introduction) -> ToDo:
        """Sign in.

        Raises:
            RequestMalformed: A terminal does not say its number.
            TerminalUnknown: The terminal is not registered.
            NotYours: The terminal is another's than the caller.
            PsamMismatch: Another PSAM is registered for it.
            PsamRevoked: Its PSAM was revoked.
        """
        number = introduction.terminal_number
        if not number and caller.kind is Role.TERMINAL:
            raise RequestMalformed(field="terminal_number", description="a terminal says its number")
        # Taken before any wait: the caller measures the way there and back around it.
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            if number:
                terminal = await uow.terminals.get(number)
                caller.must_own(terminal.participant)
                if caller.kind is Role.TERMINAL and caller.id != number:
                    raise NotYours
                terminal.must_carry(introduction.psam_number, now)
            ahead_ms, action = self._thresholds.decide(introduction.clock_time, now)
            subject = f"terminals/{number}" if number else f"collectors/{caller.participant}/{caller.id}"
            await uow.sign_ins.save(
                SignedIn(
                    subject,
                    caller.uri,
                    now,
                    ahead_ms,
                    introduction.blacklist_version,
                    introduction.program_version,
                )
            )
            version = await uow.sign_ins.blacklist_version()
            await uow.commit()
        return ToDo(now, ahead_ms, action, version)
