"""Schema changes: Alembic with one shared environment, run by the owner role.

A service's `migrations/` holds `versions/` and an `env.py` of two lines: import `run_env` from here and call it.
"""

import importlib.util
import re
import threading
from pathlib import Path
from typing import Any, Protocol

from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Connection, NullPool, create_engine, make_url, text
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from libs.runtime.logging import get_logger
from libs.runtime.tables import TABLES

log = get_logger("citycard.migrate")


class Executes(Protocol):
    """What of `alembic.op` is used here; the module itself fits."""

    def execute(self, sqltext: Any, /) -> None:
        """Run one statement."""

    def get_bind(self) -> Connection:
        """The connection of the migration."""


_ROLE = re.compile(r"[a-z_][a-z0-9_]*")
# Two migration jobs at once would both find the old revision: the second waits here. The number is arbitrary.
_LOCK = 0x0C17_CA2D
# Alembic keeps its context in module globals: two threads would take it from each other.
_one_at_a_time = threading.Lock()


def application_role(service: str) -> str:
    """The database role of a service's processes; the owner role runs migrations, never serves."""
    return f"citycard_{service}"


def create_runtime_tables(op: Executes) -> None:
    """Create request_claim, outbox, inbox and dead_letter with their indexes, in a service's first migration."""
    for table in TABLES.all:
        op.execute(CreateTable(table))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            op.execute(CreateIndex(index))


def drop_runtime_tables(op: Executes) -> None:
    """The reverse of `create_runtime_tables`."""
    for table in reversed(TABLES.all):
        op.execute(DropTable(table))


def grant_runtime(op: Executes, role: str) -> None:
    """Grant a role what the runtime needs of its tables.

    `upgrade` grants the service's own role everything on all new tables already; this is for another role, or for one
    that a migration has narrowed.
    """
    _check_role(role)
    for table in TABLES.all:
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table.name} TO {role}")


def revoke(op: Executes, privileges: str, table: str, service: str) -> None:
    """Take privileges on a table from a service's own role: a table that only grows loses `UPDATE, DELETE`.

    Harmless where the role does not exist, in a test database with one role for everything.
    """
    role = application_role(service)
    for word in (role, table):
        _check_role(word)
    query = text("SELECT current_user <> :role AND EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
    if op.get_bind().execute(query, {"role": role}).scalar_one():
        op.execute(f"REVOKE {privileges} ON {table} FROM {role}")


def upgrade(service: str, url: str | URL, *, script: Path | None = None, revision: str = "head") -> str:
    """Bring a service's database to a revision.

    Args:
        service: `card`, ...; its migrations are in `services/<service>/migrations`.
        url: Address of the owner role.
        script: Another migrations folder, for tests.
        revision: Where to stop.

    Returns:
        `from→to`; `base` stands for an empty database.

    Raises:
        FileNotFoundError: The service has no migrations folder.
    """
    folder = script or _migrations_of(service)
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["url"] = make_url(url).set(drivername="postgresql+psycopg")
    config.attributes["role"] = application_role(service)
    with _one_at_a_time:
        command.upgrade(config, revision)
    return f"{config.attributes['before']}→{config.attributes['after']}"


def run_env() -> None:
    """The body of every service's `migrations/env.py`: connect, wait for the lock, grant, migrate, all or nothing."""
    attributes = context.config.attributes
    engine = create_engine(attributes["url"], poolclass=NullPool)
    try:
        with engine.connect() as connection, connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            # Before the migrations: tables they create are granted at birth, and what they revoke stays revoked.
            _grant_to_come(connection, attributes["role"])
            attributes["before"] = _revision(connection)
            context.configure(connection=connection, transactional_ddl=True)
            context.run_migrations()
            attributes["after"] = _revision(connection)
    finally:
        engine.dispose()


def _revision(connection: Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or "base"


def _grant_to_come(connection: Connection, role: str) -> None:
    """Let the application role use every table and sequence that the owner role creates from now on."""
    _check_role(role)
    query = text("SELECT current_user AS owner, EXISTS (SELECT FROM pg_roles WHERE rolname = :role) AS known")
    found = connection.execute(query, {"role": role}).one()
    if not found.known or found.owner == role:
        # A test database with one role for everything needs no grant; in production the launcher makes the roles.
        log.warning("migrate.no_application_role", role=role)
        return
    granting = "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT"
    connection.execute(text(f"{granting} SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}"))
    connection.execute(text(f"{granting} USAGE, SELECT ON SEQUENCES TO {role}"))
    connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {role}"))


def _check_role(role: str) -> None:
    # A role name cannot be a bound parameter of GRANT.
    if not _ROLE.fullmatch(role):
        raise ValueError("a role name has small letters, digits and underscores only")


def _migrations_of(service: str) -> Path:
    found = importlib.util.find_spec(f"services.{service}")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(f"there is no service {service}")
    folder = Path(found.submodule_search_locations[0]) / "migrations"
    if not (folder / "env.py").is_file():
        raise FileNotFoundError(f"{service} has no migrations/env.py")
    return folder
