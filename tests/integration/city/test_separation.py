"""No service reaches what belongs to another: databases, subjects, streams."""

import asyncio
from collections.abc import Callable

import nats
import psycopg
import pytest
import redis
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from city.names import SERVICES
from city.postgres import DatabaseUrls
from city.servers import LocalServers

Database = Callable[[str], DatabaseUrls]


def in_database(url: str, database: str) -> str:
    return url.rpartition("/")[0] + "/" + database


@pytest.mark.parametrize("role", ["application", "owner"])
@pytest.mark.parametrize("other", [service for service in SERVICES if service != "card"])
def test_a_service_that_tries_another_s_database_is_refused(servers: LocalServers, role: str, other: str) -> None:
    target = servers.ensure_database(other).name
    own = getattr(servers.ensure_database("card"), role)
    with psycopg.connect(own) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("citycard_card",)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(in_database(own, target))


@pytest.mark.parametrize("common", ["postgres", "template1"])
def test_the_databases_that_postgresql_brings_are_closed_to_services(database: Database, common: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(in_database(database("card").application, common))


def test_a_wrong_password_is_refused(database: Database) -> None:
    url = database("card").application
    password = url.split(":")[2].partition("@")[0]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url.replace(password, "guess"))


def test_the_application_role_cannot_change_the_schema_and_the_owner_can(database: Database) -> None:
    urls = database("account")
    with psycopg.connect(urls.application) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE TABLE mine (number int)")
    with psycopg.connect(urls.owner) as connection:
        connection.execute("CREATE TABLE ours (number int)")


def test_the_application_role_may_stage_rows_in_a_temporary_table(database: Database) -> None:
    with psycopg.connect(database("clearing").application) as connection:
        connection.execute("CREATE TEMPORARY TABLE staged (number int)")


def test_a_fresh_database_is_empty_and_another_each_time(database: Database) -> None:
    first, second = database("card"), database("card")
    assert first.name != second.name
    with psycopg.connect(first.owner) as connection:
        connection.execute("CREATE TABLE here (number int)")
    with psycopg.connect(second.owner) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM here")


def test_dropping_and_creating_empties_a_database_that_is_in_use(servers: LocalServers) -> None:
    urls = servers.ensure_database("blacklist")
    with psycopg.connect(urls.owner, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS before (number int)")
        assert servers.drop_and_create("blacklist") == urls
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with psycopg.connect(urls.owner) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM before")


def test_durability_is_on(servers: LocalServers) -> None:
    with psycopg.connect(servers.postgres.superuser_url()) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)


async def test_a_service_publishes_its_own_events_and_no_other_s(servers: LocalServers) -> None:
    refusals: list[Exception] = []
    heard: list[str] = []

    async def note(error: Exception) -> None:
        refusals.append(error)

    async def hear(message: nats.aio.msg.Msg) -> None:
        heard.append(message.subject)

    listener = await nats.connect(servers.nats_url())
    card = await nats.connect(servers.nats_url("card"), error_cb=note)
    try:
        await listener.subscribe("citycard.>", cb=hear)
        await listener.flush()
        forbidden = ["citycard.account.v1.Posted", "citycard.dead_letter.account", "citycard.card.v2.CardLost", "other"]
        allowed = ["citycard.card.v1.CardLossReported", "citycard.dead_letter.card"]
        for subject in forbidden + allowed:
            await card.publish(subject, b"")
        await card.flush()
        await listener.flush()
        await asyncio.sleep(0.2)
    finally:
        await card.close()
        await listener.close()
    assert heard == allowed
    assert len(refusals) == len(forbidden)
    assert all("permissions violation" in str(error).lower() for error in refusals)


@pytest.mark.usefixtures("empty_bus")
async def test_a_service_cannot_purge_or_delete_another_s_stream(servers: LocalServers) -> None:
    administrator = await nats.connect(servers.nats_url())
    refusals: list[Exception] = []

    async def note(error: Exception) -> None:
        refusals.append(error)

    card = await nats.connect(servers.nats_url("card"), error_cb=note)
    try:
        await administrator.jetstream().add_stream(name="citycard_account", subjects=["citycard.account.v1.>"])
        await administrator.jetstream().publish("citycard.account.v1.Posted", b"kept")
        stream = card.jetstream(timeout=0.5)
        for attempt in (stream.purge_stream, stream.delete_stream):
            with pytest.raises((NatsError, APIError, TimeoutError)):
                await attempt("citycard_account")
        assert (await stream.stream_info("citycard_account")).state.messages == 1
        assert len(refusals) == 2
        # Its own it may.
        await stream.add_stream(name="citycard_card", subjects=["citycard.card.v1.>"])
        await stream.purge_stream("citycard_card")
        await stream.delete_stream("citycard_card")
    finally:
        await administrator.jetstream().delete_stream("citycard_account")
        await card.close()
        await administrator.close()


async def test_nats_lets_nobody_in_without_a_password(servers: LocalServers) -> None:
    with pytest.raises(NatsError):
        await nats.connect(f"nats://127.0.0.1:{servers.nats.port}", allow_reconnect=False, connect_timeout=2)


@pytest.mark.usefixtures("empty_bus")
async def test_acknowledged_events_survive_a_kill_of_nats(servers: LocalServers) -> None:
    back = asyncio.Event()

    async def reconnected() -> None:
        back.set()

    client = await nats.connect(servers.nats_url("terminal_gw"), reconnect_time_wait=0.1, reconnected_cb=reconnected)
    try:
        stream = client.jetstream()
        await stream.add_stream(name="citycard_terminal_gw", subjects=["citycard.terminal_gw.v1.>"])
        payload = bytes(900_000)
        await stream.publish("citycard.terminal_gw.v1.ChunkStored", payload)
        await asyncio.to_thread(servers.kill, "nats")
        await asyncio.to_thread(servers.restart, "nats")
        await asyncio.wait_for(back.wait(), timeout=20)
        message = await stream.get_msg("citycard_terminal_gw", seq=1)
        assert message.data == payload
        await stream.delete_stream("citycard_terminal_gw")
    finally:
        await client.close()


def test_redis_lets_nobody_in_without_a_password(servers: LocalServers) -> None:
    with redis.Redis(port=servers.redis.port) as stranger, pytest.raises(redis.exceptions.AuthenticationError):
        stranger.get("key")
