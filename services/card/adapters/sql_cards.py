"""Cards, their moves and their holders in PostgreSQL."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, insert, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.card.adapters.holder_cipher import HolderCipher
from services.card.adapters.sql_tables import CARD, CARD_MOVE, HOLDER
from services.card.application.ports import CardFilter, Delivery
from services.card.domain.batch import IssueGroup, StockRow
from services.card.domain.card import Card
from services.card.domain.errors import CardExists, CardUnknown
from services.card.domain.holder import Holder
from services.card.domain.states import CardState, Verb

_RECEIVE = text(
    """
    WITH received AS (
        INSERT INTO card (number, state, product, issuer_id, key_version, algorithm_id, outlet, create_time, state_time)
        SELECT number, :state, :product, :issuer_id, :key_version, :algorithm_id, :outlet, :at, :at
        FROM unnest(CAST(:numbers AS text[])) AS given (number) ORDER BY number COLLATE "C"
        ON CONFLICT DO NOTHING
        RETURNING number, generation
    ), moved AS (
        INSERT INTO card_move (number, generation, state_from, state_to, verb, move_time)
        SELECT number, generation, 'BLANK', :state, :verb, :at FROM received
    )
    SELECT count(*) FROM received
    """
)
_LOCK_STOCK = text(
    """
    SELECT number, generation, state, outlet, product, issuer_id, key_version, algorithm_id
    FROM card WHERE number = ANY (CAST(:numbers AS text[])) ORDER BY number FOR UPDATE
    """
)
_ISSUE = text(
    """
    WITH issued AS (
        UPDATE card SET
            state = :state, state_time = :at, issue_time = :at, start_date = :start, expiry_date = :expiry,
            product_version = :version, deposit_fen = :deposit_fen, price_fen = :price_fen,
            opening_fen = given.opening_fen
        FROM unnest(CAST(:numbers AS text[]), CAST(:openings AS bigint[])) AS given (number, opening_fen)
        WHERE card.number = given.number
        RETURNING card.number, card.generation
    )
    INSERT INTO card_move (number, generation, state_from, state_to, verb, move_time)
    SELECT number, generation, 'STOCK', :state, :verb, :at FROM issued
    """
)
_FIRST_KNOWN = text(
    """
    SELECT number FROM unnest(CAST(:numbers AS text[])) WITH ORDINALITY AS given (number, place)
    WHERE EXISTS (SELECT FROM card WHERE card.number = given.number)
    ORDER BY place LIMIT 1
    """
)


def _card(row: Row[Any]) -> Card:
    return Card(**dict(row._mapping) | {"state": CardState(row.state)})  # noqa: SLF001 (SQLAlchemy's public name)


class SqlCards:
    """`Cards` over one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, number: str) -> Card:
        """One card; raises CardUnknown."""
        return await self._one(number, lock=False)

    async def get_for_update(self, number: str) -> Card:
        """One card, locked; raises CardUnknown."""
        return await self._one(number, lock=True)

    async def _one(self, number: str, *, lock: bool) -> Card:
        query = select(CARD).where(CARD.c.number == number)
        row = (await self._connection.execute(query.with_for_update() if lock else query)).first()
        if row is None:
            raise CardUnknown(card=number)
        return _card(row)

    async def save(self, card: Card, verb: Verb) -> None:
        """Store a card that has moved, and the move. The state before is read from the row, which is locked."""
        before = select(
            CARD.c.number,
            CARD.c.generation,
            CARD.c.state,
            literal(card.state.value),
            literal(verb.value),
            literal(card.state_time),
        ).where(CARD.c.number == card.number)
        columns = ["number", "generation", "state_from", "state_to", "verb", "move_time"]
        await self._connection.execute(insert(CARD_MOVE).from_select(columns, before))
        values = asdict(card)
        await self._connection.execute(update(CARD).where(CARD.c.number == values.pop("number")).values(values))

    async def page(self, wanted: CardFilter, after: str, limit: int) -> Sequence[Card]:
        """Cards by number."""
        query = select(CARD).where(CARD.c.number > after)
        for column, value in ((CARD.c.state, wanted.state), (CARD.c.product, wanted.product)):
            query = query if value is None else query.where(column == str(value))
        if wanted.outlet is not None:
            query = query.where(CARD.c.outlet == wanted.outlet)
        rows = await self._connection.execute(query.order_by(CARD.c.number).limit(limit))
        return [_card(row) for row in rows]

    async def receive(self, numbers: Sequence[str], delivery: Delivery, at: datetime) -> None:
        """Put new cards to stock; raises CardExists for the first that is known."""
        parameters = asdict(delivery) | {
            "numbers": list(numbers),
            "state": CardState.STOCK.value,
            "verb": Verb.PERSONALISE.value,
            "at": at,
        }
        # Before the insert, to name the first of the list; and by the count after it, for what came in meanwhile.
        known = await self._first_known(numbers)
        if known is None:
            received = (await self._connection.execute(_RECEIVE, parameters)).scalar_one()
            if received == len(numbers):
                return
            known = await self._first_known(numbers)
        raise CardExists(card=known)

    async def _first_known(self, numbers: Sequence[str]) -> str | None:
        return (await self._connection.execute(_FIRST_KNOWN, {"numbers": list(numbers)})).scalar_one_or_none()

    async def stock_for_update(self, numbers: Sequence[str]) -> Mapping[str, StockRow]:
        """Known cards among these, locked in the order of their numbers."""
        rows = await self._connection.execute(_LOCK_STOCK, {"numbers": list(numbers)})
        return {
            number: StockRow(generation, CardState(state), outlet, product, issuer_id, key_version, algorithm_id)
            for number, generation, state, outlet, product, issuer_id, key_version, algorithm_id in rows
        }

    async def issue(self, group: IssueGroup, *, at: datetime, start: date) -> None:
        """Issue the locked cards of a group."""
        product = group.product
        parameters = {
            "numbers": list(group.numbers),
            "openings": list(group.openings_fen),
            "state": CardState.ACTIVE.value,
            "verb": Verb.ISSUE.value,
            "at": at,
            "start": start,
            "expiry": product.expiry(start),
            "version": product.version,
            "deposit_fen": product.deposit_fen,
            "price_fen": product.price_fen,
        }
        moved = (await self._connection.execute(_ISSUE, parameters)).rowcount
        assert moved == len(group.numbers), "the cards were locked in stock a moment ago"


class SqlHolders:
    """`Holders` over one transaction."""

    def __init__(self, connection: AsyncConnection, cipher: HolderCipher) -> None:
        self._connection = connection
        self._cipher = cipher

    async def put(self, card: Card, holder: Holder) -> None:
        """Register the holder of this life of the card."""
        statement = upsert(HOLDER).values(
            number=card.number, generation=card.generation, sealed=self._cipher.seal(holder, card.purse)
        )
        await self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=[HOLDER.c.number, HOLDER.c.generation], set_={"sealed": statement.excluded.sealed}
            )
        )

    async def get(self, card: Card) -> Holder | None:
        """The holder of this life of the card."""
        query = select(HOLDER.c.sealed).where(HOLDER.c.number == card.number, HOLDER.c.generation == card.generation)
        sealed = (await self._connection.execute(query)).scalar_one_or_none()
        return None if sealed is None else self._cipher.open(bytes(sealed), card.purse)
