"""Products and stock levels in PostgreSQL."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, exists, func, insert, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.card.adapters.sql_tables import PRODUCT, STOCK_LEVEL
from services.card.application.ports import StockLevel
from services.card.domain.errors import ProductUnknown
from services.card.domain.product import Product, ProductKind

_LATER = PRODUCT.alias("later")
_NEWEST = ~exists().where(_LATER.c.name == PRODUCT.c.name, _LATER.c.version > PRODUCT.c.version)


def _product(row: Row[Any]) -> Product:
    return Product(**dict(row._mapping) | {"kind": ProductKind(row.kind)})  # noqa: SLF001 (SQLAlchemy's public name)


class SqlProducts:
    """`Products` over one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, product: Product) -> Product:
        """Store the next version of a name."""
        # There is no row to lock before the first version; the lock is of the name and ends with the transaction.
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
        await self._connection.execute(lock, {"name": f"product/{product.name}"})
        newest = select(func.coalesce(func.max(PRODUCT.c.version), 0)).where(PRODUCT.c.name == product.name)
        version = (await self._connection.execute(newest)).scalar_one() + 1
        numbered = product.numbered(version, product.create_time)
        await self._connection.execute(insert(PRODUCT).values(asdict(numbered)))
        return numbered

    async def get(self, name: str) -> Product:
        """The newest version of a name."""
        query = select(PRODUCT).where(PRODUCT.c.name == name).order_by(PRODUCT.c.version.desc()).limit(1)
        row = (await self._connection.execute(query)).first()
        if row is None:
            raise ProductUnknown(product=name)
        return _product(row)

    async def get_many(self, names: Sequence[str]) -> Mapping[str, Product]:
        """The newest version of each name; raises ProductUnknown."""
        query = select(PRODUCT).where(_NEWEST, PRODUCT.c.name.in_(names))
        found = {row.name: _product(row) for row in await self._connection.execute(query)}
        for name in names:
            if name not in found:
                raise ProductUnknown(product=name)
        return found

    async def page(self, after: str, limit: int) -> Sequence[Product]:
        """Newest versions by name."""
        query = select(PRODUCT).where(_NEWEST, PRODUCT.c.name > after).order_by(PRODUCT.c.name).limit(limit)
        return [_product(row) for row in await self._connection.execute(query)]


class SqlStock:
    """`Stock` over one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def change(self, outlet: str, product: str, *, stock: int, issued: int) -> StockLevel:
        """Add to the counts of an outlet and product."""
        level = STOCK_LEVEL.c
        # An upsert checks the row it would insert before it looks for a conflict: the change of an existing row must
        # not pass there as an insert of a negative count.
        statement = upsert(STOCK_LEVEL).values(
            outlet=outlet, product=product, stock_count=max(stock, 0), issued_count=max(issued, 0)
        )
        statement = statement.on_conflict_do_update(
            index_elements=[level.outlet, level.product],
            set_={"stock_count": level.stock_count + stock, "issued_count": level.issued_count + issued},
        )
        row = (await self._connection.execute(statement.returning(STOCK_LEVEL))).one()
        return StockLevel(row.outlet, row.product, row.stock_count, row.issued_count)

    async def page(self, outlet: str | None, after: tuple[str, str], limit: int) -> Sequence[StockLevel]:
        """Levels by outlet and product."""
        level = STOCK_LEVEL.c
        query = select(STOCK_LEVEL).where(tuple_(level.outlet, level.product) > after)
        if outlet is not None:
            query = query.where(level.outlet == outlet)
        rows = await self._connection.execute(query.order_by(level.outlet, level.product).limit(limit))
        return [StockLevel(row.outlet, row.product, row.stock_count, row.issued_count) for row in rows]
