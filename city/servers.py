"""Real servers for a machine that has none: PostgreSQL, NATS with JetStream, Redis, all under one root folder.

They outlive the command that started them, unless it stops them: the next one on the same root finds them by the
state file (`servers.json`: processes, ports, passwords; readable by its owner only) and uses them again.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from city.local_server import LocalServer
from city.names import DEFAULT_ROOT, SERVERS, SERVICES, known_service
from city.nats import ADMINISTRATOR, Nats
from city.postgres import DatabaseUrls, Postgres
from city.processes import exclusive, memory_bytes, read_json, write_json
from city.redis import Redis

__all__ = ["DatabaseUrls", "LocalServers", "ServerStatus"]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One line of `citycard status`.

    Attributes:
        name: Of the server.
        pid: Process number, None when it does not run.
        port: TCP port on 127.0.0.1, None before the first start.
        memory_bytes: With its workers, shared pages divided.
    """

    name: str
    pid: int | None
    port: int | None
    memory_bytes: int


class LocalServers:
    """The servers of one root, of any number of commands and objects.

    As a context manager it stops at the end what it started itself, and leaves alone what it found running.

    Args:
        root: The one folder for everything; made when missing. When we are root and the folder cannot be reached
            by PostgreSQL's user, PostgreSQL's data alone lies elsewhere (`city/postgres.py`).
    """

    def __init__(self, root: Path = DEFAULT_ROOT) -> None:
        self.root = root.absolute()
        self._path = self.root / "servers.json"
        self._state: dict[str, Any] = {name: {} for name in SERVERS}
        folder = self.root / "servers"
        self.postgres = Postgres(folder / "postgres", self._state["postgres"])
        self.nats = Nats(folder / "nats", self._state["nats"])
        self.redis = Redis(folder / "redis", self._state["redis"])
        self._by_name: dict[str, LocalServer] = {
            server.name: server for server in (self.postgres, self.nats, self.redis)
        }
        self._started: list[str] = []
        self._load()

    def start(self) -> list[str]:
        """Start what does not run and leave alone what does.

        Returns:
            The names of those that this call started.

        Raises:
            ProgramMissing: A server is not installed.
            StartFailed: A server does not come up; those before it stay.
        """
        started: list[str] = []
        with self._locked():
            for name, server in self._by_name.items():
                if server.mark() is not None and server.answers():
                    continue
                # Alive but deaf is as good as dead, and would hold the port and the data folder.
                server.kill()
                server.start()
                started.append(name)
                # After each one: if the next fails, the state file must know of this one.
                self._save()
        self._started += started
        return started

    def stop(self) -> None:
        """Stop all, whoever started them, the last first."""
        with self._locked():
            for server in reversed(self._by_name.values()):
                server.stop()
                self._save()
        self._started.clear()

    def restart(self, name: str) -> None:
        """Stop one in good order, if it runs, and start it on its old port.

        Raises:
            KeyError: There is no server of this name.
            StartFailed: It does not come up.
        """
        with self._locked():
            self._by_name[name].stop()
            self._by_name[name].start()

    def kill(self, name: str) -> None:
        """SIGKILL to one, as a power cut would; `restart` brings it back.

        Raises:
            KeyError: There is no server of this name.
        """
        with self._locked():
            self._by_name[name].kill()

    def destroy(self) -> None:
        """Stop all and remove the root with everything in it, and PostgreSQL's data wherever it lies."""
        self.stop()
        self.postgres.destroy()
        shutil.rmtree(self.root, ignore_errors=True)

    def ensure_database(self, service: str) -> DatabaseUrls:
        """The service's database `citycard_<service>`, made when missing, closed to the other services' roles."""
        return self.postgres.ensure_database(known_service(service))

    def ensure_databases(self) -> dict[str, DatabaseUrls]:
        """The databases of all services by name."""
        return {service: self.ensure_database(service) for service in SERVICES}

    def fresh_database(self, service: str) -> DatabaseUrls:
        """A new, empty database for a test, with the service's own roles: `citycard_<service>_<8 hex digits>`."""
        service = known_service(service)
        return self.postgres.ensure_database(service, f"citycard_{service}_{secrets.token_hex(4)}")

    def drop_and_create(self, service: str) -> DatabaseUrls:
        """The service's database, emptied; whoever is connected is thrown out."""
        service = known_service(service)
        self.postgres.drop_database(f"citycard_{service}")
        return self.postgres.ensure_database(service)

    def drop_database(self, urls: DatabaseUrls) -> None:
        """Remove a database that `fresh_database` made."""
        self.postgres.drop_database(urls.name)

    def nats_url(self, user: str = ADMINISTRATOR) -> str:
        """The URL for a service, or for `administrator`, who may do everything."""
        return self.nats.url(user)

    def redis_url(self) -> str:
        """The URL of Redis."""
        return self.redis.url()

    def running(self) -> bool:
        """Whether all of them run, by the state file as it is now."""
        self._load()
        return all(server.mark() is not None for server in self._by_name.values())

    def status(self) -> list[ServerStatus]:
        """One line for each, running or not."""
        self._load()
        lines = []
        for server in self._by_name.values():
            mark = server.mark()
            port = self._state[server.name].get("port")
            memory = memory_bytes(mark) if mark else 0
            lines.append(ServerStatus(server.name, mark.pid if mark else None, port, memory))
        return lines

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._locked():
            for name in reversed(self._started):
                self._by_name[name].stop()
        self._started.clear()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the root's lock over a change: read the state, and save it whatever happens."""
        with exclusive(self.root / "servers.lock"):
            self._load()
            try:
                yield
            finally:
                self._save()

    def _load(self) -> None:
        saved = read_json(self._path)
        # In place: each server holds its own part.
        for name, part in self._state.items():
            part.clear()
            part.update(saved.get(name, {}))

    def _save(self) -> None:
        write_json(self._path, self._state)
