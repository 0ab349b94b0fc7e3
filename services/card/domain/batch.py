"""Many cards at once, as columns: thousands of stocked cards are checked and issued without an object for each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from libs.errors import RequestMalformed
from services.card.domain.card import check_number
from services.card.domain.errors import CardNotAtOutlet, CardStateForbids, CardUnknown, HolderRequired
from services.card.domain.events import CARDS_PER_EVENT_MAX, CardsIssued
from services.card.domain.product import Product
from services.card.domain.states import CardState


@dataclass(frozen=True, slots=True)
class StockRow:
    """What must be known of a stocked card to issue it."""

    generation: int
    state: CardState
    outlet: str
    product: str
    issuer_id: str
    key_version: int
    algorithm_id: int


@dataclass(frozen=True, slots=True)
class IssueGroup:
    """Cards of a batch that share product, scheme, issuer and key. Columns of equal length.

    Attributes:
        product: The newest version: its terms hold for these cards.
        issuer_id: 16 hexadecimal digits.
        key_version: On the cards.
        algorithm_id: On the cards.
        numbers: Canonical numbers.
        generations: Of each.
        openings_fen: Opening balance of each.
    """

    product: Product
    issuer_id: str
    key_version: int
    algorithm_id: int
    numbers: tuple[str, ...]
    generations: tuple[int, ...]
    openings_fen: tuple[int, ...]

    def events(self, *, outlet: str, at: datetime, start: date) -> Iterator[CardsIssued]:
        """The facts, at most `CARDS_PER_EVENT_MAX` cards in each."""
        for first in range(0, len(self.numbers), CARDS_PER_EVENT_MAX):
            rows = slice(first, first + CARDS_PER_EVENT_MAX)
            yield CardsIssued(
                numbers=self.numbers[rows],
                generations=self.generations[rows],
                opening_balances_fen=self.openings_fen[rows],
                deposits_fen=(self.product.deposit_fen,) * len(self.numbers[rows]),
                issuer_id=self.issuer_id,
                key_version=self.key_version,
                algorithm_id=self.algorithm_id,
                card_main_type=self.product.card_main_type,
                product=self.product.name,
                outlet=outlet,
                price_fen=self.product.price_fen,
                start_date=start,
                expiry_date=self.product.expiry(start),
                issue_time=at,
            )


def check_each_once(numbers: Sequence[str], field: str) -> None:
    """Refuse a list that names a card twice.

    Raises:
        RequestMalformed: It does.
    """
    if len(set(numbers)) != len(numbers):
        raise RequestMalformed(field=field, description="each card once")


def check_numbers(numbers: Sequence[str]) -> None:
    """Check numbers that come to stock.

    Raises:
        RequestMalformed: A card is named twice.
        CardNumberInvalid: The first number that is not one of its scheme.
    """
    check_each_once(numbers, "cards")
    for number in numbers:
        check_number(number)


def openings_for(numbers: Sequence[str], openings_fen: Sequence[int]) -> tuple[int, ...]:
    """One opening balance per card, from one for all or one for each.

    Raises:
        RequestMalformed: Another count.
    """
    if len(openings_fen) == 1:
        return tuple(openings_fen) * len(numbers)
    if len(openings_fen) != len(numbers):
        raise RequestMalformed(field="opening_balances_fen", description="one value for all cards, or one per card")
    return tuple(openings_fen)


def check_issuable(numbers: Sequence[str], stock: Mapping[str, StockRow], outlet: str) -> None:
    """Check that all these cards lie in stock at an outlet; the first broken rule wins, then the first card.

    Raises:
        CardUnknown: A number is not in the registry.
        CardStateForbids: A card is not in stock.
        CardNotAtOutlet: A card lies elsewhere.
    """
    for number in numbers:
        if number not in stock:
            raise CardUnknown(card=number)
    for number in numbers:
        if stock[number].state is not CardState.STOCK:
            raise CardStateForbids(card=number, state=stock[number].state)
    for number in numbers:
        if stock[number].outlet != outlet:
            raise CardNotAtOutlet(card=number, outlet=outlet)


def group_issue(
    numbers: Sequence[str],
    openings_fen: Sequence[int],
    stock: Mapping[str, StockRow],
    products: Mapping[str, Product],
) -> list[IssueGroup]:
    """Sort a checked batch into groups that need one statement and few events each.

    Args:
        numbers: All of them in `stock`.
        openings_fen: One per card.
        stock: From the registry.
        products: Newest version by name.

    Raises:
        HolderRequired: A product wants a named holder, and a batch names none.
        BalanceOverLimit: An opening balance is above its product's limit.
    """
    groups: dict[tuple[str, str, str, int, int], tuple[list[str], list[int], list[int]]] = {}
    for number, opening in zip(numbers, openings_fen, strict=True):
        row = stock[number]
        key = (row.product, number[:2], row.issuer_id, row.key_version, row.algorithm_id)
        members, generations, openings = groups.setdefault(key, ([], [], []))
        members.append(number)
        generations.append(row.generation)
        openings.append(opening)
    for product_name, *_ in groups:
        if products[product_name].needs_holder:
            raise HolderRequired(product=product_name)
    for (product_name, *_), (_, _, openings) in groups.items():
        products[product_name].check_balance(max(openings))
    return [
        IssueGroup(
            products[product_name],
            issuer_id,
            key_version,
            algorithm_id,
            tuple(members),
            tuple(generations),
            tuple(openings),
        )
        for (product_name, _, issuer_id, key_version, algorithm_id), (members, generations, openings) in groups.items()
    ]
