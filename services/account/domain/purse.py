"""Purses: the centre's copy of the money on a card (clearing-and-ledger.md, section 6)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Scheme = Literal["cj", "jt"]
SCHEMES: tuple[Scheme, Scheme] = ("cj", "jt")
# What a purse says before any offline counter was seen: counters of cards begin at 0.
NO_COUNTER = -1


@dataclass(frozen=True, slots=True, order=True)
class PurseKey:
    """Which purse: a card number may be used again by a later generation of the card.

    The order of keys is the order in which purses are locked, everywhere.

    Attributes:
        scheme: `cj` or `jt`; in columns 0 and 1.
        number: 20 digits.
        generation: 1 or more.
    """

    scheme: Scheme
    number: str
    generation: int

    @property
    def name(self) -> str:
        """The name behind `purses/`, `jt-03104….1`."""
        return f"{self.scheme}-{self.number}.{self.generation}"

    @classmethod
    def parse(cls, name: str) -> "PurseKey":
        """Read a name of the form that the contract's pattern lets through."""
        scheme, _, rest = name.partition("-")
        number, _, generation = rest.partition(".")
        assert scheme in SCHEMES, "the pattern of the contract admits no other scheme"
        return cls("cj" if scheme == "cj" else "jt", number, int(generation))


@dataclass(frozen=True, slots=True)
class Purse:
    """One purse, as sums that only grow.

    Attributes:
        key: Which.
        opening_fen: Put on the card when it was issued.
        loads_fen: Loads confirmed.
        debits_fen: Purchases and other debits that records proved.
        corrections_debit_fen: Booked against the purse by hand or by a refund; the card knows nothing of it.
        corrections_credit_fen: Booked in its favour likewise.
        pending_loads_fen: Credits reserved and not resolved.
        pending_debits_fen: Debits reserved and not resolved.
        counter_max: Highest offline counter seen, as the card answered it (before the increment); -1 for none.
        counter_count: How many distinct offline counters were seen.
        printed_balance_fen: What the card said it held after its highest counter.
        last_time: Time of the movement with the highest counter.
        repeats_fen: Of the debits those under counters that were there before: taken from the book, not from the card.
        last_load_time: When the newest load happened.
    """

    key: PurseKey
    opening_fen: int = 0
    loads_fen: int = 0
    debits_fen: int = 0
    corrections_debit_fen: int = 0
    corrections_credit_fen: int = 0
    pending_loads_fen: int = 0
    pending_debits_fen: int = 0
    counter_max: int = NO_COUNTER
    counter_count: int = 0
    printed_balance_fen: int = 0
    last_time: datetime | None = None
    repeats_fen: int = 0
    last_load_time: datetime | None = None

    @property
    def balance_fen(self) -> int:
        """Balance by the book: opening + loads - debits ± corrections. May be below zero: the debits have happened."""
        corrections = self.corrections_credit_fen - self.corrections_debit_fen
        return self.opening_fen + self.loads_fen - self.debits_fen + corrections

    @property
    def gap_open(self) -> bool:
        """Whether counters below the highest are missing: records that were not collected yet."""
        return self.counter_count < self.counter_max + 1


@dataclass(frozen=True, slots=True)
class PurseChange:
    """What a journal or reservation adds to one purse, in fen; only pending sums may shrink.

    `load_time` is when the newest load of it happened; None when it loads nothing.
    """

    key: PurseKey
    loads_fen: int = 0
    corrections_debit_fen: int = 0
    corrections_credit_fen: int = 0
    pending_loads_fen: int = 0
    pending_debits_fen: int = 0
    load_time: datetime | None = None

    def plus(self, other: "PurseChange") -> "PurseChange":
        """Both together."""
        return PurseChange(
            self.key,
            self.loads_fen + other.loads_fen,
            self.corrections_debit_fen + other.corrections_debit_fen,
            self.corrections_credit_fen + other.corrections_credit_fen,
            self.pending_loads_fen + other.pending_loads_fen,
            self.pending_debits_fen + other.pending_debits_fen,
            max((at for at in (self.load_time, other.load_time) if at is not None), default=None),
        )


def add_up_purses(changes: Iterable[PurseChange]) -> list[PurseChange]:
    """Several changes as one per purse, in the order in which purses are locked."""
    sums: dict[PurseKey, PurseChange] = {}
    for change in changes:
        before = sums.get(change.key)
        sums[change.key] = change if before is None else before.plus(change)
    return [sums[key] for key in sorted(sums)]
