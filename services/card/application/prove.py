"""Prove: what must hold inside this service, recomputed."""

from services.card.application.ports import OpenUnitOfWork, Proof


class Prove:
    """Looks at everything once and repairs nothing."""

    def __init__(self, unit_of_work: OpenUnitOfWork) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self) -> Proof:
        """Lines and totals of one consistent moment."""
        async with self._unit_of_work() as uow:
            return await uow.proofs.recompute()
