"""What the books can prove of themselves."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProofLine:
    """One thing that must hold.

    Attributes:
        invariant: `I1` to `I14`.
        statement: What was compared, in one sentence.
        checked_count: How many things were looked at.
        broken_count: How many of them break it; 0 is proof.
        first_broken: The first broken one, for people; empty when none.
    """

    invariant: str
    statement: str
    checked_count: int
    broken_count: int
    first_broken: str


@dataclass(frozen=True, slots=True)
class AccountTotal:
    """Sums of an account, recomputed from its entries, in fen."""

    account: str
    debits_fen: int
    credits_fen: int


@dataclass(frozen=True, slots=True)
class Proof:
    """All lines, and totals for comparison with the services that caused them.

    Attributes:
        lines: One per statement.
        totals: Every account, by name.
        purse_total_fen: Sum of purse balances.
        purse_count: Purses known.
        pending_total_fen: Reservations still pending, debit side.
        movement_count: Card movements folded in.
        movement_total_fen: Their sum.
        batch_count: Batches folded in.
    """

    lines: tuple[ProofLine, ...]
    totals: tuple[AccountTotal, ...]
    purse_total_fen: int
    purse_count: int
    pending_total_fen: int
    movement_count: int
    movement_total_fen: int
    batch_count: int
