"""The card service's world in memory: one store with transactions, a ledger, keys, and a card that can be loaded."""

import asyncio
import copy
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any, TypeVar

from libs.errors import DependencyUnavailable, RequestIdReused
from libs.runtime.requests import RequestKey, decode_answer, encode_answer
from services.card.application.ports import (
    CardFilter,
    Delivery,
    LedgerDisagrees,
    LoadFilter,
    Proof,
    PurseNotOpen,
    StockLevel,
)
from services.card.domain.batch import IssueGroup, StockRow
from services.card.domain.card import Card
from services.card.domain.errors import (
    CardExists,
    CardUnknown,
    KeyUnknown,
    LoadUnknown,
    Mac1Wrong,
    OutletCreditExhausted,
    ProductUnknown,
    TacWrong,
)
from services.card.domain.events import CardEvent
from services.card.domain.holder import Holder
from services.card.domain.load import CardSight, Load, LoadOrder, LoadState, Tender, Verdict
from services.card.domain.product import Product, ProductKind
from services.card.domain.states import CardState, Verb

T = TypeVar("T")
NOON = datetime(2018, 9, 1, 4, 0, tzinfo=UTC)
ISSUER = "01005840FFFFFFFF"
NUMBER = "jt-03105840000000000017"


def a_number(serial: int) -> str:
    return f"jt-0310584000{serial:010d}"


def a_product(**values: Any) -> Product:
    defaults: dict[str, Any] = {
        "name": "adult",
        "version": 1,
        "display_name_zh": "普通卡",
        "display_name_en": "Adult",
        "kind": ProductKind.ANONYMOUS,
        "card_main_type": 1,
        "deposit_fen": 20_00,
        "price_fen": 0,
        "load_step_fen": 10_00,
        "balance_limit_fen": 1000_00,
        "validity_days": 3650,
        "create_time": NOON,
    }
    return Product(**defaults | values)


def a_card(**values: Any) -> Card:
    defaults: dict[str, Any] = {
        "number": NUMBER,
        "generation": 1,
        "state": CardState.ACTIVE,
        "product": "adult",
        "product_version": 1,
        "issuer_id": ISSUER,
        "key_version": 1,
        "algorithm_id": 0,
        "outlet": "north",
        "printed_number": "",
        "opening_fen": 0,
        "deposit_fen": 20_00,
        "price_fen": 0,
        "registered": True,
        "start_date": date(2018, 9, 1),
        "expiry_date": date(2028, 8, 29),
        "create_time": NOON,
        "state_time": NOON,
        "issue_time": NOON,
    }
    return Card(**defaults | values)


def a_delivery(**values: Any) -> Delivery:
    defaults: dict[str, Any] = {
        "product": "adult",
        "outlet": "north",
        "issuer_id": ISSUER,
        "key_version": 1,
        "algorithm_id": 0,
    }
    return Delivery(**defaults | values)


def a_request(content: object = "", method: str = "Test", request_id: str | None = None) -> RequestKey:
    digest = hashlib.sha256(repr(content).encode()).digest()
    return RequestKey("citycard://outlet/north", method, request_id or str(uuid.uuid4()), digest)


def an_order(**values: Any) -> LoadOrder:
    answer = FakeChip().initialise()
    defaults: dict[str, Any] = {
        "card": NUMBER,
        "amount_fen": 50_00,
        "outlet": "north",
        "terminal_number": "000000000001",
        "answer_a": answer,
        "tender": Tender.CASH,
    }
    return LoadOrder(**defaults | values)


class Killed(BaseException):
    """The process died here. Not an Exception: nothing may handle its own death."""


@dataclass
class Tables:
    products: dict[tuple[str, int], Product] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    moves: list[tuple[str, Verb, CardState | None, CardState]] = field(default_factory=list)
    levels: dict[tuple[str, str], StockLevel] = field(default_factory=dict)
    holders: dict[tuple[str, int], Holder] = field(default_factory=dict)
    loads: dict[str, Load] = field(default_factory=dict)
    claims: dict[tuple[str, str, str], tuple[bytes, bytes | None]] = field(default_factory=dict)
    events: list[CardEvent] = field(default_factory=list)


