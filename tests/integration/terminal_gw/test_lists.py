"""Lists on their way through a real gateway, from a real blacklist that comes and goes."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from citycard.blacklist.v1 import blacklist_pb2, list_pb2
from citycard.blacklist.v1 import blacklist_service_pb2 as blacklist_service_pb
from citycard.blacklist.v1 import list_service_pb2 as blacklist_list_pb
from citycard.blacklist.v1.blacklist_service_pb2_grpc import BlacklistServiceStub
from citycard.blacklist.v1.list_service_pb2_grpc import ListServiceStub
from citycard.terminal_gw.v1 import list_service_pb2 as service_pb
from citycard.terminal_gw.v1 import session_service_pb2 as session_pb
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as gateway_pb
from citycard.terminal_gw.v1.list_service_pb2_grpc import TerminalListServiceStub
from cryptography.hazmat.primitives.serialization import load_der_public_key

from libs.cardlist import CardList, EcdsaVerifier, apply_delta
from libs.records.batch import FileType, decode_batch
from libs.runtime.migrate import upgrade
from libs.runtime.refusals import error_info
from libs.testkit.server import RunningServer, TestCertificates, a_settings, running_server
from services.blacklist.settings import BlacklistSettings
from services.blacklist.wiring import build_parts
from tests.integration.terminal_gw.conftest import Gateway, Running, until
from tests.integration.terminal_gw.test_sessions import a_line, a_sign_in

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls
    from city.servers import LocalServers

TERMINAL = "citycard://terminal/metro/020100000000"
COLLECTOR = "citycard://collector/metro/depot-1"
NUMBER = "020100000000"


class Centre:
    """A blacklist that can be stopped and started at one address."""

    def __init__(self, settings: BlacklistSettings, certificates: TestCertificates) -> None:
        self.settings = settings
        self.certificates = certificates
        self.address = ""
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        settings = self.settings.model_copy(update={"listen_address": self.address or "127.0.0.1:0"})
        parts = await build_parts(settings)
        self.server = await self._stack.enter_async_context(running_server(parts, settings, self.certificates))
        self.address = self.server.address

    async def stop(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    def entries(self) -> Any:
        return BlacklistServiceStub(self.server.channel())

    def lists(self) -> Any:
        return ListServiceStub(self.server.channel())

    async def add(self, serial: int) -> int:
        request = blacklist_service_pb.AddEntryRequest(
            request_id=str(uuid.uuid4()),
            name=f"entries/jt-031{serial:017d}.1",
            reason=blacklist_pb2.LIST_REASON_COURT,
            mode=blacklist_pb2.LIST_MODE_REFUSE,
        )
        request.effective_time.FromDatetime(datetime.now(UTC) - timedelta(hours=1))
        version = int((await self.entries().AddEntry(request)).added_version)
        async with asyncio.timeout(15):
            published = 0
            while published < version:
                await asyncio.sleep(0.02)
                state = await self.lists().GetLists(blacklist_list_pb.GetListsRequest())
                published = state.lists[0].published_version
        return version

    async def delays(self) -> Any:
        return await self.lists().GetDelays(blacklist_list_pb.GetDelaysRequest())


@pytest.fixture
async def centre(
    servers: "LocalServers", database: "Callable[[str], DatabaseUrls]", tmp_path: Path, running: Running
) -> AsyncIterator[Centre]:
    # `running` first: it empties the streams.
    assert running is not None
    urls = database("blacklist")
    upgrade("blacklist", urls.owner)
    certificates = TestCertificates(tmp_path)
    settings = a_settings(
        certificates,
        BlacklistSettings,
        database_url=urls.application,
        nats_url=servers.nats_url(),
        publish_pause_s=0.02,
        publish_poll_s=0.2,
        drain_timeout_s=0.1,
    )
    made = Centre(settings, certificates)
    await made.start()
    yield made
    await made.stop()


def lists(gateway: Gateway, as_: str = TERMINAL) -> Any:
    return TerminalListServiceStub(gateway.server.channel(as_))


def impatient(gateway: Gateway) -> Gateway:
    """The same gateway, asked once: a client's own attempts say nothing about how long one of them takes."""
    server = RunningServer(gateway.server.address, gateway.server.certificates, gateway.server.chassis, [])
    return Gateway(server, gateway.settings, gateway.certificates, gateway.js)


