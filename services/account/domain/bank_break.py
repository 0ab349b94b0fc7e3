"""Disagreements with a bank: rows with age and owner, never silent."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from uuid import UUID

# Who must act when it is us.
CENTRE = "centre"


class BreakKind(StrEnum):
    """In what way a bank and the platform disagree (BankBreakKind of the contract)."""

    ONLY_OURS = "ONLY_OURS"
    ONLY_BANK = "ONLY_BANK"
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"
    STATE_DIFFERS = "STATE_DIFFERS"
    CONTRADICTION = "CONTRADICTION"
    STUCK = "STUCK"


# Found by comparing a file with our operations; what the comparison no longer finds is resolved.
MATCHED_KINDS = (BreakKind.ONLY_OURS, BreakKind.ONLY_BANK, BreakKind.AMOUNT_DIFFERS, BreakKind.STATE_DIFFERS)


class BreakOutcome(StrEnum):
    """How a break ended."""

    RESOLVED = "RESOLVED"
    DECIDED = "DECIDED"


@dataclass(frozen=True, slots=True)
class BankBreak:
    """A disagreement about one operation.

    Attributes:
        id: Number, from 1.
        bank: Participant id.
        business_date: Of the operation.
        operation: Which.
        flow: The flow behind it; None when it is only the bank's.
        kind: In what way.
        our_amount_fen: 0 when we have none.
        bank_amount_fen: 0 when it has none.
        our_state: Where we see it; empty when we have none.
        bank_state: Where the bank sees it; empty when it has none.
        owner: Who must act: `banks/{participant}` or `centre`.
        open_time: When it was found.
        close_time: When it ended; None while open.
        outcome: How it ended.
        note: Why, by whoever closed it.
    """

    id: int
    bank: str
    business_date: date
    operation: UUID
    flow: UUID | None
    kind: BreakKind
    our_amount_fen: int
    bank_amount_fen: int
    our_state: str
    bank_state: str
    owner: str
    open_time: datetime
    close_time: datetime | None = None
    outcome: BreakOutcome | None = None
    note: str = ""

    def age(self, now: datetime) -> timedelta:
        """How long it has been open, or was."""
        return (self.close_time or now) - self.open_time


@dataclass(frozen=True, slots=True)
class FileMatch:
    """A file that was imported, and how its lines stand against our operations now.

    Attributes:
        bank: Participant id.
        business_date: Whose operations it lists.
        revision: Of the file.
        digest: SHA-256 of the file, 32 bytes.
        line_count: matched_count + differing_count + only_bank_count.
        debit_total_fen: Captured debits.
        credit_total_fen: Captured credits.
        matched_count: Lines that agree.
        differing_count: Lines whose amount, direction or state differ.
        only_bank_count: Lines that we never asked for.
        only_ours_count: Operations of ours that it lacks.
        repeated: It had been imported before.
    """

    bank: str
    business_date: date
    revision: int
    digest: bytes
    line_count: int
    debit_total_fen: int
    credit_total_fen: int
    matched_count: int = 0
    differing_count: int = 0
    only_bank_count: int = 0
    only_ours_count: int = 0
    repeated: bool = False
