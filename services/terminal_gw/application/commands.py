"""BatchIssueCommands, AnswerCommand, CancelCommand, ListCommands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from libs.clock import Clock
from libs.errors import NotYours, RequestMalformed
from libs.runtime.identity import Identity, Role
from libs.runtime.requests import RequestKey
from services.terminal_gw.application.ports_field import FieldUnitOfWork
from services.terminal_gw.application.sessions import SessionHub
from services.terminal_gw.domain.device import Command, CommandAnswer, CommandState
from services.terminal_gw.domain.errors import CommandClosed, TerminalUnknown

_TIMEOUT_S: Final = 600


@dataclass(frozen=True, slots=True)
class Issued:
    """How many terminals got a command, and the number of the first."""

    command_count: int
    first_number: int


@dataclass(frozen=True, slots=True)
class Order:
    """A command for many terminals: those named, or all of a group or collection point."""

    numbers: tuple[str, ...]
    group: str
    point: str
    kind: str
    body: bytes
    timeout_s: int


class BatchIssueCommands:
    """Issues one command to many terminals, in one transaction."""

    def __init__(self, unit_of_work: Callable[[], FieldUnitOfWork], clock: Clock, hub: SessionHub) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._hub = hub

    async def __call__(self, caller: Identity, order: Order, request: RequestKey) -> Issued:
        """Issue.

        Raises:
            RequestMalformed: Neither terminals nor a group nor a point, or both.
            TerminalUnknown: One is not registered; nothing is issued.
            NotYours: One belongs to another participant.
        """
        if bool(order.numbers) == bool(order.group or order.point):
            raise RequestMalformed(field="terminals", description="say terminals, or a group or collection point")
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Issued)
            if order.numbers:
                numbers = sorted(set(order.numbers))
                await must_own_all(uow, caller, numbers)
            else:
                numbers = list(await uow.devices.numbers_of(caller.participant, order.group, order.point))
            now = self._clock.now()
            expire = now + timedelta(seconds=order.timeout_s or _TIMEOUT_S)
            orders = [(number, order.kind, order.body) for number in numbers]
            issued = await uow.commands.issue(orders, caller.uri, now, expire) if orders else ()
            answer = Issued(len(issued), issued[0] if issued else 0)
            await uow.requests.answer(request, answer)
            await uow.commit()
        self._hub.commands_waiting.set()
        return answer


class AnswerCommand:
    """Takes the answer of a terminal that has no session."""

    def __init__(self, unit_of_work: Callable[[], FieldUnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, caller: Identity, answer: CommandAnswer) -> Command:
        """Keep it.

        Raises:
            CommandUnknown: There is none.
            NotYours: The terminal is another's.
        """
        async with self._unit_of_work() as uow:
            command = await uow.commands.get_for_update(answer.terminal_number, answer.number)
            await must_own_all(uow, caller, [answer.terminal_number])
            must_be(caller, answer.terminal_number)
            await uow.commands.answer([answer], self._clock.now())
            await uow.collection.declare_void([answer])
            after = await uow.commands.get_for_update(command.terminal_number, command.number)
            await uow.commit()
        return after


class CancelCommand:
    """Takes a command back."""

    def __init__(self, unit_of_work: Callable[[], FieldUnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, caller: Identity, terminal_number: str, number: int) -> Command:
        """Cancel it; a cancelled one stays cancelled.

        Raises:
            CommandUnknown: There is none.
            CommandClosed: It is final in another way.
            NotYours: The terminal is another's.
        """
        async with self._unit_of_work() as uow:
            command = await uow.commands.get_for_update(terminal_number, number)
            await must_own_all(uow, caller, [terminal_number])
            if command.state is CommandState.CANCELLED:
                return command
            if command.state.final:
                raise CommandClosed(command=command.name, state=command.state.name)
            await uow.commands.set_state(number, CommandState.CANCELLED)
            await uow.commit()
        return replace(command, state=CommandState.CANCELLED)


class ListCommands:
    """Reads a page of commands."""

    def __init__(self, unit_of_work: Callable[[], FieldUnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(
        self, participant: str | None, terminal_number: str, before: int, size: int, *, open_only: bool
    ) -> Sequence[Command]:
        """Newest first."""
        async with self._unit_of_work() as uow:
            return await uow.commands.list(participant, terminal_number, before, size, open_only=open_only)


async def must_own_all(uow: FieldUnitOfWork, caller: Identity, numbers: Sequence[str]) -> None:
    """Let pass registered terminals that all belong to the caller.

    Raises:
        TerminalUnknown: The first by number that is not registered.
        NotYours: One belongs to another participant.
    """
    owners = await uow.devices.owners(numbers)
    for number in numbers:
        if number not in owners:
            raise TerminalUnknown(terminal=number)
    for owner in set(owners.values()):
        caller.must_own(owner)


def must_be(caller: Identity, terminal_number: str) -> None:
    """Let pass a terminal that speaks for itself, and everybody who is no terminal.

    Raises:
        NotYours: A terminal speaks for another.
    """
    if caller.kind is Role.TERMINAL and caller.id != terminal_number:
        raise NotYours
