"""BatchRegisterTerminals: terminals with their PSAMs, all or none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.terminal_gw.application.ports import UnitOfWork
from services.terminal_gw.domain.terminal import TerminalSpec, distinct


@dataclass(frozen=True, slots=True)
class Registered:
    """The answer: how many are new, and how many were registered before with the same facts."""

    registered_count: int
    known_count: int


class BatchRegisterTerminals:
    """Registers thousands in a few statements."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, participant: str, specs: Sequence[TerminalSpec], request: RequestKey) -> Registered:
        """Register terminals of a participant.

        Raises:
            TerminalExists: One is registered with other facts, or named twice with different ones.
            PsamInUse: A PSAM belongs to another terminal.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Registered)
            new = await uow.terminals.register(participant, distinct(specs), self._clock.now())
            await uow.announce.terminals_registered(new)
            registered = Registered(len(new), len(specs) - len(new))
            await uow.requests.answer(request, registered)
            await uow.commit()
        return registered
