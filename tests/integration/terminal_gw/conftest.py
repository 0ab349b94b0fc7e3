"""A gateway with its real database and event bus."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service_pb
from citycard.terminal_gw.v1.collection_service_pb2_grpc import CollectionServiceStub
from citycard.terminal_gw.v1.parameters_service_pb2_grpc import ParameterServiceStub
from citycard.terminal_gw.v1.session_service_pb2_grpc import SessionServiceStub
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from libs.runtime.events import connect_nats, ensure_streams
from libs.runtime.migrate import upgrade
from libs.testkit.server import RunningServer, TestCertificates, a_settings, running_server
from services.terminal_gw.settings import TerminalGatewaySettings
from services.terminal_gw.wiring import build_parts
from tests.unit.terminal_gw.files import chunks_of, sha256

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls
    from city.servers import LocalServers

METRO_COLLECTOR = "citycard://collector/metro/depot-1"
BUS_COLLECTOR = "citycard://collector/bus/depot-1"
ADMINISTRATOR = "citycard://administrator/test"


@dataclass
class Gateway:
    """A running gateway and how to speak to it."""

    server: RunningServer
    settings: TerminalGatewaySettings
    certificates: TestCertificates
    js: Any

    def stub(self, as_: str = ADMINISTRATOR) -> Any:
        return TerminalGatewayServiceStub(self.server.channel(as_))

    def sessions(self, as_: str = ADMINISTRATOR) -> Any:
        return SessionServiceStub(self.server.channel(as_))

    def parameters(self, as_: str = ADMINISTRATOR) -> Any:
        return ParameterServiceStub(self.server.channel(as_))

    def collection(self, as_: str = ADMINISTRATOR) -> Any:
        return CollectionServiceStub(self.server.channel(as_))

    def sign(self, digest: bytes, as_: str) -> bytes:
        key = serialization.load_pem_private_key(self.certificates.of(as_).key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key.sign(digest, ec.ECDSA(hashes.SHA256()))

    def start(self, data: bytes, as_: str, **changed: Any) -> service_pb.UploadBatchRequest:
        digest = changed.pop("sha256", sha256(data))
        values: dict[str, Any] = {
            "sha256": digest,
            "size_bytes": len(data),
            "file_name": "a.ykt",
            "carrier": 2,
            "signature": self.sign(digest, as_),
        }
        return service_pb.UploadBatchRequest(start=service_pb.UploadStart(**(values | changed)))

    async def send(
        self,
        data: bytes,
        as_: str = METRO_COLLECTOR,
        *,
        offset: int = 0,
        upto: int | None = None,
        chunk_bytes: int = 64 * 1024,
        **changed: Any,
    ) -> Any:
        """Send a file, or a piece of it, and return the receipt."""
        messages = [self.start(data, as_, **changed)]
        messages += a_chunk_each(chunks_of(data[:upto], chunk_bytes, offset))
        return await self.stub(as_).UploadBatch(iter(messages))

    async def register(
        self, count: int = 1, participant: str = "metro", as_: str = ADMINISTRATOR, **changed: Any
    ) -> Any:
        request = service_pb.BatchRegisterTerminalsRequest(
            request_id=changed.pop("request_id", str(uuid.uuid4())),
            participant=f"participants/{participant}",
            terminals=[a_spec(number, **changed) for number in range(count)],
        )
        return await self.stub(as_).BatchRegisterTerminals(request)


def a_spec(number: int, **changed: Any) -> service_pb.TerminalSpec:
    values: dict[str, Any] = {
        "terminal_number": f"0201{number:08d}",
        "psam_number": f"{number:020d}",
        "operator_number": 7,
        "device_number": number,
        "industry_code": "0001",
    }
    return service_pb.TerminalSpec(**(values | changed))


def a_chunk_each(chunks: Iterable[tuple[int, bytes, int]]) -> list[service_pb.UploadBatchRequest]:
    return [
        service_pb.UploadBatchRequest(chunk=service_pb.UploadChunk(offset=offset, data=data, crc32c=crc))
        for offset, data, crc in chunks
    ]


@pytest.fixture
def gateway_database(database: "Callable[[str], DatabaseUrls]") -> "DatabaseUrls":
    """An empty, migrated database of this test alone."""
    urls = database("terminal_gw")
    upgrade("terminal_gw", urls.owner)
    return urls


Running = Callable[..., AbstractAsyncContextManager[Gateway]]


@pytest.fixture
async def running(servers: "LocalServers", gateway_database: "DatabaseUrls", tmp_path: Path) -> AsyncIterator[Running]:
    """Runs a gateway on this test's database, again and again if the test wants."""
    certificates = TestCertificates(tmp_path)

    def settings_of(**changed: Any) -> TerminalGatewaySettings:
        values: dict[str, Any] = {
            "database_url": gateway_database.application,
            "nats_url": servers.nats_url(),
            # Nobody there, unless a test says otherwise.
            "service_addresses": {"blacklist": "127.0.0.1:1"},
        }
        return a_settings(certificates, TerminalGatewaySettings, **(values | changed))

    nats = await connect_nats(settings_of())
    js = nats.jetstream()
    await ensure_streams(js)
    for stream in ("citycard_blacklist", "citycard_terminal_gw"):
        await js.purge_stream(stream)
        for known in await js.consumers_info(stream):
            await js.delete_consumer(stream, known.name)

    @asynccontextmanager
    async def run(**changed: Any) -> AsyncIterator[Gateway]:
        settings = settings_of(**changed)
        async with running_server(await build_parts(settings), settings, certificates) as server:
            yield Gateway(server, settings, certificates, js)

    yield run
    await nats.close()


@pytest.fixture
async def gateway(running: Running) -> AsyncIterator[Gateway]:
    """A gateway with the usual settings."""
    async with running() as one:
        yield one


async def until(what: Callable[[], Any], within_s: float = 10.0) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(within_s):
        while not await what():  # noqa: ASYNC110 (the other side is a server, it sets no event of ours)
            await asyncio.sleep(0.05)
