"""The gateway with its terminals connected: a sign-in storm, memory, news of the blacklist, uploads into storage."""

import asyncio
import hashlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
import psutil
import psycopg
from citycard.blacklist.v1 import events_pb2 as blacklist_events_pb
from citycard.terminal_gw.v1 import session_service_pb2 as session_pb
from citycard.terminal_gw.v1 import terminal_gw_pb2 as gw
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service_pb
from citycard.terminal_gw.v1.session_service_pb2_grpc import SessionServiceStub
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.result import Context, Result
from city.servers import LocalServers
from libs.records.batch import FileType, encode_batch
from libs.records.crc32c import crc32c
from libs.records.numbers import institution_bytes, terminal_bytes
from libs.records.otr import new_records, seal
from libs.runtime.client import TlsFiles, open_channel
from libs.runtime.events import connect_nats, event_headers
from libs.runtime.migrate import upgrade
from libs.runtime.pki import CertificateAuthority
from libs.testkit.server import NO_DATABASE
from services.terminal_gw.settings import TerminalGatewaySettings

# A quick look takes fewer; the goals speak of two thousand.
_TERMINALS: Final = int(os.environ.get("CITYCARD_BENCH_TERMINALS", "2000"))
_FILES: Final = 50
_RECORDS: Final = 20_000
_STREAMS: Final = 4
_CHUNK_BYTES: Final = 512 * 1024
_PART_BYTES: Final = 1024 * 1024
_MIB: Final = 2**20
_CHANGED: Final = "citycard.blacklist.v1.BlacklistChanged"
_ATTEMPTS_MAX: Final = 20
_START_S: Final = 60.0


def run(context: Context) -> list[Result]:
    """Figures of one gateway process; client, database and bus share the machine with it."""
    servers = LocalServers(context.root)
    servers.destroy()
    try:
        with servers:
            return asyncio.run(_measure(context, servers))
    finally:
        LocalServers(context.root).destroy()


async def _measure(context: Context, servers: LocalServers) -> list[Result]:
    urls = servers.fresh_database("terminal_gw")
    upgrade("terminal_gw", urls.owner)
    folder = context.root / "bench-certificates"
    authority = CertificateAuthority.load_or_create(folder)
    tls = authority.issue_files("citycard://service/terminal_gw", folder)
    with _gateway(context, servers, urls.application, tls) as (pid, address):
        admin = open_channel(address, authority.issue_files("citycard://administrator/bench", folder))
        await _register(admin)
        context.say(f"{_TERMINALS} terminals registered; load of the machine {os.getloadavg()[0]:.1f}")
        results = await _connected(context, servers, authority, folder, address, pid)
        results += await _uploads(context, urls.owner, authority, folder, address)
        results.append(Result("gateway.peak", _peak_mib(pid), "MiB"))
        await admin.close()
    return results


@contextmanager
def _gateway(context: Context, servers: LocalServers, database_url: str, tls: TlsFiles) -> Iterator[tuple[int, str]]:
    address_file = context.root / "gateway.address"
    environment = {
        **os.environ,
        "CITYCARD_DEPLOYMENT": "test",
        "CITYCARD_DATABASE_URL": database_url,
        "CITYCARD_NATS_URL": servers.nats_url(),
        "CITYCARD_TLS_CA_FILE": str(tls.ca),
        "CITYCARD_TLS_CERT_FILE": str(tls.cert),
        "CITYCARD_TLS_KEY_FILE": str(tls.key),
        "CITYCARD_ADDRESS_FILE": str(address_file),
        "CITYCARD_SERVICE_ADDRESSES": '{"blacklist": "127.0.0.1:1"}',
        "CITYCARD_DRAIN_TIMEOUT_S": "1",
        "CITYCARD_LOG_LEVEL": "warning",
    }
    log = (context.root / "gateway.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "services.terminal_gw", "serve"], env=environment, stdout=log, stderr=log
    )
    try:
        deadline = time.monotonic() + _START_S
        while not address_file.exists():
            assert process.poll() is None, "the gateway fell while starting; see gateway.log"
            assert time.monotonic() < deadline, "the gateway did not start in time"
            time.sleep(0.1)
        yield process.pid, address_file.read_text(encoding="utf-8").strip()
    finally:
        process.terminate()
        process.wait(30)
        log.close()


