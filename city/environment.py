"""The environment of one service process in the local city: addresses, certificates, passwords, the city's clock.

`platform.json` under the root remembers the ports, the clock and the processes, so that `up`, `serve`, `status` and
`down` of different days mean the same city.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from city.names import SERVICES
from city.processes import ProcessMark, exclusive, free_port, read_json, write_json
from city.servers import LocalServers

if TYPE_CHECKING:
    from city.certificates import Certificates


@dataclass(frozen=True, slots=True)
class ServicePorts:
    """Where a service listens on 127.0.0.1.

    Attributes:
        grpc: Mutual TLS, for everybody.
        health: Plaintext, health only, for the launcher.
    """

    grpc: int
    health: int


class PlatformState:
    """What is remembered of the platform of one root, `platform.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._path = self.root / "platform.json"
        self._lock = self.root / "platform.lock"

    def launcher(self) -> ProcessMark | None:
        """The launcher that runs on this root now, or None."""
        return _mark(self._read().get("launcher"))

    def service(self, name: str) -> ProcessMark | None:
        """The process of a service, or None when it does not run."""
        return _mark(self._read().get("services", {}).get(name, {}).get("process"))

    def claim(self, mark: ProcessMark) -> ProcessMark | None:
        """Make this process the root's launcher; the one that is already running is answered instead."""
        with exclusive(self._lock):
            state = self._read()
            other = _mark(state.get("launcher"))
            if other is not None and other != mark:
                return other
            state["launcher"] = _saved(mark)
            write_json(self._path, state)
        return None

    def release(self) -> None:
        """There is no launcher any more."""
        with exclusive(self._lock):
            state = self._read()
            state.pop("launcher", None)
            write_json(self._path, state)

    def record(self, name: str, mark: ProcessMark | None) -> None:
        """Remember which process a service is now; None when it ended."""
        with exclusive(self._lock):
            state = self._read()
            entry = state.setdefault("services", {}).setdefault(name, {})
            entry["process"] = _saved(mark) if mark else None
            write_json(self._path, state)

    def ports(self) -> dict[str, ServicePorts]:
        """The ports of all services, chosen at the first question and kept while nobody else takes them."""
        with exclusive(self._lock):
            state = self._read()
            services = state.setdefault("services", {})
            taken: set[int] = set()
            for name in SERVICES:
                entry = services.setdefault(name, {})
                running = _mark(entry.get("process")) is not None
                for key in ("port", "health_port"):
                    if not running:
                        entry[key] = _another_port(entry.get(key), taken)
                    taken.add(entry[key])
            write_json(self._path, state)
        return {name: ServicePorts(services[name]["port"], services[name]["health_port"]) for name in SERVICES}

    def known_ports(self) -> dict[str, int]:
        """The mutual TLS ports that were chosen so far; asking chooses none."""
        services = self._read().get("services", {})
        return {name: int(entry["port"]) for name, entry in services.items() if entry.get("port")}

    def set_clock(self, clock: datetime | None) -> int:
        """Remember how far the city's clock is from ours; None means not at all.

        Args:
            clock: The time it shall be in the city now, with its zone.

        Returns:
            The offset in whole seconds.
        """
        offset_s = round((clock - datetime.now(UTC)).total_seconds()) if clock else 0
        with exclusive(self._lock):
            write_json(self._path, self._read() | {"clock_offset_s": offset_s})
        return offset_s

    def clock_offset_s(self) -> int:
        """Seconds that the city's clock is ahead of ours; negative when behind."""
        return int(self._read().get("clock_offset_s", 0))

    def _read(self) -> dict[str, Any]:
        return read_json(self._path)


def service_environment(
    service: str,
    root: Path,
    servers: LocalServers,
    certificates: "Certificates",
    ports: Mapping[str, ServicePorts],
    clock_offset_s: int,
) -> dict[str, str]:
    """The variables of one service (libs/runtime/settings.py), on top of our own environment."""
    # Imported here: the key store loads NumPy and the ciphers, and `status` and `down` need neither.
    from city.keys import ensure_key_file, ensure_statement_key

    urls = servers.ensure_database(service)
    certificate = certificates.issue("service", service)
    keys = ensure_key_file(root)
    addresses = {name: f"127.0.0.1:{port.grpc}" for name, port in ports.items()}
    ours = {
        # The certificate authority and the keys are made here: never a production deployment.
        "DEPLOYMENT": "test",
        "LISTEN_ADDRESS": addresses[service],
        "HEALTH_ADDRESS": f"127.0.0.1:{ports[service].health}",
        "ADDRESS_FILE": str(root / "run" / f"{service}.address"),
        "SERVICE_ADDRESSES": json.dumps(addresses),
        "TLS_CA_FILE": str(certificates.authority_file),
        "TLS_CERT_FILE": str(certificate.cert),
        "TLS_KEY_FILE": str(certificate.key),
        "TLS_REVOKED_FILE": str(certificates.revoked_file),
        "STAFF_KEYS_FILE": str(certificates.staff_keys_file),
        "DATABASE_URL": urls.application,
        "MIGRATION_DATABASE_URL": urls.owner,
        "NATS_URL": servers.nats_url(service),
        "KEY_FILE": str(keys.key_file),
        "KEY_PASSPHRASE_FILE": str(keys.passphrase_file),
        "STATEMENT_KEY_FILE": str(ensure_statement_key(root)),
        "REDIS_URL": servers.redis_url(),
        "CLOCK_OFFSET_S": str(clock_offset_s),
        "LOG_FORMAT": "json",
    }
    # On top of our own environment: a log level or a collector that the user set is meant for the services.
    variables = dict(os.environ)
    variables |= {f"CITYCARD_{name}": value for name, value in ours.items()}
    variables["PYTHONUNBUFFERED"] = "1"
    return variables


def _another_port(preferred: int | None, taken: set[int]) -> int:
    port = free_port(preferred)
    while port in taken:
        port = free_port()
    return port


def _mark(saved: Mapping[str, Any] | None) -> ProcessMark | None:
    if not saved:
        return None
    mark = ProcessMark(int(saved["pid"]), float(saved["born_at"]))
    return mark if mark.alive() else None


def _saved(mark: ProcessMark) -> dict[str, float]:
    return {"pid": mark.pid, "born_at": mark.born_at}
