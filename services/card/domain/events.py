"""What the card service tells the others: facts in the past tense, named as in `citycard.card.v1`."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias

# Consumers take a whole event into one transaction; at 24 bytes a card this stays far below the bus's 900 KB.
CARDS_PER_EVENT_MAX = 5_000


@dataclass(frozen=True, slots=True)
class CardsIssued:
    """Cards of one product and one key were issued. Columns of equal length.

    Attributes:
        numbers: Canonical numbers, all of one scheme.
        generations: Of each.
        opening_balances_fen: Already on each chip.
        deposits_fen: Taken for each.
        issuer_id: 16 hexadecimal digits.
        key_version: On the cards.
        algorithm_id: On the cards.
        card_main_type: Of the product.
        product: Name of the product.
        outlet: Name of the outlet that issued them.
        price_fen: Taken for each.
        start_date: First day of validity.
        expiry_date: Last day of validity.
        issue_time: When.
    """

    numbers: tuple[str, ...]
    generations: tuple[int, ...]
    opening_balances_fen: tuple[int, ...]
    deposits_fen: tuple[int, ...]
    issuer_id: str
    key_version: int
    algorithm_id: int
    card_main_type: int
    product: str
    outlet: str
    price_fen: int
    start_date: date
    expiry_date: date
    issue_time: datetime


@dataclass(frozen=True, slots=True)
class CardLossReported:
    """A card was reported lost."""

    number: str
    generation: int
    report_time: datetime


@dataclass(frozen=True, slots=True)
class CardLossCancelled:
    """A loss report was taken back."""

    number: str
    generation: int
    cancel_time: datetime


@dataclass(frozen=True, slots=True)
class LoadConfirmed:
    """A load was proven and booked. Balances and amounts in fen; the counter is the one before the load."""

    load: str
    number: str
    generation: int
    amount_fen: int
    online_counter: int
    new_balance_fen: int
    load_time: datetime


@dataclass(frozen=True, slots=True)
class LoadReversed:
    """An authorised load was proven not written; nothing was booked."""

    load: str
    number: str
    generation: int
    amount_fen: int
    reverse_time: datetime


CardEvent: TypeAlias = CardsIssued | CardLossReported | CardLossCancelled | LoadConfirmed | LoadReversed
