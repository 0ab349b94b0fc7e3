"""Processes of the local city: known by number and birth time, found again by a later command, stopped for sure."""

import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

# Longer than a loaded two-core machine needs for any of our servers to answer.
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
_POLL_S = 0.02
_PORT_PATIENCE_S = 3.0


class StartFailed(RuntimeError):
    """A server did not come up; the message carries the end of its log."""


class ProgramMissing(RuntimeError):
    """A program is neither beside the interpreter nor on the PATH; the message says what brings it."""


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """One process in all time: a number alone is given out again after a crash or a reboot.

    Attributes:
        pid: The process number.
        born_at: Seconds since 1970, as the operating system says.
    """

    pid: int
    born_at: float

    @classmethod
    def of(cls, pid: int) -> "ProcessMark":
        """The mark of a running process.

        Raises:
            psutil.NoSuchProcess: It is gone.
        """
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The running process, or None when it ended; one that only waits to be buried has ended."""
        try:
            process = psutil.Process(self.pid)
            # Birth times are read back from JSON and the clock may be stepped: equal within a second is the same.
            if abs(process.create_time() - self.born_at) > 1.0 or process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.NoSuchProcess:
            return None
        return process

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process() is not None


def spawn(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None = None,
    user: int | None = None,
    group: int | None = None,
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process of its own session, its output appended to `log`.

    A session of its own, because Ctrl-C in a terminal reaches the whole foreground group: the servers must
    outlive the services that still have to drain.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment) if environment is not None else None,
            user=user,
            group=group,
            extra_groups=[] if user is not None else None,
            cwd=folder,
            start_new_session=True,
        )


def wait_until(ready: Callable[[], bool], alive: Callable[[], bool], name: str, log: Path, timeout_s: float) -> None:
    """Return when `ready`; look every few milliseconds, for a start should not cost a rounded-up second.

    Raises:
        StartFailed: The process ended, or is not ready in time.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        if not alive():
            raise StartFailed(f"{name} ended while starting; its log says:\n{log_tail(log)}")
        if time.monotonic() > deadline:
            raise StartFailed(f"{name} is not ready after {timeout_s:.0f} s; its log says:\n{log_tail(log)}")
        time.sleep(_POLL_S)


def stop_process(mark: ProcessMark, ask: signal.Signals = signal.SIGTERM, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """Ask a process to end, and after `timeout_s` seconds end it with everything below it.

    Returns:
        True when it ended by itself, False when it had to be killed.
    """
    process = mark.process()
    if process is None:
        return True
    process.send_signal(ask)
    if gone_within([mark], timeout_s):
        return True
    kill_tree(mark)
    return False


def kill_tree(mark: ProcessMark) -> None:
    """SIGKILL to a process and its descendants, the oldest first; returns when all are gone."""
    process = mark.process()
    if process is None:
        return
    family = [process, *process.children(recursive=True)]
    marks = [mark]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            marks.append(ProcessMark(member.pid, member.create_time()))
            member.kill()
    gone_within(marks, STOP_TIMEOUT_S)


def gone_within(marks: Sequence[ProcessMark], timeout_s: float) -> bool:
    """Wait until all of these ended, at most `timeout_s` seconds; True when they did."""
    deadline = time.monotonic() + timeout_s
    while any(mark.alive() for mark in marks):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    for mark in marks:
        bury(mark.pid)
    return True


def bury(pid: int) -> None:
    """Take the exit status of a child of ours, so that it does not stay in the process table."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # somebody else's child, or already buried


def memory_bytes(mark: ProcessMark) -> int:
    """Memory that ends with this process and its descendants, in bytes.

    Shared pages are split between their users (PSS) where the system tells: PostgreSQL's shared buffers
    would otherwise count once per connection.
    """
    process = mark.process()
    if process is None:
        return 0
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            info = member.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        total += int(getattr(info, "pss", info.rss))
    return total


def find_program(name: str, package: str) -> Path:
    """A program beside the running interpreter, else on the PATH.

    Raises:
        ProgramMissing: It is nowhere; `package` brings it.
    """
    # Not resolved: in a virtual environment the interpreter is a link, and the programs lie beside the link.
    beside = Path(sys.executable).parent / name
    folders = [beside.parent, *(Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder)]
    for folder in folders:
        candidate = folder / name
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise ProgramMissing(f"{name} is not installed; `pip install {package}` brings it")


# Below the range that outgoing connections take theirs from: a port that the system gives away by itself is only too
# often the local end of somebody's connection before the server gets to bind it.
_SERVER_PORTS = range(15_000, 32_000)
_PORT_TRIES = 1_000


def free_port(preferred: int | None = None) -> int:
    """A free TCP port of 127.0.0.1; the preferred one when nobody has it, so that clients find a restarted server.

    Between this answer and the server's own bind another process may take the port; the server then fails to
    start and says so.
    """
    if preferred is not None:
        # A server that was killed counts as gone a moment before the last of its threads has let go of the port.
        deadline = time.monotonic() + _PORT_PATIENCE_S
        while _bound(preferred) is None:
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        else:
            return preferred
    for _ in range(_PORT_TRIES):
        if (port := _bound(random.choice(_SERVER_PORTS))) is not None:
            return port
    raise StartFailed("no free TCP port on 127.0.0.1")


def _bound(port: int) -> int | None:
    """The port, or any for 0, if we could bind it now; None when somebody has it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers bind: connections of the former owner in TIME_WAIT are no hindrance.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return None
        return int(probe.getsockname()[1])


def read_json(path: Path) -> dict[str, Any]:
    """A state file, or nothing when it is missing or was never finished."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return state if isinstance(state, dict) else {}


def write_secret(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only: it carries passwords."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def write_json(path: Path, state: Mapping[str, Any]) -> None:
    """Replace a state file at once, readable by its owner only."""
    write_secret(path, json.dumps(state, indent=2, sort_keys=True) + "\n")


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file: two commands on one root start one set of servers, not two."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def log_tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, or a word that there is none."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
