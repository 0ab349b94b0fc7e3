"""ConfirmLoad: the second half of a top-up (purse-protocol.md, section 3.1, step 5)."""

from libs.errors import NotYours
from services.card.application.ports import Keys, OpenUnitOfWork
from services.card.application.settle_load import SettleLoad
from services.card.domain.load import Load, LoadState


class ConfirmLoad:
    """Keeps the card's proof, then books the money."""

    def __init__(self, unit_of_work: OpenUnitOfWork, keys: Keys, settle: SettleLoad) -> None:
        self._unit_of_work = unit_of_work
        self._keys = keys
        self._settle = settle

    async def __call__(self, load_id: str, tac: bytes, outlet: str | None) -> Load:
        """Answers the confirmed load; one that is confirmed already is answered as it is.

        Args:
            load_id: Which load.
            tac: 4 bytes that the card answered.
            outlet: The outlet that asks; None for staff.

        Raises:
            LoadUnknown: There is no such load.
            NotYours: It is another outlet's.
            LoadStateForbids: No MAC2 was given, or it is proven not written.
            TacWrong: The TAC does not prove it.
            DependencyUnavailable: The ledger does not answer; the proof is kept, and the sweep will book it.
        """
        async with self._unit_of_work() as uow:
            load = await uow.loads.get_for_update(load_id)
            if outlet not in (None, load.order.outlet):
                raise NotYours
            if load.state is LoadState.CONFIRMED:
                return load
            load.check_confirmable()
            await self._keys.check_tac(await uow.cards.get(load.order.card), load, tac)
            # Stored before the ledger is told: whatever happens now, the proof is not lost.
            await uow.loads.save(load.proven(tac))
            await uow.commit()
        return await self._settle(load_id)
