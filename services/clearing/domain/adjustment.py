"""Adjustments (调账): money of a participant that does not come from the records of its window.

They fall into an open window and name what they are for; a closed window never changes (clearing-and-ledger.md,
sections 4 and 7). What the book says of them goes to the ledger as lines, in the same transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from uuid import UUID

from services.clearing.domain.positions import PostingLine

PAYABLE = "accounts/2203"


class AdjustmentKind(StrEnum):
    """Why; the words are those of the statement and of the book's events."""

    SUSPENSE = "suspense_decided"
    """A suspense item was decided."""
    DISPUTE = "dispute_decided"
    """A dispute was decided."""
    MANUAL = "adjustment"
    """Two persons of the staff say so."""
    FEE_SHARE = "fee_share"
    """A share in a fee that another participant paid."""
    DISCOUNT_SHARE = "discount_share"
    """A discount that another participant gave, borne in part; or what the others bear of one's own."""
    APPORTIONED = "apportioned"
    """Fares that belong to another participant, or another's fares that belong to this one."""
    PAYBACK = "payback"
    """A discount that was missed, given back to the holder."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One line of a window that no record of it made.

    Attributes:
        participant: Surrogate.
        kind: `AdjustmentKind`.
        amount_fen: Above 0: the participant gets more; below 0: less.
        reference: Resource name of what it is for.
        original_date: Settlement date of what it corrects; None where there is none.
        issuer: Issuer of the line of the statement, 16 hexadecimal digits.
    """

    participant: int
    kind: str
    amount_fen: int
    reference: str
    original_date: date | None
    issuer: str


@dataclass(frozen=True, slots=True)
class BookPosting:
    """Lines of the book that go to the ledger at once, as one journal.

    Attributes:
        id: Names it for the ledger; posted once.
        event: Word of the journal.
        reference: Resource name of what it is for; an event happens to a reference once.
    """

    id: UUID
    event: str
    reference: str
    lines: tuple[PostingLine, ...]


def check_balance(lines: Iterable[PostingLine], adjustments: Sequence[Adjustment], names: dict[int, str]) -> None:
    """Assert that adjustments say of every participant what the book says of it (I6), before they are committed."""
    booked: dict[str, int] = {}
    for line in lines:
        assert line.amount_fen > 0, "a line of the book is above 0"
        for account, sign in ((line.debit_account, -1), (line.credit_account, 1)):
            if account.startswith(f"{PAYABLE}."):
                name = account.removeprefix(f"{PAYABLE}.")
                booked[name] = booked.get(name, 0) + sign * line.amount_fen
    said: dict[str, int] = {}
    for one in adjustments:
        said[names[one.participant]] = said.get(names[one.participant], 0) + one.amount_fen
    assert {k: v for k, v in booked.items() if v} == {k: v for k, v in said.items() if v}, (
        "adjustments = entries of the participants' accounts"
    )
