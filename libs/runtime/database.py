"""The database of a service: one engine, and one unit of work per use case."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from sqlalchemy import URL, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from libs.clock import Clock, SystemClock
from libs.runtime.inbox import Inbox
from libs.runtime.outbox import Outbox
from libs.runtime.requests import RequestClaims
from libs.runtime.settings import ServiceSettings

_DRIVER = "postgresql+psycopg"


def _url(address: str, password_file: Path | None) -> URL:
    url = make_url(address.replace("postgres://", "postgresql://", 1)).set(drivername=_DRIVER)
    if password_file is not None:
        url = url.set(password=password_file.read_text(encoding="utf-8").strip())
    return url


def database_url(settings: ServiceSettings) -> URL:
    """The address of the application role, with the password from its file when there is one."""
    return _url(settings.database_url, settings.database_password_file)


def migration_url(settings: ServiceSettings) -> URL:
    """The address of the owner role; the application's own when no other is set (tests)."""
    if settings.migration_database_url is None:
        return database_url(settings)
    return _url(settings.migration_database_url, settings.migration_database_password_file)


def create_engine(settings: ServiceSettings) -> AsyncEngine:
    """The engine of a process: bounded pool, bounded statements, bounded waits for locks."""
    milliseconds = {
        "statement_timeout": settings.database_statement_timeout_s,
        "lock_timeout": settings.database_lock_timeout_s,
    }
    return create_async_engine(
        database_url(settings),
        pool_size=settings.database_pool_size_max,
        max_overflow=0,
        # Parameters are card numbers and names: they have no place in the text of an error.
        hide_parameters=True,
        pool_timeout=10,
        # A restart of the server leaves dead connections in the pool; the ping replaces them before a caller notices.
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "application_name": f"citycard-{settings.service}",
            "connect_timeout": 5,
            "options": " ".join(f"-c {name}={int(seconds * 1000)}" for name, seconds in milliseconds.items()),
        },
    )


async def check_database(engine: AsyncEngine) -> None:
    """Raise when the database does not answer; for `ServiceParts.ready`."""
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))


async def driver_connection(connection: AsyncConnection) -> psycopg.AsyncConnection[Any]:
    """The psycopg connection under a transaction, for COPY; it is the same transaction."""
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert isinstance(driver, psycopg.AsyncConnection), "the engine is built for psycopg"
    return driver


class UnitOfWork:
    """One connection and one transaction, with what every use case needs of them.

    Leaving the block without `commit` rolls everything back: claim, rows and events. A service derives its own and
    sets its repositories in `_open`.

    Attributes:
        connection: The open transaction.
        requests: Request claims.
        outbox: Events that leave if the transaction commits.
        inbox: Events that came, handled once.
    """

    connection: AsyncConnection
    requests: RequestClaims
    outbox: Outbox
    inbox: Inbox

    def __init__(self, engine: AsyncEngine, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock or SystemClock()

    async def __aenter__(self) -> Self:
        self.connection = await self._engine.connect()
        try:
            # Begun here, not at the first statement: a transaction that speaks through the driver only would be
            # unknown to SQLAlchemy, and its commit would do nothing.
            await self.connection.begin()
            self.requests = RequestClaims(self.connection)
            self.outbox = Outbox(self.connection, self._clock)
            self.inbox = Inbox(self.connection)
            await self._open()
        except BaseException:
            await self.connection.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing rolls back what is not committed.
        await self.connection.close()

    async def _open(self) -> None:
        """For services: build the repositories on `self.connection`."""

    async def commit(self) -> None:
        """Make everything of this block true at once."""
        await self.connection.commit()
