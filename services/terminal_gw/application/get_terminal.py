"""GetTerminal and ListTerminals."""

from collections.abc import Callable, Sequence

from services.terminal_gw.application.ports import UnitOfWork
from services.terminal_gw.domain.errors import TerminalUnknown
from services.terminal_gw.domain.terminal import Terminal

MaySee = Callable[[str], bool]


class GetTerminal:
    """Reads one terminal."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, terminal_number: str, may_see: MaySee) -> Terminal:
        """One terminal.

        Raises:
            TerminalUnknown: There is none that the caller may see; whose it is, is not the caller's business.
        """
        async with self._unit_of_work() as uow:
            terminal = await uow.terminals.get(terminal_number)
        if not may_see(terminal.participant):
            raise TerminalUnknown(terminal=terminal_number)
        return terminal


class ListTerminals:
    """Reads a page of terminals."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, participant: str | None, after: str, size: int) -> Sequence[Terminal]:
        """At most `size` terminals after a number, of one participant or of all."""
        async with self._unit_of_work() as uow:
            return await uow.terminals.list(participant, after, size)
