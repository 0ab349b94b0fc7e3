"""What settlement, disputes and adjustments keep, as rows."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum


class Contra(IntEnum):
    """The other side of an adjustment; the numbers of `ContraAccount`."""

    HOLDERS = 1
    COMPENSATION = 2
    LOSSES = 3
    FEES = 4


CONTRA_ACCOUNTS = {
    Contra.HOLDERS: "accounts/2206",
    Contra.COMPENSATION: "accounts/6003",
    Contra.LOSSES: "accounts/6402",
    Contra.FEES: "accounts/6002",
}


class RequestState(IntEnum):
    """The numbers of `AdjustmentState`."""

    PROPOSED = 1
    POSTED = 2
    REFUSED = 3


class DisputeState(IntEnum):
    """The numbers of `DisputeState`."""

    FILED = 1
    UPHELD = 2
    DENIED = 3
    POSTED = 4


@dataclass(frozen=True, slots=True)
class AdjustmentRow:
    """An adjustment that somebody proposed; `kind` is an `AdjustmentKind`."""

    id: int
    participant: str
    amount_fen: int
    contra: Contra
    kind: str
    original_date: date | None
    reason: str
    state: RequestState
    made_by: str
    decided_by: str = ""
    posted_on: date | None = None

    @property
    def name(self) -> str:
        """Resource name."""
        return f"adjustments/{self.id}"


@dataclass(frozen=True, slots=True)
class DisputeRow:
    """One claim; `reason` and `request` are those of the DS record."""

    id: int
    participant: str
    dispute_number: int
    terminal_number: int
    terminal_seq: int
    reason: int
    request: int
    claimed_fen: int
    settlement_date: date | None
    state: DisputeState
    filed_at: datetime
    answer_date: date
    answer: str = ""
    adjustment_id: int | None = None

    @property
    def name(self) -> str:
        """Resource name."""
        return f"disputes/{self.id}"

    @property
    def record(self) -> str:
        """Resource name of the record."""
        return f"records/{self.terminal_number:012d}-{self.terminal_seq}"


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file for a bank."""

    content: bytes
    sha256: bytes
    instruction_count: int
    pay_fen: int
    collect_fen: int


@dataclass(frozen=True, slots=True)
class TakenFile:
    """What became of a return file."""

    taken: int
    known: int
    unknown: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """Something that somebody must look at."""

    id: int
    kind: str
    participant: str
    limit_fen: int
    found_fen: int
    raised_at: datetime
    ended_at: datetime | None