async def fetch(gateway: Gateway, as_: str = TERMINAL, **asked: Any) -> list[Any]:
    request = service_pb.DownloadListRequest(list=list_pb2.LIST_KIND_BLACKLIST, **asked)
    return [part async for part in lists(gateway, as_).DownloadList(request)]


def joined(parts: list[Any]) -> bytes:
    return b"".join(part.data for part in parts)


async def verifier(gateway: Gateway) -> EcdsaVerifier:
    answer = await lists(gateway).GetTerminalLists(service_pb.GetTerminalListsRequest())
    return EcdsaVerifier([load_der_public_key(key) for key in answer.signer_keys])  # type: ignore[misc]  # all are P-256


async def in_force(gateway: Gateway, version: int, number: str = NUMBER, as_: str = TERMINAL) -> None:
    said = service_pb.ListInForce(terminal_number=number, list=list_pb2.LIST_KIND_BLACKLIST, version=version)
    await lists(gateway, as_).AcknowledgeLists(service_pb.AcknowledgeListsRequest(lists=[said]))


async def rows(gateway: Gateway, base_version: int = 0) -> bytes:
    request = gateway_pb.DownloadBlacklistRequest(base_version=base_version)
    return joined([part async for part in gateway.stub(TERMINAL).DownloadBlacklist(request)])


async def test_a_list_goes_down_and_the_word_that_it_is_in_force_up(running: Running, centre: Centre) -> None:
    async with running(service_addresses={"blacklist": centre.address}) as gateway:
        await gateway.register()
        assert await fetch(gateway) == []
        first = await centre.add(1)
        held = CardList.open(joined(await fetch(gateway)), trusted := await verifier(gateway))
        await in_force(gateway, first)
        second = await centre.add(2)
        async with asyncio.timeout(10):
            parts: list[Any] = []
            while not parts:
                await asyncio.sleep(0.05)
                parts = await fetch(gateway, base_version=first)
        held = (
            apply_delta(held, joined(parts), trusted)
            if parts[0].base_version
            else CardList.open(joined(parts), trusted)
        )
        assert held.point.version == second
        await in_force(gateway, second)
        # Said again it changes nothing.
        await in_force(gateway, second)
        hops = {one.hop: one for one in (await centre.delays()).hops}
        assert hops[list_pb2.HOP_TOTAL].count == 1
        assert hops[list_pb2.HOP_OFFERED].count == hops[list_pb2.HOP_ACKNOWLEDGED].count == 1
        assert hops[list_pb2.HOP_TOTAL].max_s < 12
        assert list_pb2.HOP_FETCHED in hops


async def test_while_the_blacklist_is_away_what_is_held_is_served_and_the_rest_refused_within_a_second(
    running: Running, centre: Centre
) -> None:
    async with running(service_addresses={"blacklist": centre.address}) as gateway:
        await gateway.register()
        await centre.add(1)
        version = await centre.add(2)
        await asyncio.sleep(0.3)
        whole, file = await rows(gateway), joined(await fetch(gateway))
        assert len(decode_batch(whole, FileType.BL).records) == 2
        await centre.stop()
        for _ in range(3):
            began = time.monotonic()
            assert await rows(gateway) == whole
            assert joined(await fetch(gateway)) == file
            assert joined(await fetch(gateway, version=version, offset=10)) == file[10:]
            # An older caller gets the whole list where no delta is held.
            assert await rows(gateway, 1) == whole
            assert joined(await fetch(gateway, base_version=1)) in (file, joined(await fetch(gateway, base_version=1)))
            assert time.monotonic() - began < 2.5
        once = impatient(gateway)
        for call in (
            lambda: rows(once, version),
            lambda: in_force(once, version),
            lambda: fetch(once, entry_count_max=1),
        ):
            began = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call()
            assert time.monotonic() - began < 1
            detail = error_info(refused.value)
            assert (detail.reason, detail.facts) == ("DEPENDENCY_UNAVAILABLE", {"dependency": "blacklist"})
        await centre.start()
        newest = await centre.add(3)
        async with asyncio.timeout(20):
            got = 0
            while got != newest:
                await asyncio.sleep(0.1)
                parts = await fetch(gateway)
                got = parts[0].version if parts else 0
        assert len(decode_batch(await rows(gateway), FileType.BL).records) == 3
        await in_force(gateway, newest)


