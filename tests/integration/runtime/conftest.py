"""A database with the runtime's tables and a table of effects, used by both sides of the tests here."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nats
import nats.js.errors
import pytest
from nats.aio.client import Client as NatsClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.runtime.database import create_engine
from libs.runtime.events import DEAD_LETTER_STREAM, connect_nats, stream_name
from libs.runtime.migrate import upgrade
from libs.testkit.echo import EchoSettings
from libs.testkit.server import TestCertificates, a_settings

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls
    from city.servers import LocalServers

ENV = "from libs.runtime.migrate import run_env\n\nrun_env()\n"
FIRST = """
import sqlalchemy as sa
from alembic import op
from libs.runtime.migrate import create_runtime_tables, drop_runtime_tables, revoke

revision, down_revision = "0001", None

def upgrade():
    create_runtime_tables(op)
    op.create_table(
        "effect",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
    )
    revoke(op, "UPDATE, DELETE", "effect", "card")

def downgrade():
    op.drop_table("effect")
    drop_runtime_tables(op)
"""


def write_migrations(folder: Path) -> Path:
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENV)
    (folder / "versions" / "0001_first.py").write_text(FIRST)
    return folder


@pytest.fixture(scope="session")
def migrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_migrations(tmp_path_factory.mktemp("migrations") / "m")


@pytest.fixture(scope="session")
def shared_database(database: "Callable[[str], DatabaseUrls]", migrations: Path) -> "DatabaseUrls":
    urls = database("card")
    assert upgrade("card", urls.owner, script=migrations) == "base→0001"
    return urls


@pytest.fixture
def settings(shared_database: "DatabaseUrls", servers: "LocalServers", tmp_path: Path) -> EchoSettings:
    """The application role of the card service, and its user of the bus."""
    return a_settings(
        TestCertificates(tmp_path / "certificates"),
        EchoSettings,
        database_url=shared_database.application,
        nats_url=servers.nats_url("card"),
    )


@pytest.fixture
async def engine(settings: EchoSettings, shared_database: "DatabaseUrls") -> AsyncIterator[AsyncEngine]:
    owner = create_engine(settings.model_copy(update={"database_url": shared_database.owner}))
    async with owner.begin() as connection:
        await connection.execute(text("TRUNCATE request_claim, outbox, inbox, dead_letter, effect"))
    await owner.dispose()
    made = create_engine(settings)
    yield made
    await made.dispose()


@pytest.fixture
async def admin(servers: "LocalServers") -> AsyncIterator[NatsClient]:
    """The bus with every right, and without what earlier tests left in it."""
    client = await nats.connect(servers.nats_url(), max_reconnect_attempts=-1, reconnect_time_wait=1)
    for name in (stream_name("echo"), stream_name("card"), DEAD_LETTER_STREAM):
        try:
            await client.jetstream().delete_stream(name)
        except nats.js.errors.NotFoundError:
            continue
    yield client
    await client.close()


@pytest.fixture
async def bus(settings: EchoSettings, admin: NatsClient) -> AsyncIterator[NatsClient]:
    """The bus as a service sees it."""
    client = await connect_nats(settings)
    yield client
    await client.close()


@pytest.fixture
def effects(engine: AsyncEngine) -> Callable[[], Any]:
    """The texts that were written, in order."""

    async def read() -> list[str]:
        async with engine.connect() as connection:
            return list((await connection.execute(text("SELECT text FROM effect ORDER BY id"))).scalars())

    return read