class FakeDatabase:
    """One transaction at a time; `kill_at` names the commits (from 1) before or after which the process dies."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.commits = 0
        self.kill_before: set[int] = set()
        self.kill_after: set[int] = set()
        self._turn = asyncio.Lock()

    def __call__(self) -> "FakeUnitOfWork":
        return FakeUnitOfWork(self, self._turn)

    def commit(self, tables: Tables) -> None:
        self.commits += 1
        if self.commits in self.kill_before:
            raise Killed
        self.tables = tables
        if self.commits in self.kill_after:
            raise Killed


class FakeUnitOfWork:
    def __init__(self, database: FakeDatabase, turn: asyncio.Lock) -> None:
        self._database = database
        self._turn = turn

    async def __aenter__(self) -> "FakeUnitOfWork":
        await self._turn.acquire()
        self.tables = copy.copy(self._database.tables)
        for name, rows in vars(self.tables).items():
            setattr(self.tables, name, copy.copy(rows))
        self.requests = FakeRequests(self.tables)
        self.events = FakeEvents(self.tables)
        self.products = FakeProducts(self.tables)
        self.cards = FakeCards(self.tables)
        self.stock = FakeStock(self.tables)
        self.holders = FakeHolders(self.tables)
        self.loads = FakeLoads(self.tables)
        self.proofs = FakeProofs()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turn.release()

    async def commit(self) -> None:
        unanswered = [key for key, (_, answer) in self.tables.claims.items() if answer is None]
        assert not unanswered, "a claim must be answered before commit"
        self._database.commit(self.tables)


class FakeRequests:
    def __init__(self, tables: Tables) -> None:
        self._claims = tables.claims

    async def claim(self, key: RequestKey) -> bool:
        known = self._claims.get((key.caller, key.method, key.request_id))
        if known is None:
            self._claims[key.caller, key.method, key.request_id] = (key.digest, None)
            return True
        if known[0] != key.digest:
            raise RequestIdReused(request_id=key.request_id)
        return False

    async def first_answer(self, key: RequestKey, cls: type[T]) -> T:
        answer = self._claims[key.caller, key.method, key.request_id][1]
        assert answer is not None
        return decode_answer(answer, cls)

    async def answer(self, key: RequestKey, value: object) -> None:
        self._claims[key.caller, key.method, key.request_id] = (key.digest, encode_answer(value))


class FakeEvents:
    def __init__(self, tables: Tables) -> None:
        self._events = tables.events

    async def add(self, events: Sequence[CardEvent]) -> None:
        self._events.extend(events)


class FakeProducts:
    def __init__(self, tables: Tables) -> None:
        self._products = tables.products

    async def add(self, product: Product) -> Product:
        version = 1 + max((number for name, number in self._products if name == product.name), default=0)
        numbered = product.numbered(version, product.create_time)
        self._products[product.name, version] = numbered
        return numbered

    async def get(self, name: str) -> Product:
        versions = [product for product in self._products.values() if product.name == name]
        if not versions:
            raise ProductUnknown(product=name)
        return max(versions, key=lambda product: product.version)

    async def get_many(self, names: Sequence[str]) -> Mapping[str, Product]:
        return {name: await self.get(name) for name in names}

    async def page(self, after: str, limit: int) -> Sequence[Product]:
        names = sorted({name for name, _ in self._products if name > after})
        return [await self.get(name) for name in names[:limit]]


class FakeCards:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def get(self, number: str) -> Card:
        if number not in self._tables.cards:
            raise CardUnknown(card=number)
        return self._tables.cards[number]

    async def get_for_update(self, number: str) -> Card:
        return await self.get(number)

    async def save(self, card: Card, verb: Verb) -> None:
        self._tables.moves.append((card.number, verb, self._tables.cards[card.number].state, card.state))
        self._tables.cards[card.number] = card

    async def page(self, wanted: CardFilter, after: str, limit: int) -> Sequence[Card]:
        def fits(card: Card) -> bool:
            return (
                wanted.state in (None, card.state)
                and wanted.product in (None, card.product)
                and wanted.outlet in (None, card.outlet)
            )

        cards = [card for number, card in sorted(self._tables.cards.items()) if number > after and fits(card)]
        return cards[:limit]

    async def receive(self, numbers: Sequence[str], delivery: Delivery, at: datetime) -> None:
        for number in numbers:
            if number in self._tables.cards:
                raise CardExists(card=number)
        for number in numbers:
            self._tables.cards[number] = a_card(
                number=number,
                state=CardState.STOCK,
                product=delivery.product,
                product_version=0,
                issuer_id=delivery.issuer_id,
                key_version=delivery.key_version,
                algorithm_id=delivery.algorithm_id,
                outlet=delivery.outlet,
                deposit_fen=0,
                registered=False,
                start_date=None,
                expiry_date=None,
                create_time=at,
                state_time=at,
                issue_time=None,
            )
            self._tables.moves.append((number, Verb.PERSONALISE, CardState.BLANK, CardState.STOCK))

    async def stock_for_update(self, numbers: Sequence[str]) -> Mapping[str, StockRow]:
        found = [self._tables.cards[number] for number in numbers if number in self._tables.cards]
        return {
            card.number: StockRow(
                card.generation,
                card.state,
                card.outlet,
                card.product,
                card.issuer_id,
                card.key_version,
                card.algorithm_id,
            )
            for card in found
        }

    async def issue(self, group: IssueGroup, *, at: datetime, start: date) -> None:
        for number, opening_fen in zip(group.numbers, group.openings_fen, strict=True):
            card = replace(
                self._tables.cards[number],
                state=CardState.ACTIVE,
                state_time=at,
                issue_time=at,
                start_date=start,
                expiry_date=group.product.expiry(start),
                product_version=group.product.version,
                deposit_fen=group.product.deposit_fen,
                price_fen=group.product.price_fen,
                opening_fen=opening_fen,
            )
            await self.save(card, Verb.ISSUE)


class FakeStock:
    def __init__(self, tables: Tables) -> None:
        self._levels = tables.levels

    async def change(self, outlet: str, product: str, *, stock: int, issued: int) -> StockLevel:
        old = self._levels.get((outlet, product), StockLevel(outlet, product, 0, 0))
        level = replace(old, stock_count=old.stock_count + stock, issued_count=old.issued_count + issued)
        self._levels[outlet, product] = level
        return level

    async def page(self, outlet: str | None, after: tuple[str, str], limit: int) -> Sequence[StockLevel]:
        found = [level for key, level in sorted(self._levels.items()) if key > after]
        return [level for level in found if outlet in (None, level.outlet)][:limit]


class FakeHolders:
    def __init__(self, tables: Tables) -> None:
        self._holders = tables.holders

    async def put(self, card: Card, holder: Holder) -> None:
        self._holders[card.number, card.generation] = holder

    async def get(self, card: Card) -> Holder | None:
        return self._holders.get((card.number, card.generation))


class FakeLoads:
    def __init__(self, tables: Tables) -> None:
        self._loads = tables.loads

    async def add(self, load: Load) -> None:
        undecided = [one for one in self._of(load.order.card) if not one.is_final and one.verdict is None]
        assert not undecided, "the database has a unique index for this"
        self._loads[load.id] = load

    async def get(self, load_id: str) -> Load:
        if load_id not in self._loads:
            raise LoadUnknown(load=load_id)
        return self._loads[load_id]

    async def get_for_update(self, load_id: str) -> Load:
        return await self.get(load_id)

    async def save(self, load: Load) -> None:
        assert load.id in self._loads
        self._loads[load.id] = load

    def _of(self, card: str) -> list[Load]:
        loads = [load for load in self._loads.values() if load.order.card == card]
        return sorted(loads, key=lambda load: (load.create_time, load.id))

    async def open_of_card_for_update(self, card: str) -> Sequence[Load]:
        return [load for load in self._of(card) if not load.is_final]

    async def sight(self, order: LoadOrder, generation: int) -> CardSight:
        loads = [load for load in self._of(order.card) if load.generation == generation]
        shown = [load.order.online_counter + (load.verdict is Verdict.WRITTEN) for load in loads]
        known = [load for load in loads if load.order.answer_a == order.answer_a and load.verdict and load.mac2]
        return CardSight(max(shown, default=0), bool(known))

    async def page(self, wanted: LoadFilter, before: tuple[datetime, str] | None, limit: int) -> Sequence[Load]:
        loads = sorted(self._loads.values(), key=lambda load: (load.create_time, load.id), reverse=True)
        return [
            load
            for load in loads
            if wanted.card in (None, load.order.card)
            and wanted.state in (None, load.state)
            and (before is None or (load.create_time, load.id) < before)
        ][:limit]

    async def due(self, *, requested_before: datetime, now: datetime, limit: int) -> Sequence[str]:
        def is_due(load: Load) -> bool:
            if load.is_final:
                return False
            late = load.state is LoadState.REQUESTED and load.create_time <= requested_before
            silent = load.state is LoadState.AUTHORISED and load.expire_time is not None and load.expire_time <= now
            return load.verdict is not None or late or silent

        loads = sorted(self._loads.values(), key=lambda load: load.create_time)
        return [load.id for load in loads if is_due(load)][:limit]


class FakeProofs:
    """Proofs are questions to a real database; unit tests do not ask them."""

    async def recompute(self) -> Proof:
        raise NotImplementedError


class FakeLedger:
    """Reservations by request id. `kill_before` and `kill_after` name calls at which our own process dies."""

    def __init__(self) -> None:
        self.reservations: dict[str, tuple[str, int]] = {}
        self.credit_fen: int | None = None
        self.unknown_purses: set[str] = set()
        self.balances: dict[str, int] = {}
        self.away = False
        self.kill_before: set[str] = set()
        self.kill_after: set[str] = set()
        self.calls: list[str] = []

    def total(self, state: str) -> int:
        return sum(amount for found, amount in self.reservations.values() if found == state)

    async def reserve(self, load: Load) -> str:
        self._enter("reserve")
        await asyncio.sleep(0)
        if load.id not in self.reservations:
            if load.purse in self.unknown_purses:
                raise PurseNotOpen(dependency="account")
            used = self.total("pending") + self.total("committed")
            if self.credit_fen is not None and used + load.order.amount_fen > self.credit_fen:
                raise OutletCreditExhausted(outlet=load.order.outlet)
            self.reservations[load.id] = ("pending", load.order.amount_fen)
        self._leave("reserve")
        return f"reservations/{load.id}"

    async def commit(self, reservation: str) -> None:
        await self._end("commit", reservation, "committed")

    async def void(self, reservation: str) -> None:
        await self._end("void", reservation, "voided")

    async def balance(self, card: Card) -> int | None:
        self._enter("balance")
        return self.balances.get(card.purse)

    async def _end(self, call: str, reservation: str, outcome: str) -> None:
        self._enter(call)
        # Another task gets its turn, as with any call over a line.
        await asyncio.sleep(0)
        load_id = reservation.removeprefix("reservations/")
        state, amount = self.reservations[load_id]
        if state not in ("pending", outcome):
            raise LedgerDisagrees(f"{reservation} is {state}")
        self.reservations[load_id] = (outcome, amount)
        self._leave(call)

    def _enter(self, call: str) -> None:
        if self.away:
            raise DependencyUnavailable(dependency="account")
        if call in self.kill_before:
            raise Killed
        self.calls.append(call)

    def _leave(self, call: str) -> None:
        if call in self.kill_after:
            raise Killed


def _digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()[:4]


class FakeKeys:
    """MACs by hash: only `FakeChip` makes the right ones."""

    async def check_mac1(self, card: Card, order: LoadOrder) -> None:
        if order.answer_a[6] != card.key_version:
            raise KeyUnknown(key_version=order.answer_a[6], algorithm_id="00")
        if order.answer_a[12:] != _digest("mac1", order.answer_a[:12]):
            raise Mac1Wrong(card=card.number)

    async def make_mac2(self, card: Card, order: LoadOrder, at: datetime) -> bytes:
        return _digest("mac2", order.answer_a[:12], order.amount_fen, at)

    async def check_tac(self, card: Card, load: Load, tac: bytes) -> None:
        if tac != _digest("tac", load.order.answer_a[4:6], load.new_balance_fen):
            raise TacWrong(load=load.id)


@dataclass
class FakeChip:
    """A card as the centre meets it: balance, online counter, and one open session."""

    balance_fen: int = 0
    online_counter: int = 7
    key_version: int = 1
    sessions: int = 0
    session: bytes = b""

    def initialise(self) -> bytes:
        """Answer A; ends the session before."""
        self.sessions += 1
        head = (
            self.balance_fen.to_bytes(4, "big")
            + self.online_counter.to_bytes(2, "big")
            + bytes((self.key_version, 0))
            + self.sessions.to_bytes(4, "big")
        )
        self.session = head
        return head + _digest("mac1", head)

    def credit(self, load: Load) -> bytes | None:
        """CREDIT FOR LOAD: the TAC, or None for 9302."""
        if load.mac2 != _digest("mac2", self.session, load.order.amount_fen, load.host_time):
            return None
        tac = _digest("tac", self.online_counter.to_bytes(2, "big"), self.balance_fen + load.order.amount_fen)
        self.balance_fen += load.order.amount_fen
        self.online_counter += 1
        self.session = b""
        return tac
