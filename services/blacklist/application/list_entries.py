"""ListEntries: a page of the list."""

from collections.abc import Callable, Sequence

from services.blacklist.application.ports import UnitOfWork
from services.blacklist.domain.entry import CardKey, Entry


class ListEntries:
    """Reads entries by key."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, after: CardKey | None, size: int, *, show_removed: bool) -> Sequence[Entry]:
        """At most `size` entries after a key."""
        async with self._unit_of_work() as uow:
            return await uow.entries.list(after, size, show_removed=show_removed)
