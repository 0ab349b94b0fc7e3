"""Statements past SQLAlchemy: where one posting or one batch counts, its row objects cost more than the query."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.runtime.database import driver_connection

Row = tuple[Any, ...]


class Driver:
    """The driver's connection under a transaction; it prepares what comes often by itself."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fetch(self, statement: str, values: Mapping[str, Any] | None = None) -> list[Row]:
        """All rows of a query, sent and received in binary form."""
        driver = await driver_connection(self._connection)
        async with driver.cursor(binary=True) as cursor:
            await cursor.execute(statement, values)
            return await cursor.fetchall()

    async def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> int:
        """How many rows a statement touched."""
        driver = await driver_connection(self._connection)
        async with driver.cursor() as cursor:
            await cursor.execute(statement, values)
            return cursor.rowcount

    async def copy(self, statement: str, rows: bytes) -> None:
        """Send rows for `COPY … FROM STDIN (FORMAT binary)`."""
        driver = await driver_connection(self._connection)
        async with driver.cursor() as cursor, cursor.copy(statement) as copy:
            await copy.write(rows)
