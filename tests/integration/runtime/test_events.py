"""Relay and consumer over a real bus: once per event, through crashes, restarts and lost streams."""

import asyncio
import datetime as dt
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.runtime.consumer import Consumer, Delivery, Undigestible
from libs.runtime.database import UnitOfWork
from libs.runtime.dead_letters import DeadLetters
from libs.runtime.events import EventMeta, connect_nats, ensure_streams, stream_name
from libs.runtime.outbox import republish
from libs.runtime.program import main
from libs.runtime.relay import Relay
from libs.testkit.clock import FakeClock
from libs.testkit.echo import EchoSettings, Said

if TYPE_CHECKING:
    from city.servers import LocalServers

Effects = Callable[[], Awaitable[list[str]]]
QUICK = Delivery(retry_s=0.05, retry_s_max=0.2, deliveries_max=3, idle_s=1.0, ack_wait_s=2.0)
SUBJECT = "citycard.echo.v1.Said"


async def say(engine: AsyncEngine, *texts: str) -> list[uuid.UUID]:
    async with UnitOfWork(engine, FakeClock()) as uow:
        ids = await uow.outbox.add([Said(text=one) for one in texts])
        await uow.commit()
    return ids


async def write_effect(event: Any, meta: EventMeta, uow: UnitOfWork) -> None:
    await uow.connection.execute(text("INSERT INTO effect (text) VALUES (:t)"), {"t": event.text})


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 (the event happens in the database)
            await asyncio.sleep(0.02)


async def until_effects(effects: Effects, *texts: str, seconds: float = 20) -> None:
    try:
        await until(lambda: _same(effects, texts), seconds)
    except TimeoutError:
        assert sorted(await effects()) == sorted(texts)


async def _same(effects: Effects, texts: tuple[str, ...]) -> bool:
    return sorted(await effects()) == sorted(texts)


async def rows(engine: AsyncEngine, query: str) -> list[Any]:
    async with engine.connect() as connection:
        return list(await connection.execute(text(query)))


@asynccontextmanager
async def running(*loops: Callable[[], Awaitable[None]]) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.ensure_future(loop()) for loop in loops]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in results), results


def a_consumer(
    bus: NatsClient, engine: AsyncEngine, handler: Any = write_effect, **delivery: Any
) -> Consumer[UnitOfWork]:
    from dataclasses import replace

    return Consumer(
        bus, lambda: UnitOfWork(engine), "card", "test", {Said: handler}, delivery=replace(QUICK, **delivery)
    )


def a_relay(admin: NatsClient, engine: AsyncEngine, **values: Any) -> Relay:
    return Relay(engine, admin, "echo", ack_timeout_s=1.0, **values)


async def test_what_is_committed_arrives_once_in_order_and_what_is_not_never(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects
) -> None:
    texts = [str(number) for number in range(300)]
    async with UnitOfWork(engine) as uow:
        await uow.outbox.add([Said(text="rolled back")])
    await say(engine, *texts[:150])
    async with running(a_relay(admin, engine).run, a_consumer(bus, engine).run):
        await say(engine, *texts[150:])
        await until_effects(effects, *texts)
        assert await effects() == texts
    assert (await rows(engine, "SELECT count(*) FROM outbox WHERE published_at IS NULL"))[0][0] == 0


async def test_an_event_says_who_what_and_when(engine: AsyncEngine, bus: NatsClient, admin: NatsClient) -> None:
    seen: list[EventMeta] = []

    async def look(event: Any, meta: EventMeta, uow: UnitOfWork) -> None:
        seen.append(meta)

    (event_id,) = await say(engine, "a")
    async with running(a_relay(admin, engine).run, a_consumer(bus, engine, look).run):
        await until(lambda: _true(bool(seen)))
    assert (seen[0].event_id, seen[0].type, seen[0].source) == (event_id, SUBJECT, "citycard://service/echo")
    assert (seen[0].occurred_at, seen[0].delivery_count) == (FakeClock().now(), 1)
    stored = await admin.jetstream().get_last_msg(stream_name("echo"), SUBJECT)
    assert stored.headers is not None
    assert stored.headers["Nats-Msg-Id"] == stored.headers["ce-id"] == str(event_id)


