"""Where `citycard ledger` reads: an account service, of a local city or of any address, as an auditor."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from city.certificates import Certificates
from city.environment import PlatformState
from city.names import DEFAULT_ROOT
from city.prove import AUDITOR
from libs.runtime.client import TlsFiles, open_channel


class NoLedger(Exception):
    """There is nothing to ask; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """What the options say.

    Attributes:
        root: Folder of a local city; None looks where cities of this machine lie.
        address: `host:port` of an account service elsewhere; empty for a local city.
        ca: Certificates that the service must descend from; with an address only.
        cert: The caller's certificate: an administrator's or an auditor's.
        key: Its key.
    """

    root: Path | None = None
    address: str = ""
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def locate(self) -> tuple[str, TlsFiles]:
        """Address and certificates.

        Raises:
            NoLedger: No city, an option too few, or a file that is not there.
        """
        if self.address:
            return self.address, self._given()
        if self.ca or self.cert or self.key:
            raise NoLedger("--ca, --cert and --key go with --address; without it the certificates of the city are used")
        candidates = [self.root] if self.root else [DEFAULT_ROOT, DEFAULT_ROOT / "demo"]
        for root in candidates:
            if not root.is_dir():
                continue
            port = PlatformState(root).known_ports().get("account")
            if port is None or PlatformState(root).service("account") is None:
                continue
            kind, _, name = AUDITOR.partition("/")
            return f"127.0.0.1:{port}", Certificates(root).issue(kind, name)
        looked = " or ".join(str(root) for root in candidates)
        raise NoLedger(
            f"no account service runs under {looked}; `citycard up` or `citycard demo --keep` starts a city, --root"
            " names its folder, --address with --ca, --cert and --key asks a service elsewhere"
        )

    def _given(self) -> TlsFiles:
        return TlsFiles(_there("--ca", self.ca), _there("--cert", self.cert), _there("--key", self.key))

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """A channel for the time of a block.

        Raises:
            NoLedger: As `locate`.
        """
        address, tls = self.locate()
        channel = open_channel(address, tls)
        try:
            yield channel
        finally:
            await channel.close()


def _there(option: str, path: Path | None) -> Path:
    if path is None:
        raise NoLedger(f"--address needs {option} too; `citycard certificate auditor NAME` writes such files")
    if not path.is_file():
        raise NoLedger(f"{option}: there is no file {path}")
    return path
