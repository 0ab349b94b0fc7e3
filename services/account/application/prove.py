"""Recomputes what must hold inside the books."""

from services.account.application.ports import Transaction
from services.account.domain.proof import Proof


class Prove:
    """Reads everything, repairs nothing."""

    def __init__(self, transaction: Transaction, clock_tolerance_s: float) -> None:
        self._transaction = transaction
        self._clock_tolerance_s = clock_tolerance_s

    async def __call__(self) -> Proof:
        """The proof of one moment of the database, while postings go on."""
        async with self._transaction() as uow:
            return await uow.proofs.prove(self._clock_tolerance_s)
