"""Lots: the parts of a wallet that came together, end together and may pay the same things."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.account.domain.wallets import LotOrder

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Lot:
    """One part of a wallet; amounts in the unit of the wallet.

    Attributes:
        id: Grows with age.
        wallet: Whose.
        amount_fen: What came.
        purposes: What it may pay, in order; empty: anything that the wallet may.
        valid_from: Not before; None: at once.
        valid_until: Not from then on; None: for ever.
        source: Account that it came from, and goes back to when it ends.
        reference: What it came for.
        create_time: When it came.
        taken_fen: Paid out of it.
        held_fen: Held by reservations.
        expired_fen: What was left when it ended.
    """

    id: int
    wallet: str
    amount_fen: int
    purposes: tuple[str, ...]
    valid_from: datetime | None
    valid_until: datetime | None
    source: str
    reference: str
    create_time: datetime
    taken_fen: int = 0
    held_fen: int = 0
    expired_fen: int = 0

    @property
    def balance_fen(self) -> int:
        """What of it is in the balance of the account."""
        return self.amount_fen - self.taken_fen - self.expired_fen

    @property
    def free_fen(self) -> int:
        """What of it nobody holds."""
        return self.balance_fen - self.held_fen

    def in_force(self, now: datetime) -> bool:
        """Whether the moment lies in its validity: from included, until excluded."""
        begun = self.valid_from is None or self.valid_from <= now
        return begun and (self.valid_until is None or now < self.valid_until)

    def pays(self, purpose: str, now: datetime) -> bool:
        """Whether it may pay this now."""
        return self.in_force(now) and (not self.purposes or purpose in self.purposes)


@dataclass(frozen=True, slots=True)
class LotChange:
    """What is added to the sums of a lot; only what is held and taken may shrink."""

    lot_id: int
    taken_fen: int = 0
    held_fen: int = 0


@dataclass(frozen=True, slots=True)
class EndedLot:
    """What a lot still held when it ended, and the account that it goes back to."""

    wallet: str
    source: str
    amount_fen: int


def usable(lots: Iterable[Lot], order: LotOrder, purpose: str, now: datetime) -> list[Lot]:
    """The lots that may pay a purpose now, in the order in which they are taken.

    `fifo`: the oldest first; `expiry`: the one that ends soonest first, of equal ones the oldest.
    """
    found = [lot for lot in lots if lot.free_fen > 0 and lot.pays(purpose, now)]
    if order is LotOrder.FIFO:
        return sorted(found, key=lambda lot: lot.id)
    return sorted(found, key=lambda lot: (lot.valid_until or _END_OF_TIME, lot.id))


def take(lots: Sequence[Lot], amount_fen: int) -> tuple[tuple[int, int], ...]:
    """Divide an amount over usable lots in order: pairs of lot and part, which the lots must cover."""
    parts: list[tuple[int, int]] = []
    left = amount_fen
    for lot in lots:
        part = min(left, lot.free_fen)
        if part:
            parts.append((lot.id, part))
        left -= part
    assert left == 0, "no more is taken than the lots were seen to hold"
    return tuple(parts)
