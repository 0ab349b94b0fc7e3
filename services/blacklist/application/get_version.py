"""GetVersion: the newest version."""

from collections.abc import Callable

from services.blacklist.application.ports import UnitOfWork
from services.blacklist.domain.chain import Head


class GetVersion:
    """Reads the newest version from the database."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self) -> Head:
        """The newest version; version 0 before any change."""
        async with self._unit_of_work() as uow:
            return await uow.entries.head()