async def _true(value: bool) -> bool:
    return value


async def test_the_trace_goes_through_outbox_and_bus(engine: AsyncEngine, bus: NatsClient, admin: NatsClient) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    seen: list[int] = []

    async def look(event: Any, meta: EventMeta, uow: UnitOfWork) -> None:
        seen.append(int(meta.traceparent.split("-")[1], 16))

    with TracerProvider().get_tracer("test").start_as_current_span("cause") as span:
        await say(engine, "a")
        cause = span.get_span_context().trace_id
    assert trace.get_current_span().get_span_context().trace_id == 0
    async with running(a_relay(admin, engine).run, a_consumer(bus, engine, look).run):
        await until(lambda: _true(bool(seen)))
    assert seen == [cause]


async def test_one_lonely_event_arrives_soon(engine: AsyncEngine, bus: NatsClient, admin: NatsClient) -> None:
    """Not the throughput but the wake-up: no poll may stand between commit and effect."""
    arrived: dict[str, float] = {}

    async def look(event: Any, meta: EventMeta, uow: UnitOfWork) -> None:
        arrived[event.text] = time.monotonic()

    said: dict[str, float] = {}
    async with running(a_relay(admin, engine, poll_s=30).run, a_consumer(bus, engine, look, idle_s=5.0).run):
        await asyncio.sleep(1)
        for number in range(5):
            said[str(number)] = time.monotonic()
            await say(engine, str(number))
            await asyncio.sleep(0.3)
        await until(lambda: _true(len(arrived) == 5))
    assert max(arrived[key] - said[key] for key in said) < 0.5


