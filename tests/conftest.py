"""Fixtures for all tests. Nothing is started unless a test asks for it: a unit test pays for nothing here."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import city  # noqa: F401 (before anything loads gRPC: it says how processes are started)

if TYPE_CHECKING:
    from city.certificates import Certificates
    from city.postgres import DatabaseUrls
    from city.servers import LocalServers

# Servers under this folder are used again by the next run and keep running; `citycard down --root` stops them.
TEST_ROOT_VARIABLE = "CITYCARD_TEST_ROOT"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[LocalServers]":
    """Real PostgreSQL, NATS and Redis for the whole session."""
    from city.servers import LocalServers

    kept = os.environ.get(TEST_ROOT_VARIABLE)
    local = LocalServers(Path(kept) if kept else tmp_path_factory.mktemp("servers"))
    try:
        local.start()
        yield local
    finally:
        if not kept:
            local.destroy()


@pytest.fixture(scope="session")
def database(servers: "LocalServers") -> "Iterator[Callable[[str], DatabaseUrls]]":
    """Makes an empty database of a service at each call, `database("card").application`; gone after the session."""
    made: list[DatabaseUrls] = []

    def fresh(service: str) -> "DatabaseUrls":
        made.append(servers.fresh_database(service))
        return made[-1]

    yield fresh
    for urls in made:
        servers.drop_database(urls)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> "Certificates":
    """A certificate authority of the session, `certificates.issue("participant", "metro")`."""
    from city.certificates import Certificates

    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def empty_bus(servers: "LocalServers") -> None:
    """No stream is left of an earlier test: the servers are shared by the whole session."""
    import nats

    client = await nats.connect(servers.nats_url())
    try:
        streams = client.jetstream()
        for stream in await streams.streams_info():
            await streams.delete_stream(stream.config.name or "")
    finally:
        await client.close()
