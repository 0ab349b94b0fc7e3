"""BatchRegisterTerminals and RevokePsam: which terminals and security modules there are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from citycard.terminal_gw.v1 import events_pb2 as events

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.terminal_gw.application.messages import terminal_to_pb, timestamp
from services.terminal_gw.application.ports import UnitOfWork
from services.terminal_gw.domain.errors import TerminalUnknown
from services.terminal_gw.domain.terminal import Terminal

# An event stays far below what a message may hold.
_EVENT_TERMINALS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Registered:
    """What a registration did."""

    registered_count: int
    known_count: int


class BatchRegisterTerminals:
    """Registers terminals with their PSAMs, all or none."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, terminals: Sequence[Terminal], request: RequestKey) -> Registered:
        """Store those that are new.

        Raises:
            TerminalExists, PsamInUse: In this order.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: Registered = await uow.requests.first_answer(request, Registered)
                return first
            new, known = await uow.terminals.add(terminals)
            await uow.outbox.add(
                [
                    events.TerminalsRegistered(terminals=map(terminal_to_pb, new[start : start + _EVENT_TERMINALS_MAX]))
                    for start in range(0, len(new), _EVENT_TERMINALS_MAX)
                ]
            )
            answer = Registered(len(new), known)
            await uow.requests.answer(request, answer)
            await uow.commit()
        return answer


class RevokePsam:
    """Revokes the PSAM of a terminal from an instant on."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, number: str, at: datetime | None, request: RequestKey) -> Terminal:
        """An earlier revocation stands; without an instant it is now.

        Raises:
            TerminalUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: Terminal = await uow.requests.first_answer(request, Terminal)
                return first
            terminal: Terminal | None = await uow.terminals.revoke(number, at or self._clock.now())
            if terminal is None:
                raise TerminalUnknown(terminal=number)
            assert terminal.psam_revoked_at is not None, "it was just revoked"
            await uow.outbox.add(
                [
                    events.PsamRevoked(
                        terminal=f"terminals/{number}",
                        psam_number=terminal.psam_number,
                        revoke_time=timestamp(terminal.psam_revoked_at),
                    )
                ]
            )
            await uow.requests.answer(request, terminal)
            await uow.commit()
        return terminal
