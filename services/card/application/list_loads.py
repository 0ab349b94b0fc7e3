"""ListLoads: loads, newest first."""

from collections.abc import Sequence
from datetime import datetime

from services.card.application.ports import LoadFilter, OpenUnitOfWork
from services.card.domain.load import Load


class ListLoads:
    """Reads a page of loads."""

    def __init__(self, unit_of_work: OpenUnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, wanted: LoadFilter, before: tuple[datetime, str] | None, limit: int) -> Sequence[Load]:
        """Loads older than a pair of moment and id, at most `limit`."""
        async with self._unit_of_work() as uow:
            return await uow.loads.page(wanted, before, limit)
