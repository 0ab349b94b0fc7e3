"""Entries and rows end by themselves."""

from collections.abc import Callable
from typing import Final

from libs.clock import Clock
from services.blacklist.application.change_list import change_list
from services.blacklist.application.change_rows import change_rows
from services.blacklist.application.list_ports import KindsUnitOfWork

_AT_ONCE: Final = 200


class Expire:
    """Takes off the lists what was put on them until a moment that has come.

    Whoever asks meanwhile is told so already, for an entry that ended is not in force. This makes the versions by which
    terminals learn of it.
    """

    def __init__(
        self, unit_of_work: Callable[[], KindsUnitOfWork], clock: Clock, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._changed = changed

    async def __call__(self) -> int:
        """One round; returns how many were taken off. Again at once while it is not 0."""
        now = self._clock.now()
        async with self._unit_of_work() as uow:
            cards = await uow.entries.expired(now, _AT_ONCE)
            for card in cards:
                await change_list(uow, card, now, lambda before: before.expire(now))
            rows = await uow.kinds.expired(now, _AT_ONCE)
            taken = 0
            for kind in sorted({kind for kind, _ in rows}):
                # Looked at again under the lock: somebody may have put the row anew meanwhile.
                await uow.kinds.head_for_update(kind)
                still = {key for one, key in await uow.kinds.expired(now, _AT_ONCE) if one is kind}
                await change_rows(uow.kinds, kind, (), still, now)
                taken += len(still)
            await uow.commit()
        if taken:
            self._changed()
        return len(cards) + taken
