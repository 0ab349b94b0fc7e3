"""RevokePsam: what a PSAM signs from an instant on is not paid."""

from collections.abc import Callable
from datetime import datetime

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.terminal_gw.application.ports import UnitOfWork
from services.terminal_gw.domain.terminal import Terminal


class RevokePsam:
    """Revokes the PSAM of a terminal."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, terminal_number: str, at: datetime | None, request: RequestKey) -> Terminal:
        """Revoke from an instant on, None for now; an earlier revocation stands.

        Raises:
            TerminalUnknown: It is not registered.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Terminal)
            before = await uow.terminals.get_for_update(terminal_number)
            after = before.revoke_psam(at or self._clock.now())
            if after != before:
                await uow.terminals.save_revocation(after)
                await uow.announce.psam_revoked(after)
            await uow.requests.answer(request, after)
            await uow.commit()
        return after
