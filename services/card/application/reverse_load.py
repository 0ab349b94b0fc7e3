"""ReverseLoad: the outlet saw that the card was not written (purse-protocol.md, section 3.1, steps 4 and 6)."""

from libs.errors import NotYours
from services.card.application.ports import OpenUnitOfWork
from services.card.application.settle_load import SettleLoad
from services.card.domain.load import Load, LoadState


class ReverseLoad:
    """Keeps the outlet's evidence, then gives the money back."""

    def __init__(self, unit_of_work: OpenUnitOfWork, settle: SettleLoad) -> None:
        self._unit_of_work = unit_of_work
        self._settle = settle

    async def __call__(self, load_id: str, status_word: bytes, card_unchanged: bool, outlet: str | None) -> Load:
        """Answers the reversed load; one that is reversed already is answered as it is.

        Args:
            load_id: Which load.
            status_word: What the card answered to CREDIT FOR LOAD; empty when nothing came.
            card_unchanged: The outlet read balance and online counter again and found those of answer A.
            outlet: The outlet that asks; None for staff.

        Raises:
            LoadUnknown: There is no such load.
            NotYours: It is another outlet's.
            LoadStateForbids: No MAC2 was given, or its TAC confirmed it.
            LoadWasWritten: The card itself shows that it was written.
            RequestMalformed: What the outlet saw proves nothing.
            DependencyUnavailable: The ledger does not answer; the sweep will give the money back.
        """
        async with self._unit_of_work() as uow:
            load = await uow.loads.get_for_update(load_id)
            if outlet not in (None, load.order.outlet):
                raise NotYours
            if load.state is LoadState.REVERSED:
                return load
            await uow.loads.save(load.disproven(status_word, card_unchanged=card_unchanged))
            await uow.commit()
        return await self._settle(load_id)
