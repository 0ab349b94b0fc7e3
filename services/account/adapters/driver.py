"""Statements past SQLAlchemy: where one posting or one batch counts, its row objects cost more than the query."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.runtime.database import driver_connection

Row = tuple[Any, ...]
# A statement with its values.
Step: TypeAlias = tuple[str, Mapping[str, Any]]


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

    async def together(self, *steps: Step, commit: bool = False) -> list[list[Row]]:
        """Send statements, and the commit if wanted, in one trip; the rows of each, none where it gives none.

        PostgreSQL skips everything behind the first that fails, the commit too, and that one's error is raised.
        """
        driver = await driver_connection(self._connection)
        cursors = [driver.cursor(binary=True) for _ in steps]
        async with driver.pipeline():
            for cursor, (statement, values) in zip(cursors, steps, strict=True):
                await cursor.execute(statement, values)
            if commit:
                await driver.commit()
        return [await cursor.fetchall() if cursor.description else [] for cursor in cursors]

    async def copy(self, statement: str, rows: bytes) -> None:
        """Send rows for `COPY … FROM STDIN (FORMAT binary)`."""
        driver = await driver_connection(self._connection)
        async with driver.cursor() as cursor, cursor.copy(statement) as copy:
            await copy.write(rows)
