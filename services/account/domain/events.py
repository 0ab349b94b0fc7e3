"""What the ledger tells the others; facts in the past tense, named as in the contract."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class BatchFolded:
    """A batch of clearing was folded into the purses and the book; `journal` is None when no money moved."""

    batch_id: str
    movement_count: int
    movement_total_fen: int
    journal: UUID | None
    fold_time: datetime


@dataclass(frozen=True, slots=True)
class ReservationExpired:
    """A reservation ran out of time and was given up."""

    reservation: UUID
    reference: str
    expire_time: datetime


LedgerEvent = BatchFolded | ReservationExpired