async def test_a_crash_between_commit_and_confirmation_does_not_double_the_effect(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed = asyncio.Event()

    async def stuck(message: Msg) -> None:
        crashed.set()
        await asyncio.Event().wait()

    async def silent(message: Msg, delay: float | None = None) -> None:
        """A killed process says nothing any more."""

    await say(engine, "a")
    async with running(a_relay(admin, engine).run):
        with monkeypatch.context() as patch:
            for name, replacement in (("ack", stuck), ("nak", silent), ("in_progress", silent)):
                patch.setattr(Msg, name, replacement)
            async with running(a_consumer(bus, engine).run):
                await asyncio.wait_for(crashed.wait(), 10)
        assert await effects() == ["a"]
        assert (await admin.jetstream().consumer_info(stream_name("echo"), "card_test")).num_ack_pending == 1
        await say(engine, "b")
        async with running(a_consumer(bus, engine).run):
            await until_effects(effects, "a", "b")
            await until(lambda: _nothing_waits(admin))
    assert await effects() == ["a", "b"]


async def test_a_crash_of_the_relay_after_publishing_does_not_double_the_effect(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects
) -> None:
    await say(engine, "a", "b")
    relay = a_relay(admin, engine)
    await ensure_streams(admin.jetstream(), ["echo"])
    assert await relay.publish_round() == (2, 2)
    # As if the process had died before it could note the confirmation; and long after, when the bus has forgotten ids.
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE outbox SET published_at = NULL"))
    for row in await rows(engine, "SELECT event_id, payload FROM outbox"):
        headers = {"ce-id": str(row.event_id), "ce-time": FakeClock().now().isoformat()}
        await admin.jetstream().publish(SUBJECT, row.payload, headers=headers)
    async with running(relay.run, a_consumer(bus, engine).run):
        await until_effects(effects, "a", "b")
        await until(lambda: _nothing_waits(admin))
    assert await effects() == ["a", "b"]


async def _nothing_waits(admin: NatsClient) -> bool:
    info = await admin.jetstream().consumer_info(stream_name("echo"), "card_test")
    return (info.num_pending, info.num_ack_pending) == (0, 0)


async def test_two_relays_and_two_consumers_share_the_work(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects
) -> None:
    texts = [str(number) for number in range(1200)]
    await say(engine, *texts)
    consumers = [a_consumer(bus, engine), a_consumer(bus, engine, in_flight=2)]
    relays = [a_relay(admin, engine), a_relay(admin, engine)]
    async with running(*(one.run for one in (*relays, *consumers))):
        await until_effects(effects, *texts, seconds=40)
    assert len(await effects()) == 1200


async def test_the_bus_may_be_killed_and_come_back(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects, servers: "LocalServers"
) -> None:
    async with running(a_relay(admin, engine).run, a_consumer(bus, engine).run) as tasks:
        await say(engine, "before")
        await until_effects(effects, "before")
        await asyncio.to_thread(servers.kill, "nats")
        await say(engine, "during")
        await asyncio.sleep(2)
        assert await effects() == ["before"]
        await asyncio.to_thread(servers.start)
        await say(engine, "after")
        await until_effects(effects, "before", "during", "after", seconds=30)
        assert not any(task.done() for task in tasks)


async def test_a_service_comes_up_while_the_bus_is_down(
    engine: AsyncEngine, settings: EchoSettings, admin: NatsClient, effects: Effects, servers: "LocalServers"
) -> None:
    await ensure_streams(admin.jetstream(), ["echo"])
    await asyncio.to_thread(servers.kill, "nats")
    try:
        began = time.monotonic()
        client = await connect_nats(settings, wait_s=0.5)
        assert time.monotonic() - began < 2
        other = await connect_nats(settings, wait_s=0.1)
        await other.close()
        async with running(a_consumer(client, engine).run, a_relay(admin, engine).run) as tasks:
            await say(engine, "a")
            await asyncio.sleep(1)
            await asyncio.to_thread(servers.start)
            await until_effects(effects, "a", seconds=30)
            assert not any(task.done() for task in tasks)
        await client.close()
    finally:
        await asyncio.to_thread(servers.start)


async def test_the_database_may_be_restarted_and_buries_nothing(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects, servers: "LocalServers"
) -> None:
    async with running(a_relay(admin, engine).run, a_consumer(bus, engine).run) as tasks:
        await say(engine, "before")
        await until_effects(effects, "before")
        await asyncio.to_thread(servers.restart, "postgres")
        await say(engine, "after")
        await until_effects(effects, "before", "after", seconds=30)
        assert not any(task.done() for task in tasks)
    assert await rows(engine, "SELECT * FROM dead_letter") == []


async def test_a_lost_stream_is_made_anew_and_its_events_published_again(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects
) -> None:
    async with running(a_relay(admin, engine).run, a_consumer(bus, engine).run) as tasks:
        await say(engine, "before")
        await until_effects(effects, "before")
        await admin.jetstream().delete_stream(stream_name("echo"))
        await say(engine, "after")
        await until_effects(effects, "before", "after")
        assert await republish(engine, FakeClock().now() + dt.timedelta(days=1)) == 0
        assert await republish(engine, FakeClock().now() - dt.timedelta(days=1)) == 2
        await until(lambda: _published(engine))
        await until(lambda: _nothing_waits(admin))
        assert not any(task.done() for task in tasks)
    assert await effects() == ["before", "after"]


async def _published(engine: AsyncEngine) -> bool:
    return (await rows(engine, "SELECT count(*) FROM outbox WHERE published_at IS NULL"))[0][0] == 0


async def test_an_event_lost_with_its_stream_comes_back_by_republishing(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects
) -> None:
    await say(engine, "lost")
    async with running(a_relay(admin, engine).run):
        await until(lambda: _published(engine))
        await admin.jetstream().delete_stream(stream_name("echo"))
        async with running(a_consumer(bus, engine).run):
            await asyncio.sleep(0.5)
            assert await effects() == []
            await republish(engine, FakeClock().now())
            await until_effects(effects, "lost")


async def test_a_failing_handler_is_tried_again_and_then_succeeds(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects
) -> None:
    attempts: list[int] = []

    async def flaky(event: Any, meta: EventMeta, uow: UnitOfWork) -> None:
        attempts.append(meta.delivery_count)
        await write_effect(event, meta, uow)
        if len(attempts) < 3:
            raise RuntimeError("not yet")

    await say(engine, "a")
    async with running(a_relay(admin, engine).run, a_consumer(bus, engine, flaky).run):
        await until_effects(effects, "a")
    assert attempts == [1, 2, 3]


async def test_what_always_fails_is_buried_with_its_reason_and_others_go_on(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects
) -> None:
    attempts: list[str] = []

    async def handle(event: Any, meta: EventMeta, uow: UnitOfWork) -> None:
        attempts.append(event.text)
        if event.text == "bad":
            raise RuntimeError("cannot\nbe")
        if event.text == "never":
            raise Undigestible("无法处理")
        await write_effect(event, meta, uow)

    bad, never, _ = await say(engine, "bad", "never", "good")
    async with running(a_relay(admin, engine).run, a_consumer(bus, engine, handle).run):
        await until_effects(effects, "good")
        await until(lambda: _buried(engine, 2))
        await until(lambda: _nothing_waits(admin))
    assert (attempts.count("bad"), attempts.count("never")) == (3, 1)
    letters = {row.event_id: row for row in await rows(engine, "SELECT * FROM dead_letter")}
    assert letters[bad].reason == "RuntimeError: cannot"
    assert (letters[bad].delivery_count, letters[never].delivery_count) == (3, 1)
    assert letters[never].reason == "无法处理"
    assert Said.FromString(letters[never].payload).text == "never"
    told = await admin.jetstream().get_last_msg("citycard_dead_letter", "citycard.dead_letter.card")
    assert told.headers is not None
    assert told.headers["ce-id"] == str(bad)
    assert told.headers["citycard-reason"] == "RuntimeError: cannot"


async def test_buried_events_have_their_effect_once_when_they_are_tried_again(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects
) -> None:
    mended = False

    async def handle(event: Any, meta: EventMeta, uow: UnitOfWork) -> None:
        await write_effect(event, meta, uow)
        if not mended or event.text == "hopeless":
            raise Undigestible("not yet" if not mended else "never")

    first, hopeless, left = await say(engine, "first", "hopeless", "left")
    async with running(a_relay(admin, engine).run, a_consumer(bus, engine, handle, idle_s=0.2).run):
        await until(lambda: _buried(engine, 3))
        mended = True
        async with engine.begin() as connection:
            assert await DeadLetters(connection).ask([first, hopeless, uuid.uuid4()]) == 2
        await until_effects(effects, "first")
        await until(lambda: _buried(engine, 2))
        await until(lambda: _reason_is(engine, hopeless, "never"))
        # Asked again although it has had its effect by another way: the inbox knows.
        async with UnitOfWork(engine) as uow:
            assert await uow.inbox.claim("card_test", left)
            await DeadLetters(uow.connection).ask()
            await uow.commit()
        await until(lambda: _buried(engine, 1))
    assert await effects() == ["first"]
    (letter,) = await rows(engine, "SELECT * FROM dead_letter")
    assert (letter.event_id, letter.delivery_count, letter.replay_asked_at) == (hopeless, 3, None)


async def _reason_is(engine: AsyncEngine, event_id: uuid.UUID, reason: str) -> bool:
    found = await rows(engine, "SELECT event_id, reason, replay_asked_at FROM dead_letter")
    return any((row.event_id, row.reason, row.replay_asked_at) == (event_id, reason, None) for row in found)


def test_an_operator_lists_dead_letters_and_has_them_tried_again(
    settings: EchoSettings,
    shared_database: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The logging of a process of its own must not become that of all tests.
    monkeypatch.setattr("libs.runtime.program.configure_logging", lambda *values, **named: None)
    known, unreadable = uuid.uuid4(), uuid.uuid4()
    with psycopg.connect(shared_database.application.replace("+psycopg", "")) as connection:
        connection.execute("DELETE FROM dead_letter")
        for event_id, moment in ((known, "2018-09-01T00:00:00Z"), (unreadable, None)):
            connection.execute(
                "INSERT INTO dead_letter (consumer, event_id, subject, payload, reason, delivery_count, occurred_at) "
                "VALUES ('card_test', %s, 'citycard.echo.v1.Said', 'secret', '无法处理', 3, %s)",
                (event_id, moment),
            )

    def run(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
        status = main("echo", lambda: settings, _no_parts, arguments=["dead-letters", *arguments])
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    status, listed = run()
    assert (status, {line["event"] for line in listed}) == (0, {str(known), str(unreadable)})
    assert {line["reason"] for line in listed} == {"无法处理"}
    assert "secret" not in str(listed)
    status, listed = run("--replay", str(known))
    assert status == 0
    assert {line["event"]: line["replay_asked_at"] is not None for line in listed} == {
        str(known): True,
        str(unreadable): False,
    }
    # What has no readable headers cannot be handed to a handler, and the exit status says so.
    assert run("--replay", str(unreadable))[0] == 1


async def _no_parts(settings: EchoSettings) -> Any:
    raise AssertionError("listing needs no service")


async def _buried(engine: AsyncEngine, count: int) -> bool:
    return len(await rows(engine, "SELECT * FROM dead_letter")) == count


async def test_payloads_and_headers_that_nobody_understands_are_buried(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient
) -> None:
    await ensure_streams(admin.jetstream(), ["echo"])
    good = {"ce-id": str(uuid.uuid4()), "ce-time": "2018-09-01T00:00:00+00:00"}
    await admin.jetstream().publish(SUBJECT, b"\xff\xff\xff", headers=good)
    await admin.jetstream().publish(SUBJECT, Said(text="x").SerializeToString())
    await admin.jetstream().publish(SUBJECT, b"", headers={**good, "ce-id": "no uuid"})
    async with running(a_consumer(bus, engine).run):
        await until(lambda: _buried(engine, 3))
        await until(lambda: _nothing_waits(admin))
    reasons = sorted(row.reason for row in await rows(engine, "SELECT reason FROM dead_letter"))
    assert reasons[1:] == ["header ce-id is missing", f"the payload is no {SUBJECT}"]


async def test_a_long_handler_keeps_its_event_and_those_behind_it(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects
) -> None:
    deliveries: list[tuple[str, int]] = []

    async def slow(event: Any, meta: EventMeta, uow: UnitOfWork) -> None:
        deliveries.append((event.text, meta.delivery_count))
        if event.text == "slow":
            await asyncio.sleep(4)
        await write_effect(event, meta, uow)

    await say(engine, "slow", "behind")
    async with running(a_relay(admin, engine).run, a_consumer(bus, engine, slow).run):
        await until_effects(effects, "slow", "behind")
    assert deliveries == [("slow", 1), ("behind", 1)]


async def test_a_stopped_consumer_gives_back_what_it_held_at_once(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects
) -> None:
    begun = asyncio.Event()

    async def endless(event: Any, meta: EventMeta, uow: UnitOfWork) -> None:
        await write_effect(event, meta, uow)
        begun.set()
        await asyncio.sleep(60)

    await say(engine, "a", "b")
    async with running(a_relay(admin, engine).run):
        async with running(a_consumer(bus, engine, endless, ack_wait_s=60.0).run):
            await asyncio.wait_for(begun.wait(), 10)
        assert await effects() == []
        began = time.monotonic()
        async with running(a_consumer(bus, engine, ack_wait_s=60.0).run):
            await until_effects(effects, "a", "b", seconds=10)
        assert time.monotonic() - began < 5


async def test_a_large_event_passes(engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects) -> None:
    large = [letter * 900_000 for letter in "abcdefghijkl"]
    await say(engine, *large)
    async with running(a_relay(admin, engine).run, a_consumer(bus, engine).run):
        await until_effects(effects, *large, seconds=30)


async def test_two_consumers_of_one_service_both_have_their_effect(
    engine: AsyncEngine, bus: NatsClient, admin: NatsClient, effects: Effects
) -> None:
    await say(engine, "a")
    other = Consumer(bus, lambda: UnitOfWork(engine), "card", "other", {Said: write_effect}, delivery=QUICK)
    async with running(a_relay(admin, engine).run, a_consumer(bus, engine).run, other.run):
        await until_effects(effects, "a", "a")


async def test_published_events_are_pruned_after_their_time(engine: AsyncEngine, admin: NatsClient) -> None:
    await say(engine, "old", "young")
    async with running(a_relay(admin, engine).run):
        await until(lambda: _published(engine))
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE outbox SET published_at = now() - interval '8 days' WHERE id = (SELECT min(id) FROM outbox)")
        )
    async with running(a_relay(admin, engine).run):
        await until(lambda: _left(engine, 1))


async def _left(engine: AsyncEngine, count: int) -> bool:
    return len(await rows(engine, "SELECT id FROM outbox")) == count
