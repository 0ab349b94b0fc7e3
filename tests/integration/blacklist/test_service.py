"""The whole service: real server, database, event bus and Redis."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from citycard.blacklist.v1 import blacklist_pb2 as pb
from citycard.blacklist.v1 import blacklist_service_pb2 as service_pb
from citycard.blacklist.v1 import events_pb2, list_service_pb2
from citycard.blacklist.v1.blacklist_service_pb2_grpc import BlacklistServiceStub
from citycard.blacklist.v1.list_service_pb2_grpc import ListServiceStub
from citycard.card.v1 import events_pb2 as card_events_pb
from citycard.clearing.v1 import events_pb2 as clearing_events_pb
from redis.asyncio import Redis

from libs.records.batch import FileType, decode_batch
from libs.runtime.events import connect_nats, ensure_streams, event_headers
from libs.runtime.refusals import error_info
from libs.testkit.server import RunningServer, TestCertificates, a_settings, running_server
from services.blacklist.settings import BlacklistSettings
from services.blacklist.wiring import build_parts

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls
    from city.servers import LocalServers

NOW = datetime.now(UTC).replace(microsecond=0)


def number_of(serial: int) -> str:
    return f"031{serial:017d}"


@dataclass
class Service:
    server: RunningServer
    settings: BlacklistSettings
    js: Any

    def stub(self, as_: str = "citycard://administrator/test") -> Any:
        return BlacklistServiceStub(self.server.channel(as_))

    def lists(self) -> Any:
        return ListServiceStub(self.server.channel("citycard://administrator/test"))

    async def tell(self, event: Any, event_id: uuid.UUID | None = None, at: datetime = NOW) -> None:
        """An event as the card service sends it."""
        subject = event.DESCRIPTOR.full_name
        headers = event_headers(event_id or uuid.uuid4(), subject, "card", at, "")
        # Without the bus's own duplicate window: what is tested is the inbox.
        del headers["Nats-Msg-Id"]
        await self.js.publish(subject, event.SerializeToString(), headers=headers)

    async def version(self) -> int:
        return int((await self.stub().GetVersion(service_pb.GetVersionRequest())).version)

    async def check(self, serial: int, at: datetime | None = None) -> Any:
        request = service_pb.CheckCardRequest(card=f"cards/jt-{number_of(serial)}", generation=1)
        if at is not None:
            request.time.FromDatetime(at)
        return await self.stub("citycard://terminal/metro/020100000123").CheckCard(request)

    async def add(self, serial: int, request_id: str | None = None) -> Any:
        request = service_pb.AddEntryRequest(
            request_id=request_id or str(uuid.uuid4()),
            name=f"entries/jt-{number_of(serial)}.1",
            reason=pb.LIST_REASON_COUNTERFEIT,
            mode=pb.LIST_MODE_REFUSE,
        )
        request.effective_time.FromDatetime(NOW - timedelta(hours=1))
        return await self.stub().AddEntry(request)


def a_report(serial: int, at: datetime = NOW) -> Any:
    event = card_events_pb.CardLossReported(card_number=bytes.fromhex(number_of(serial)), generation=1, scheme="jt")
    event.report_time.FromDatetime(at)
    return event


def a_cancellation(serial: int, at: datetime = NOW) -> Any:
    event = card_events_pb.CardLossCancelled(card_number=bytes.fromhex(number_of(serial)), generation=1, scheme="jt")
    event.cancel_time.FromDatetime(at)
    return event


async def until(what: Callable[[], Any], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not await what():  # noqa: ASYNC110 (the other side is a server, it sets no event of ours)
            await asyncio.sleep(0.05)


@pytest.fixture
async def service(servers: "LocalServers", list_database: "DatabaseUrls", tmp_path: Path) -> AsyncIterator[Service]:
    certificates = TestCertificates(tmp_path)
    settings = a_settings(
        certificates,
        BlacklistSettings,
        database_url=list_database.application,
        nats_url=servers.nats_url(),
        redis_url=servers.redis_url(),
        redis_poll_s=0.1,
    )
    nats = await connect_nats(settings)
    js = nats.jetstream()
    await ensure_streams(js)
    # Another test's events must not be ours; the consumer starts behind them.
    for stream in ("citycard_card", "citycard_blacklist", "citycard_clearing"):
        await js.purge_stream(stream)
        for known in await js.consumers_info(stream):
            await js.delete_consumer(stream, known.name)
    async with running_server(await build_parts(settings), settings, certificates) as server:
        yield Service(server, settings, js)
    await nats.close()


async def test_a_participant_may_not_change_the_list(service: Service) -> None:
    request = service_pb.RemoveEntryRequest(request_id=str(uuid.uuid4()), name=f"entries/jt-{number_of(1)}.1")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.stub("citycard://participant/metro").RemoveEntry(request)
    assert error_info(refused.value).reason == "ROLE_NOT_ALLOWED"


async def test_refusals_name_what_is_unknown(service: Service) -> None:
    request = service_pb.RemoveEntryRequest(request_id=str(uuid.uuid4()), name=f"entries/jt-{number_of(1)}.1")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.stub().RemoveEntry(request)
    assert error_info(refused.value).reason == "ENTRY_UNKNOWN"
    assert number_of(1) in error_info(refused.value).message_zh
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in service.stub().GetDelta(service_pb.GetDeltaRequest(base_version=5)):
            pass
    assert error_info(refused.value).reason == "VERSION_UNKNOWN"
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_losses_in_any_order_and_doubled_become_the_list(service: Service) -> None:
    later = NOW + timedelta(minutes=1)
    doubled = uuid.uuid4()
    await service.tell(a_cancellation(1, later))
    await service.tell(a_report(1, NOW))
    await service.tell(a_report(2, NOW), doubled)
    await service.tell(a_report(2, NOW), doubled)
    await service.tell(a_report(3, NOW))
    await service.tell(a_cancellation(3, later))
    await service.tell(a_report(4, NOW))
    await until(lambda: _has_version(service, 4))
    listed = await service.stub().ListEntries(service_pb.ListEntriesRequest())
    assert [entry.name for entry in listed.entries] == [f"entries/jt-{number_of(serial)}.1" for serial in (2, 4)]
    first = listed.entries[0]
    assert (first.reason, first.mode) == (pb.LIST_REASON_LOST, pb.LIST_MODE_LOCK)
    assert first.effective_time.ToDatetime(tzinfo=UTC) == NOW + timedelta(days=1)
    removed = await service.stub().ListEntries(service_pb.ListEntriesRequest(show_removed=True))
    assert len(removed.entries) == 3
    assert (await service.check(2)).listed is False
    assert (await service.check(2, NOW + timedelta(days=1))).listed is True
    proof = await service.stub().Prove(service_pb.ProveRequest())
    assert not any(line.broken_count for line in proof.lines)
    assert proof.lost_count == 2


async def _has_version(service: Service, version: int) -> bool:
    return await service.version() >= version


async def test_an_event_that_names_no_card_is_buried_and_the_next_one_handled(service: Service) -> None:
    await service.tell(card_events_pb.CardLossReported(card_number=b"\xff" * 10, generation=1, scheme="jt"))
    await service.tell(a_report(1))
    await until(lambda: _has_version(service, 1))


async def test_cards_that_clearing_saw_are_counted_once_and_damaged_columns_not_at_all(service: Service) -> None:
    def hits(*rows: tuple[int, int, int], terminals: int | None = None) -> Any:
        """Serial, generation, outcome."""
        return clearing_events_pb.ListedCardsMet(
            hit_set_id=str(uuid.uuid4()),
            card_numbers=b"".join(bytes.fromhex(number_of(serial)) for serial, _, _ in rows),
            generations=[generation for _, generation, _ in rows],
            outcomes=bytes(outcome for _, _, outcome in rows),
            times_s=[int(NOW.timestamp()) + place for place in range(len(rows))],
            terminal_numbers=bytes.fromhex("020100000123") * (len(rows) if terminals is None else terminals),
        )

    doubled = uuid.uuid4()
    for event, event_id in (
        (hits((1, 1, 1), (1, 1, 2), (2, 0, 3)), doubled),
        (hits((1, 1, 1), terminals=2), None),
        (hits((1, 1, 9)), None),
        (hits((1, 1, 1), (1, 1, 2), (2, 0, 3)), doubled),
        (hits(), None),
        (hits((3, 1, 2)), None),
    ):
        await service.tell(event, event_id)

    async def counted() -> list[tuple[str, int, int, int]]:
        found = (await service.lists().ListHits(list_service_pb2.ListHitsRequest())).hits
        return [(one.name[-3:], one.locked_count, one.refused_count, one.passed_count) for one in found]

    async def all_there() -> bool:
        return len(await counted()) == 3

    await until(all_there)
    assert await counted() == [("1.1", 1, 1, 0), ("2.0", 0, 0, 1), ("3.1", 0, 1, 0)]


async def test_every_change_goes_out_as_an_event_with_its_version(service: Service) -> None:
    heard = await service.js.subscribe("citycard.blacklist.v1.BlacklistChanged")
    await service.add(1)
    await service.stub().RemoveEntry(
        service_pb.RemoveEntryRequest(request_id=str(uuid.uuid4()), name=f"entries/jt-{number_of(1)}.1")
    )
    events = [events_pb2.BlacklistChanged.FromString((await heard.next_msg(timeout=10)).data) for _ in range(2)]
    assert [(event.version, event.added) for event in events] == [(1, True), (2, False)]
    assert events[0].card_number == bytes.fromhex(number_of(1))
    assert (events[0].scheme, events[0].generation, events[0].reason) == ("jt", 1, pb.LIST_REASON_COUNTERFEIT)


async def test_a_repeated_request_gets_its_first_answer(service: Service) -> None:
    request_id = str(uuid.uuid4())
    first = await service.add(1, request_id)
    assert await service.add(1, request_id) == first
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.add(2, request_id)
    assert error_info(refused.value).reason == "REQUEST_ID_REUSED"
    assert await service.version() == 1


async def test_snapshot_and_delta_are_files_that_a_terminal_can_read(service: Service) -> None:
    async def read(call: Any) -> bytes:
        return b"".join([part.data async for part in call])

    assert await read(service.stub().GetSnapshot(service_pb.GetSnapshotRequest())) == b""
    for serial in range(1, 4):
        await service.add(serial)
    stub = service.stub("citycard://collector/metro/depot-1")
    whole = await read(stub.GetSnapshot(service_pb.GetSnapshotRequest()))
    assert len(decode_batch(whole, FileType.BL).records) == 3
    part = decode_batch(await read(stub.GetDelta(service_pb.GetDeltaRequest(base_version=2))), FileType.BI)
    assert part.records["card_number"].tolist() == [list(bytes.fromhex(number_of(3)))]
    assert await read(stub.GetDelta(service_pb.GetDeltaRequest(base_version=3))) == b""
    assert await read(stub.GetDelta(service_pb.GetDeltaRequest(base_version=0))) == whole


async def test_pages_follow_one_another(service: Service) -> None:
    for serial in range(5):
        await service.add(serial)
    names, token = [], ""
    while True:
        page = await service.stub().ListEntries(service_pb.ListEntriesRequest(page_size=2, page_token=token))
        names += [entry.name for entry in page.entries]
        token = page.next_page_token
        if not token:
            break
    assert names == [f"entries/jt-{number_of(serial)}.1" for serial in range(5)]
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.stub().ListEntries(service_pb.ListEntriesRequest(page_token="AAAA"))
    assert error_info(refused.value).reason == "PAGE_TOKEN_INVALID"


class TestRedis:
    """Wiped, down, stale or poisoned: no answer changes."""

    async def answers(self, service: Service) -> list[tuple[bool, int]]:
        found = [await service.check(serial) for serial in range(6)]
        return [(one.listed, one.entry.added_version) for one in found]

    async def copied(self, redis: Redis, service: Service) -> bytes:
        """The key of this list's copy, once it holds the newest version."""
        version = await service.stub().GetVersion(service_pb.GetVersionRequest())
        stamp = f"{version.version}:{version.chain_hash.hex()}".encode()
        found: list[bytes] = []

        async def there() -> bool:
            for key in await redis.keys("citycard:blacklist:*"):
                if await redis.hget(key, "stamp") == stamp:
                    found.append(key)
            return bool(found)

        await until(there)
        return found[0]

    async def test_the_copy_follows_every_change(self, service: Service) -> None:
        async with Redis.from_url(service.settings.redis_url) as redis:
            for serial in (1, 2, 3):
                await service.add(serial)
            key = await self.copied(redis, service)
            assert await redis.hlen(key) == 4
            before = await self.answers(service)
            await service.stub().RemoveEntry(
                service_pb.RemoveEntryRequest(request_id=str(uuid.uuid4()), name=f"entries/jt-{number_of(2)}.1")
            )
            assert (await service.check(2)).listed is False
            assert await self.copied(redis, service) == key
            assert await redis.hlen(key) == 3
            assert before[2][0] is True

    async def test_a_wiped_redis_changes_no_answer_and_fills_again(self, service: Service) -> None:
        async with Redis.from_url(service.settings.redis_url) as redis:
            for serial in (1, 2, 3):
                await service.add(serial)
            key = await self.copied(redis, service)
            before = await self.answers(service)
            await redis.delete(key)
            assert await self.answers(service) == before
            assert await self.copied(redis, service) == key
            assert await self.answers(service) == before

    async def test_an_old_copy_that_comes_back_is_not_believed(self, service: Service) -> None:
        async with Redis.from_url(service.settings.redis_url) as redis:
            await service.add(1)
            key = await self.copied(redis, service)
            old = await redis.dump(key)
            await service.add(2)
            await self.copied(redis, service)
            before = await self.answers(service)
            await redis.restore(key, 0, old, replace=True)
            assert await self.answers(service) == before
            await self.copied(redis, service)
            await redis.delete(key)
            await redis.hset(key, mapping={"stamp": f"2:{'0' * 64}"})
            assert await self.answers(service) == before

    async def test_redis_down_changes_no_answer(self, service: Service, servers: "LocalServers") -> None:
        async with Redis.from_url(service.settings.redis_url) as redis:
            await service.add(1)
            await self.copied(redis, service)
            before = await self.answers(service)
            servers.kill("redis")
            try:
                assert await self.answers(service) == before
                await service.add(2)
                assert (await service.check(2)).listed is True
            finally:
                servers.restart("redis")
        async with Redis.from_url(service.settings.redis_url) as redis:
            await self.copied(redis, service)
            assert (await service.check(2)).listed is True
