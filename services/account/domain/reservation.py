"""Reservations: legs held pending until they are posted, given up, or run out of time. Each ends exactly once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from services.account.domain.book import Posting
from services.account.domain.errors import CommitAboveHeld, ReservationResolved


class ReservationState(StrEnum):
    """Where a reservation is; every state but PENDING is final."""

    PENDING = "PENDING"
    COMMITTED = "COMMITTED"
    VOIDED = "VOIDED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class Reservation:
    """One reservation.

    Attributes:
        id: The request id that made it, so that a caller which never saw the answer can still name it.
        state: Where it is.
        posting: What is held.
        expire_time: When it gives itself up; None: never.
        journal: Id of the journal that committed it; None before.
        create_time: When it was made.
        partial: It was committed for less than what is held.
    """

    id: UUID
    state: ReservationState
    posting: Posting
    expire_time: datetime | None
    journal: UUID | None
    create_time: datetime
    partial: bool = False

    def overdue(self, now: datetime) -> bool:
        """Whether its time ran out, noted already or not."""
        return self.state is ReservationState.PENDING and self.expire_time is not None and self.expire_time <= now

    def commit(self, journal: UUID, now: datetime) -> "Reservation":
        """Post what is held; a committed one is returned as it is.

        Raises:
            ReservationResolved: It was voided, or its time ran out: time decides, not the sweep that notes it.
        """
        if self.state is ReservationState.COMMITTED:
            return self
        if self.state is not ReservationState.PENDING or self.overdue(now):
            state = ReservationState.EXPIRED if self.state is ReservationState.PENDING else self.state
            raise ReservationResolved(reservation=self.id, state=state.value)
        return replace(self, state=ReservationState.COMMITTED, journal=journal)

    def part(self, amounts_fen: Sequence[int]) -> Posting:
        """What of it is posted.

        Args:
            amounts_fen: One per leg, 0 to leave it out; empty for everything.

        Raises:
            CommitAboveHeld: A leg would be posted for more than it holds, or there is not one amount for every leg.
        """
        if not amounts_fen:
            return self.posting
        held = [leg.amount_fen for leg in self.posting.legs]
        for number in range(1, max(len(held), len(amounts_fen)) + 1):
            most = held[number - 1] if number <= len(held) else 0
            wanted = amounts_fen[number - 1] if number <= len(amounts_fen) else 0
            if wanted > most or number > min(len(held), len(amounts_fen)):
                raise CommitAboveHeld(reservation=self.id, leg_number=number, held_fen=most, amount_fen=wanted)
        return self.posting.part(amounts_fen)

    def void(self) -> "Reservation":
        """Give up what is held; one that was given up, or ran out of time, is returned as it is.

        Raises:
            ReservationResolved: It was committed.
        """
        if self.state is ReservationState.COMMITTED:
            raise ReservationResolved(reservation=self.id, state=self.state.value)
        return self if self.state is not ReservationState.PENDING else replace(self, state=ReservationState.VOIDED)

    def expire(self, now: datetime) -> "Reservation":
        """Give up what is held because its time ran out; returned as it is when there is nothing to do."""
        return replace(self, state=ReservationState.EXPIRED) if self.overdue(now) else self
