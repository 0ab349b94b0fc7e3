"""Ends a held debit for whoever made it."""

from collections.abc import Sequence
from uuid import UUID

from libs.errors import NotYours
from services.account.application.commit_reservation import CommitReservation
from services.account.application.ports import Transaction
from services.account.application.void_reservation import VoidReservation
from services.account.domain.errors import CommitAboveHeld
from services.account.domain.wallet_debits import WalletDebit


class CommitWalletDebit:
    """Posts a held debit by its reservation."""

    def __init__(self, transaction: Transaction, commit_reservation: CommitReservation) -> None:
        self._transaction = transaction
        self._commit_reservation = commit_reservation

    async def __call__(self, debit_id: UUID, amounts_fen: Sequence[int], participant: str | None) -> WalletDebit:
        """Post it, or a part of every tender; a posted one is answered as it is.

        Args:
            debit_id: Which.
            amounts_fen: One per tender, 0 to leave it out; empty for everything.
            participant: Whose debits the caller may post; None: everybody's.

        Raises:
            DebitUnknown, NotYours, CommitAboveHeld, ReservationUnknown (it was never held), ReservationResolved,
                JournalUnbalanced (a part of nothing): First match wins.
        """
        found = await _mine(self._transaction, debit_id, participant)
        if amounts_fen and len(amounts_fen) != len(found.tenders):
            held = sum(tender.amount_fen for tender in found.tenders)
            raise CommitAboveHeld(
                reservation=debit_id, leg_number=len(found.tenders), held_fen=held, amount_fen=sum(amounts_fen)
            )
        # A debit and a credit per tender; what follows them on a card load moves the same amount on.
        amounts = [amount for amount in amounts_fen for _ in range(2)]
        if found.is_card_load:
            amounts *= 2
        await self._commit_reservation(debit_id, amounts)
        return await _mine(self._transaction, debit_id, participant)


class VoidWalletDebit:
    """Gives a held debit up by its reservation."""

    def __init__(self, transaction: Transaction, void_reservation: VoidReservation) -> None:
        self._transaction = transaction
        self._void_reservation = void_reservation

    async def __call__(self, debit_id: UUID, participant: str | None) -> WalletDebit:
        """Give it up; one that was given up is answered as it is.

        Raises:
            DebitUnknown, NotYours, ReservationUnknown (it was never held), ReservationResolved: First match wins.
        """
        await _mine(self._transaction, debit_id, participant)
        await self._void_reservation(debit_id)
        return await _mine(self._transaction, debit_id, participant)


async def _mine(transaction: Transaction, debit_id: UUID, participant: str | None) -> WalletDebit:
    async with transaction() as uow:
        found = await uow.wallet_books.debits.get(debit_id)
    if participant is not None and found.participant != participant:
        raise NotYours
    return found