async def _register(channel: grpc.aio.Channel) -> None:
    specs = [
        service_pb.TerminalSpec(
            terminal_number=_number(one), psam_number=f"{one:020d}", device_number=one, industry_code="0001"
        )
        for one in range(_TERMINALS)
    ]
    request = service_pb.BatchRegisterTerminalsRequest(
        request_id=str(uuid.uuid4()), participant="participants/metro", terminals=specs
    )
    await TerminalGatewayServiceStub(channel).BatchRegisterTerminals(request)


def _number(one: int) -> str:
    return f"0201{one:08d}"


class _Terminal:
    """One connected terminal: its own certificate, its own connection."""

    def __init__(self, number: int, address: str, tls: TlsFiles) -> None:
        self.number = number
        self.channel = grpc.aio.secure_channel(address, tls.credentials())
        self.stub: Any = SessionServiceStub(self.channel)
        self.call: Any = None
        self.heard_at = 0.0
        self.attempt_count = 0

    async def sign_in(self) -> None:
        """As a device does: a line that breaks in the crowd is tried again."""
        while True:
            self.attempt_count += 1
            self.call = self.stub.Session(wait_for_ready=True)
            try:
                await self._hello()
            except grpc.aio.AioRpcError:
                assert self.attempt_count < _ATTEMPTS_MAX, "the gateway lets nobody in"
                await asyncio.sleep(0.2 * self.attempt_count)
            else:
                return

    async def _hello(self) -> None:
        request = service_pb.SignInRequest(terminal_number=_number(self.number), psam_number=f"{self.number:020d}")
        request.clock_time.FromDatetime(datetime.now(UTC))
        await self.call.write(session_pb.SessionRequest(hello=session_pb.Hello(sign_in=request)))
        message = await self.call.read()
        assert message.HasField("welcome"), "a session begins with a welcome"

    async def listen(self, version: int) -> None:
        while True:
            message = await self.call.read()
            assert message is not grpc.aio.EOF, "nobody ends a session here"
            if message.blacklist.version >= version:
                self.heard_at = time.perf_counter()
                return


async def _connected(
    context: Context, servers: LocalServers, authority: CertificateAuthority, folder: Path, address: str, pid: int
) -> list[Result]:
    files = [authority.issue_files(f"citycard://terminal/metro/{_number(one)}", folder) for one in range(_TERMINALS)]
    terminals = [_Terminal(one, address, tls) for one, tls in enumerate(files)]
    context.say(f"{_TERMINALS} certificates made; the storm begins")
    began = time.perf_counter()
    await asyncio.gather(*(terminal.sign_in() for terminal in terminals))
    storm_s = time.perf_counter() - began
    attempts = sum(terminal.attempt_count for terminal in terminals)
    context.say(f"signed in within {storm_s:.1f} s by {attempts} attempts; load {os.getloadavg()[0]:.1f}")
    await asyncio.sleep(3)
    resident = _resident_mib(pid)
    nats = await connect_nats(
        TerminalGatewaySettings.model_validate(
            {
                "database_url": NO_DATABASE,
                "nats_url": servers.nats_url(),
                "tls_ca_file": files[0].ca,
                "tls_cert_file": files[0].cert,
                "tls_key_file": files[0].key,
            }
        )
    )
    event = blacklist_events_pb.BlacklistChanged(version=7)
    listening = [asyncio.create_task(terminal.listen(7)) for terminal in terminals]
    await asyncio.sleep(0.5)
    told = time.perf_counter()
    await nats.jetstream().publish(
        _CHANGED,
        event.SerializeToString(),
        headers=event_headers(uuid.uuid4(), _CHANGED, "blacklist", datetime.now(UTC), ""),
    )
    await asyncio.wait_for(asyncio.gather(*listening), 60)
    delays = np.array([terminal.heard_at - told for terminal in terminals])
    await nats.close()
    await asyncio.gather(*(terminal.channel.close() for terminal in terminals))
    return [
        Result("gateway.storm", storm_s, "s", goal=20, less_is_better=True),
        Result("gateway.resident", resident, "MiB", goal=400, less_is_better=True),
        Result("gateway.news_p50", float(np.percentile(delays, 50)), "s"),
        Result("gateway.news_p99", float(np.percentile(delays, 99)), "s", goal=2, less_is_better=True),
    ]


