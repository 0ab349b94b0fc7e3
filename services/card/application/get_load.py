"""GetLoad: one load."""

from libs.errors import NotYours
from services.card.application.ports import OpenUnitOfWork
from services.card.domain.load import Load


class GetLoad:
    """Reads one load; an outlet sees its own."""

    def __init__(self, unit_of_work: OpenUnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, load_id: str, outlet: str | None) -> Load:
        """`outlet` is the outlet that asks, None for staff and services.

        Raises:
            LoadUnknown: There is no such load.
            NotYours: It is another outlet's.
        """
        async with self._unit_of_work() as uow:
            load = await uow.loads.get(load_id)
        if outlet not in (None, load.order.outlet):
            raise NotYours
        return load
