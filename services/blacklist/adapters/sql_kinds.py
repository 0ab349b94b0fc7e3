"""Ranges, staff cards and issuers in PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    delete,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from services.blacklist.domain.rows import KindHead, ListKind, Row, RowChange

_METADATA: Final = MetaData()
_MOMENT: Final = DateTime(timezone=True)


def _row_columns() -> tuple[Column[Any], ...]:
    return (
        Column("list", SmallInteger, primary_key=True),
        Column("key", LargeBinary),
        Column("mode", SmallInteger),
        Column("reason", SmallInteger),
        Column("effective_time", _MOMENT),
        Column("until_time", _MOMENT),
    )


HEAD: Final = Table(
    "kind_head",
    _METADATA,
    Column("list", SmallInteger, primary_key=True),
    Column("version", BigInteger),
    Column("row_count", BigInteger),
    Column("chain_hash", LargeBinary),
    Column("create_time", _MOMENT),
)
VERSION: Final = Table(
    "kind_version",
    _METADATA,
    Column("list", SmallInteger, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("row_count", BigInteger),
    Column("change_count", Integer),
    Column("create_time", _MOMENT),
    Column("chain_hash", LargeBinary),
)
CHANGE: Final = Table(
    "kind_change",
    _METADATA,
    *_row_columns(),
    Column("version", BigInteger, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("put", Boolean),
)
ROW: Final = Table("kind_row", _METADATA, *_row_columns(), Column("put_version", BigInteger))


class SqlKinds:
    """The port `Kinds` on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def heads(self) -> Sequence[KindHead]:
        """The newest versions."""
        return [_head(row) for row in await self._connection.execute(select(HEAD).order_by(HEAD.c.list))]

    async def head_for_update(self, kind: ListKind) -> KindHead:
        """The newest version, its row locked."""
        statement = select(HEAD).where(HEAD.c.list == int(kind)).with_for_update()
        return _head((await self._connection.execute(statement)).one())

    async def rows(self, kind: ListKind) -> Sequence[Row]:
        """All rows."""
        statement = select(ROW).where(ROW.c.list == int(kind)).order_by(ROW.c.key)
        return [_row(row) for row in await self._connection.execute(statement)]

    async def page(self, kind: ListKind, after: bytes, size: int) -> Sequence[Row]:
        """A page of rows."""
        statement = select(ROW).where(ROW.c.list == int(kind), ROW.c.key > after).order_by(ROW.c.key).limit(size)
        return [_row(row) for row in await self._connection.execute(statement)]

    async def some(self, kind: ListKind, keys: Sequence[bytes]) -> Sequence[Row]:
        """Rows of some keys."""
        statement = text("SELECT * FROM kind_row WHERE list = :list AND key = ANY(CAST(:keys AS bytea[]))")
        found = await self._connection.execute(statement, {"list": int(kind), "keys": list(keys)})
        return [_row(row) for row in found]

    async def expired(self, at: datetime, size: int) -> Sequence[tuple[ListKind, bytes]]:
        """Rows whose end has come."""
        statement = select(ROW.c.list, ROW.c.key).where(ROW.c.until_time <= at).order_by(ROW.c.until_time).limit(size)
        return [(ListKind(row.list), bytes(row.key)) for row in await self._connection.execute(statement)]

    async def history(self, kind: ListKind, key: bytes) -> Sequence[RowChange]:
        """The changes of a row."""
        changes = await self._changes("c.list = :list AND c.key = :key", {"list": int(kind), "key": key})
        return [change for _, change in changes]

    async def histories_of_ranges(self, number: bytes) -> Sequence[Sequence[RowChange]]:
        """The changes of all ranges over a number."""
        where = "c.list = :list AND substr(c.key, 1, 10) <= :number AND substr(c.key, 11, 10) >= :number"
        changes = await self._changes(where, {"list": int(ListKind.RANGES), "number": number})
        return [[change for _, change in group] for _, group in groupby(changes, key=lambda pair: pair[0])]

    async def _changes(self, where: str, values: dict[str, Any]) -> Sequence[tuple[bytes, RowChange]]:
        # `where` is one of the two texts above, never a caller's.
        statement = f"""
            SELECT c.*, v.create_time FROM kind_change c JOIN kind_version v USING (list, version)
            WHERE {where} ORDER BY c.key, c.version, c.place"""
        rows = await self._connection.execute(text(statement), values)
        return [(bytes(row.key), RowChange(_row(row), row.put, row.create_time)) for row in rows]

    async def versions(self) -> AsyncIterator[tuple[KindHead, Sequence[RowChange]]]:
        """The whole history, a version at a time."""
        heads = (await self._connection.execute(select(VERSION).order_by(VERSION.c.list, VERSION.c.version))).all()
        for head in heads:
            statement = select(CHANGE).where(CHANGE.c.list == head.list, CHANGE.c.version == head.version)
            rows = await self._connection.execute(statement.order_by(CHANGE.c.place))
            yield _head(head), [RowChange(_row(row), row.put, head.create_time) for row in rows]

    async def append(self, head: KindHead, changes: Sequence[RowChange]) -> None:
        """Write the version, its changes, the rows after them, and move the head."""
        of = {"list": int(head.kind), "version": head.version}
        made = {"row_count": head.row_count, "chain_hash": head.chain_hash, "create_time": head.create_time}
        await self._connection.execute(insert(VERSION).values(**of, **made, change_count=len(changes)))
        rows = [_values(change.row) | of | {"place": place, "put": change.put} for place, change in enumerate(changes)]
        await self._connection.execute(insert(CHANGE), rows)
        keys = [change.row.key for change in changes]
        gone = delete(ROW).where(ROW.c.list == int(head.kind), ROW.c.key.in_(keys))
        await self._connection.execute(gone)
        put = [_values(change.row) | {"list": int(head.kind), "put_version": head.version}
               for change in changes if change.put]  # fmt: skip
        if put:
            await self._connection.execute(insert(ROW), put)
        moved = await self._connection.execute(
            update(HEAD)
            .where(HEAD.c.list == int(head.kind), HEAD.c.version == head.version - 1)
            .values(version=head.version, **made)
        )
        assert moved.rowcount == 1, "the head is locked by whoever appends"


def _head(row: Any) -> KindHead:
    return KindHead(ListKind(row.list), row.version, row.row_count, bytes(row.chain_hash), row.create_time)


def _row(row: Any) -> Row:
    put_version = getattr(row, "put_version", 0)
    return Row(bytes(row.key), row.mode, row.reason, row.effective_time, row.until_time, put_version)


def _values(row: Row) -> dict[str, Any]:
    return {
        "key": row.key,
        "mode": row.mode,
        "reason": row.reason,
        "effective_time": row.effective_time,
        "until_time": row.until_time,
    }