async def test_a_black_hole_in_the_place_of_the_blacklist_is_noticed_within_a_second(running: Running) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    hole = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = hole.sockets[0].getsockname()[1]
    async with hole, running(service_addresses={"blacklist": f"127.0.0.1:{port}"}) as gateway:
        once = impatient(gateway)
        for call in (rows, fetch, rows, fetch):
            began = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(once)
            assert time.monotonic() - began < 1
            assert error_info(refused.value).reason == "DEPENDENCY_UNAVAILABLE"


async def test_a_word_for_another_terminal_is_refused(running: Running, centre: Centre) -> None:
    async with running(service_addresses={"blacklist": centre.address}) as gateway:
        await gateway.register()
        await centre.add(1)
        for as_, number, reason in (
            ("citycard://terminal/metro/020100000009", NUMBER, "NOT_YOURS"),
            ("citycard://collector/bus/depot-1", NUMBER, "NOT_YOURS"),
            (COLLECTOR, "029999999999", "TERMINAL_UNKNOWN"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await in_force(gateway, 1, number, as_)
            assert error_info(refused.value).reason == reason
        await in_force(gateway, 1, as_=COLLECTOR)
        assert (await centre.delays()).terminal_count == 1


async def test_a_version_never_published_is_refused_by_its_own_name(running: Running, centre: Centre) -> None:
    async with running(service_addresses={"blacklist": centre.address}) as gateway:
        await centre.add(1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await fetch(gateway, version=99)
        detail = error_info(refused.value)
        assert (detail.reason, detail.facts["version"]) == ("ARTEFACT_UNKNOWN", "99")
        assert detail.message_zh


async def test_what_terminals_say_at_sign_in_and_in_heartbeats_feeds_the_times_of_the_way(
    running: Running, centre: Centre
) -> None:
    async with running(service_addresses={"blacklist": centre.address}) as gateway:
        await gateway.register(count=3)
        first = await centre.add(1)

        async def sign_in(number: int, version: int, as_: str = TERMINAL) -> None:
            await gateway.stub(as_).SignIn(a_sign_in(number, blacklist_version=version))

        # Whoever is refused has said nothing; a terminal without a list has none to speak of.
        with pytest.raises(grpc.aio.AioRpcError):
            await sign_in(1, first, TERMINAL)
        await sign_in(0, first)
        await sign_in(1, first, COLLECTOR)
        await sign_in(2, 0, COLLECTOR)
        await until(lambda: _terminals(centre, 2))
        second = await centre.add(2)
        async with a_line(gateway) as line:
            await line.hello(blacklist_version=first)
            for _ in range(3):
                await line.say(heartbeat=session_pb.Heartbeat(blacklist_version=second))
                await line.hear("pulse")
            await until(lambda: _arrived(centre, 1))
        await sign_in(1, second, COLLECTOR)
        await until(lambda: _arrived(centre, 2))
        # Said again, and a version that never was, it changes nothing.
        await sign_in(1, second, COLLECTOR)
        await sign_in(0, 2**62)
        await asyncio.sleep(0.5)
        assert await _arrived(centre, 2)
        assert (await centre.delays()).terminal_count == 2


async def test_words_of_sign_ins_wait_for_a_blacklist_that_is_away(running: Running, centre: Centre) -> None:
    async with running(service_addresses={"blacklist": centre.address}) as gateway:
        await gateway.register()
        version = await centre.add(1)
        await centre.stop()
        await gateway.stub(TERMINAL).SignIn(a_sign_in(blacklist_version=version))
        await asyncio.sleep(0.5)
        await centre.start()
        await until(lambda: _terminals(centre, 1), 30)


async def _terminals(centre: Centre, count: int) -> bool:
    return bool((await centre.delays()).terminal_count == count)


async def _arrived(centre: Centre, count: int) -> bool:
    hops = {one.hop: one.count for one in (await centre.delays()).hops}
    return hops.get(list_pb2.HOP_TOTAL, 0) == count
