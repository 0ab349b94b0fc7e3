"""What the use cases need of the world: storage, the ledger, the keys."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol, TypeAlias, TypeVar

from libs.errors import DependencyUnavailable
from libs.runtime.requests import RequestKey
from services.card.domain.batch import IssueGroup, StockRow
from services.card.domain.card import Card
from services.card.domain.events import CardEvent
from services.card.domain.holder import Holder
from services.card.domain.load import CardSight, Load, LoadOrder, LoadState
from services.card.domain.product import Product
from services.card.domain.states import CardState, Verb

T = TypeVar("T")


class PurseNotOpen(DependencyUnavailable):
    """The ledger has not heard of the card yet: its issue is on the way. The same request may succeed soon."""


class LedgerDisagrees(Exception):
    """The ledger ended a reservation the other way, behind our back: an officer must look, nothing may be guessed."""


@dataclass(frozen=True, slots=True)
class StockLevel:
    """How many cards of a product lie at an outlet, and how many were issued from there so far."""

    outlet: str
    product: str
    stock_count: int
    issued_count: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """Personalised cards that come to stock: what they have in common."""

    product: str
    outlet: str
    issuer_id: str
    key_version: int
    algorithm_id: int


@dataclass(frozen=True, slots=True)
class CardFilter:
    """Which cards to list; None is all."""

    state: CardState | None = None
    product: str | None = None
    outlet: str | None = None


@dataclass(frozen=True, slots=True)
class LoadFilter:
    """Which loads to list; None is all."""

    card: str | None = None
    state: LoadState | None = None


@dataclass(frozen=True, slots=True)
class ProofLine:
    """One thing that must hold, and whether it does; as `citycard.common.v1.ProofLine`."""

    invariant: str
    statement: str
    checked_count: int
    broken_count: int
    first_broken: str


@dataclass(frozen=True, slots=True)
class Proof:
    """What the card service can prove, and its totals in fen; as `ProveResponse`."""

    lines: tuple[ProofLine, ...]
    issued_count: int
    opening_balance_total_fen: int
    confirmed_load_total_fen: int
    open_load_total_fen: int
    deposit_total_fen: int
    lost_count: int


class Requests(Protocol):
    """Claims of request ids (libs.runtime.requests)."""

    async def claim(self, key: RequestKey) -> bool:
        """True when the request is ours to answer, False when it was answered; raises RequestIdReused."""
        ...

    async def first_answer(self, key: RequestKey, cls: type[T]) -> T:
        """What was answered first."""
        ...

    async def answer(self, key: RequestKey, value: object) -> None:
        """Keep the answer beside the claim."""
        ...


class Events(Protocol):
    """The outbox in words of the domain."""

    async def add(self, events: Sequence[CardEvent]) -> None:
        """Publish if and only if the transaction commits."""
        ...


class Products(Protocol):
    """Products with all their versions."""

    async def add(self, product: Product) -> Product:
        """Store the rules as the next version of the name; returns them numbered. Waits for a concurrent author."""
        ...

    async def get(self, name: str) -> Product:
        """The newest version; raises ProductUnknown."""
        ...

    async def get_many(self, names: Sequence[str]) -> Mapping[str, Product]:
        """The newest version of each; raises ProductUnknown."""
        ...

    async def page(self, after: str, limit: int) -> Sequence[Product]:
        """Newest versions by name, after a name."""
        ...


class Cards(Protocol):
    """The registry. Whoever locks several cards locks them by number."""

    async def get(self, number: str) -> Card:
        """One card; raises CardUnknown."""
        ...

    async def get_for_update(self, number: str) -> Card:
        """One card, locked until the end of the transaction; raises CardUnknown."""
        ...

    async def save(self, card: Card, verb: Verb) -> None:
        """Store a locked card that a verb has moved, and the move in its journal."""
        ...

    async def page(self, wanted: CardFilter, after: str, limit: int) -> Sequence[Card]:
        """Cards by number, after a number."""
        ...

    async def receive(self, numbers: Sequence[str], delivery: Delivery, at: datetime) -> None:
        """Put new cards to stock in one statement; raises CardExists for the first that is there already."""
        ...

    async def stock_for_update(self, numbers: Sequence[str]) -> Mapping[str, StockRow]:
        """What is known of these cards, locked; unknown numbers are absent."""
        ...

    async def issue(self, group: IssueGroup, *, at: datetime, start: date) -> None:
        """Make the locked cards of a group ACTIVE in one statement, with their moves; valid from `start`."""
        ...


class Stock(Protocol):
    """Counts by outlet and product, kept beside the cards and recounted by Prove."""

    async def change(self, outlet: str, product: str, *, stock: int, issued: int) -> StockLevel:
        """Add to the counts; last in a transaction, products by name: the row is hot."""
        ...

    async def page(self, outlet: str | None, after: tuple[str, str], limit: int) -> Sequence[StockLevel]:
        """Levels by outlet and product, after a pair."""
        ...


class Holders(Protocol):
    """Holders, enciphered at rest."""

    async def put(self, card: Card, holder: Holder) -> None:
        """Register the holder of this life of the card."""
        ...

    async def get(self, card: Card) -> Holder | None:
        """The holder of this life of the card."""
        ...


class Loads(Protocol):
    """Loads of all cards. Whoever locks a card and its loads locks the card first."""

    async def add(self, load: Load) -> None:
        """Store a new load."""
        ...

    async def get(self, load_id: str) -> Load:
        """One load; raises LoadUnknown."""
        ...

    async def get_for_update(self, load_id: str) -> Load:
        """One load, locked; raises LoadUnknown."""
        ...

    async def save(self, load: Load) -> None:
        """Store a locked load that has moved."""
        ...

    async def open_of_card_for_update(self, card: str) -> Sequence[Load]:
        """Loads of a card that are not final, locked, oldest first."""
        ...

    async def sight(self, order: LoadOrder, generation: int) -> CardSight:
        """What the loads of this life of the card say of when it was seen last."""
        ...

    async def page(self, wanted: LoadFilter, before: tuple[datetime, str] | None, limit: int) -> Sequence[Load]:
        """Loads, newest first, before a moment and id."""
        ...

    async def due(self, *, requested_before: datetime, now: datetime, limit: int) -> Sequence[str]:
        """Ids of loads that somebody must look after, oldest first.

        Decided and not final, asked for before a moment and without MAC2, or authorised with their time up.
        """
        ...


class Proofs(Protocol):
    """Recomputation over the whole registry."""

    async def recompute(self) -> Proof:
        """One consistent look at everything; reads only. First in its transaction."""
        ...


class UnitOfWork(Protocol):
    """One transaction."""

    @property
    def requests(self) -> Requests:
        """Request claims."""
        ...

    @property
    def events(self) -> Events:
        """The outbox."""
        ...

    @property
    def products(self) -> Products:
        """Products."""
        ...

    @property
    def cards(self) -> Cards:
        """Cards."""
        ...

    @property
    def stock(self) -> Stock:
        """Stock levels."""
        ...

    @property
    def holders(self) -> Holders:
        """Holders."""
        ...

    @property
    def loads(self) -> Loads:
        """Loads."""
        ...

    @property
    def proofs(self) -> Proofs:
        """Proofs."""
        ...

    async def commit(self) -> None:
        """Make everything true at once."""
        ...


OpenUnitOfWork: TypeAlias = Callable[[], AbstractAsyncContextManager[UnitOfWork]]


class Ledger(Protocol):
    """The account service. Every method raises DependencyUnavailable when it does not answer."""

    async def reserve(self, load: Load) -> str:
        """Hold the money of a load, once however often it is asked (clearing-and-ledger.md, section 9).

        Returns:
            Name of the reservation.

        Raises:
            OutletCreditExhausted: The outlet's limit does not cover it; nothing is held.
            PurseNotOpen: The ledger has not heard of the card yet; nothing is held.
        """
        ...

    async def commit(self, reservation: str) -> None:
        """Post what is held; repeating changes nothing."""
        ...

    async def void(self, reservation: str) -> None:
        """Give up what is held; repeating changes nothing."""
        ...

    async def balance(self, card: Card) -> int | None:
        """The centre's view of the purse in fen; None when the ledger has not heard of it."""
        ...


class Keys(Protocol):
    """The issuer's keys behind their custody. Verifying raises, it never returns a bool."""

    async def check_mac1(self, card: Card, order: LoadOrder) -> None:
        """Check that this card made this answer A; raises KeyUnknown, Mac1Wrong."""
        ...

    async def make_mac2(self, card: Card, order: LoadOrder, at: datetime) -> bytes:
        """MAC2, 4 bytes, for a host time; raises KeyUnknown."""
        ...

    async def check_tac(self, card: Card, load: Load, tac: bytes) -> None:
        """Check that the card proves the load; raises KeyUnknown, TacWrong."""
        ...