def _file(number: int) -> bytes:
    records = new_records(_RECORDS)
    records["kind"], records["card_class"] = 1, 3
    records["issuer"] = np.frombuffer(institution_bytes("01019901"), np.uint8)
    records["acquirer"] = np.frombuffer(institution_bytes("11139901"), np.uint8)
    records["terminal_number"] = np.frombuffer(terminal_bytes(_number(number % _TERMINALS)), np.uint8)
    records["device_number"] = number % _TERMINALS
    records["device_seq"] = records["terminal_seq"] = np.arange(_RECORDS) + 1 + number * _RECORDS
    records["amount_fen"] = 200
    records["time"] = np.frombuffer(bytes.fromhex("20261120120000"), np.uint8)
    moment = datetime(2026, 11, 20, 4, tzinfo=UTC)
    return encode_batch(
        FileType.TX, seal(records), sender="11139901", receiver="00009901", batch_number=number + 1, created=moment,
        business_date=moment.date(),
    )  # fmt: skip


async def _uploads(
    context: Context, owner_url: str, authority: CertificateAuthority, folder: Path, address: str
) -> list[Result]:
    tls = authority.issue_files("citycard://collector/metro/bench", folder)
    key = serialization.load_pem_private_key(tls.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    channel = open_channel(address, tls)
    stub: Any = TerminalGatewayServiceStub(channel)
    files = [_file(number) for number in range(_FILES)]
    uploads = [list(_messages(key, data)) for data in files]
    context.say(f"{_FILES} files of {_RECORDS} records made; load {os.getloadavg()[0]:.1f}")
    waiting = list(range(_FILES))

    async def send() -> None:
        while waiting:
            messages = uploads[waiting.pop()]
            receipt = await stub.UploadBatch(_each(messages))
            assert receipt.record_count == _RECORDS, "all of it"
            assert not receipt.already_stored, "each file is stored once"

    began = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(_STREAMS)))
    rate = _FILES * _RECORDS / (time.perf_counter() - began)
    await channel.close()
    baseline = await asyncio.to_thread(_bare, owner_url, files)
    what = "INSERT of the same bytes in parts of 1 MiB, one transaction a file, on the same PostgreSQL"
    return [Result("gateway.upload", rate, "records/s", baseline, what, goal=150_000)]


def _messages(key: ec.EllipticCurvePrivateKey, data: bytes) -> Iterator[service_pb.UploadBatchRequest]:
    digest = hashlib.sha256(data).digest()
    yield service_pb.UploadBatchRequest(
        start=service_pb.UploadStart(
            sha256=digest,
            size_bytes=len(data),
            carrier=gw.CARRIER_COLLECTOR,
            signature=key.sign(digest, ec.ECDSA(hashes.SHA256())),
        )
    )
    for offset in range(0, len(data), _CHUNK_BYTES):
        piece = data[offset : offset + _CHUNK_BYTES]
        yield service_pb.UploadBatchRequest(
            chunk=service_pb.UploadChunk(offset=offset, data=piece, crc32c=crc32c(piece))
        )


async def _each(messages: list[service_pb.UploadBatchRequest]) -> AsyncIterator[service_pb.UploadBatchRequest]:
    for message in messages:
        yield message


def _bare(owner_url: str, files: list[bytes]) -> float:
    with psycopg.connect(owner_url.replace("+psycopg", ""), autocommit=False) as connection:
        connection.execute("CREATE TABLE bare_part (file integer, part_offset integer, data bytea)")
        connection.execute("ALTER TABLE bare_part ALTER COLUMN data SET STORAGE EXTERNAL")
        connection.commit()
        began = time.perf_counter()
        for number, data in enumerate(files):
            for offset in range(0, len(data), _PART_BYTES):
                connection.execute(
                    "INSERT INTO bare_part VALUES (%s, %s, %b)", (number, offset, data[offset : offset + _PART_BYTES])
                )
            connection.commit()
        return _FILES * _RECORDS / (time.perf_counter() - began)


def _resident_mib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / _MIB


def _peak_mib(pid: int) -> float:
    """Largest resident memory since the start, as the kernel remembers it."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("Linux tells it")
