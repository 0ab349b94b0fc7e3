"""A real server in the test's own process, and callers with certificates."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from libs.runtime.client import TlsFiles, open_channel
from libs.runtime.contract import service_descriptor
from libs.runtime.pki import CertificateAuthority
from libs.runtime.server import Chassis, ServiceParts
from libs.runtime.settings import ServiceSettings

S = TypeVar("S", bound=ServiceSettings)

# Settings want addresses even where a test needs neither database nor bus: these answer nobody.
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"
NO_NATS = "nats://127.0.0.1:1"


class TestCertificates:
    """A certificate authority in a folder, and one certificate per asked name."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = CertificateAuthority.load_or_create(folder)

    def of(self, uri: str) -> TlsFiles:
        """The files of a party, `citycard://participant/metro`; issued at the first call."""
        name = uri.removeprefix("citycard://").replace("/", "-")
        cert, key = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        if not key.exists():
            return self._authority.issue_files(uri, self._folder, name)
        return TlsFiles(self._folder / "ca.crt", cert, key)


def a_settings(certificates: TestCertificates, cls: type[S], **values: Any) -> S:
    """Settings of a service for a test: free port, own certificate, test deployment; `values` win.

    Nothing is read from the environment, so that a test cannot depend on the shell it is run from.
    """
    tls = certificates.of(f"citycard://service/{cls.service}")
    defaults: dict[str, Any] = {
        "deployment": "test",
        "listen_address": "127.0.0.1:0",
        "database_url": NO_DATABASE,
        "nats_url": NO_NATS,
        "tls_ca_file": tls.ca,
        "tls_cert_file": tls.cert,
        "tls_key_file": tls.key,
        "drain_timeout_s": 5.0,
    }
    return cls.model_validate(defaults | values)


@dataclass(slots=True)
class RunningServer:
    """A server that answers.

    Attributes:
        address: `127.0.0.1:port`.
        certificates: Whoever wants to call needs one.
        chassis: For tests of readiness and draining.
    """

    address: str
    certificates: TestCertificates
    chassis: Chassis
    services: list[ServiceDescriptor]
    _channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)

    def channel(self, as_: str = "citycard://administrator/test") -> grpc.aio.Channel:
        """A channel as a named caller; one per name, closed with the server."""
        if as_ not in self._channels:
            self._channels[as_] = open_channel(self.address, self.certificates.of(as_), self.services)
        return self._channels[as_]

    async def close(self) -> None:
        """Close the channels and drain the server."""
        for channel in self._channels.values():
            await channel.close()
        await self.chassis.stop()


@asynccontextmanager
async def running_server(
    parts: ServiceParts, settings: ServiceSettings, certificates: TestCertificates
) -> AsyncIterator[RunningServer]:
    """Run a service in this process, for the length of the block.

    Args:
        parts: What its wiring built; `close` is called at the end.
        settings: From `a_settings`.
        certificates: The authority that both sides trust.
    """
    chassis = Chassis(parts, settings, poll_s=0.1)
    await chassis.start()
    services = [service_descriptor(name) for name in parts.service_names]
    server = RunningServer(chassis.address, certificates, chassis, services)
    try:
        yield server
    finally:
        await server.close()
