"""What the three local servers have in common: a process remembered in a state file, started, stopped, killed."""

import abc
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from city.processes import START_TIMEOUT_S, ProcessMark, bury, kill_tree, spawn, stop_process, wait_until


class LocalServer(abc.ABC):
    """One server of one root.

    Args:
        folder: Where its configuration, data and log lie.
        state: Its part of the state file (ports, passwords, process); kept current in place, saved by the caller.
    """

    name: ClassVar[str]
    # What the server takes for "finish what you must and end", without waiting for clients to leave.
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path, state: dict[str, Any]) -> None:
        self._folder = folder.absolute()
        self._state = state
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """TCP port on 127.0.0.1; kept over restarts while nobody else takes it."""
        return int(self._state["port"])

    @property
    def log(self) -> Path:
        """Where the server writes."""
        return self._folder / f"{self.name}.log"

    def mark(self) -> ProcessMark | None:
        """The running server, or None."""
        if "pid" not in self._state:
            return None
        mark = ProcessMark(int(self._state["pid"]), float(self._state["born_at"]))
        return mark if mark.alive() else None

    @abc.abstractmethod
    def start(self) -> None:
        """Write what the server needs, start it, return when it answers.

        Raises:
            ProgramMissing: It is not installed.
            StartFailed: It does not come up.
        """

    @abc.abstractmethod
    def answers(self) -> bool:
        """Whether the server can serve now."""

    def stop(self) -> None:
        """End it in good order; nothing to do when it does not run."""
        mark = self.mark()
        if mark is not None:
            stop_process(mark, ask=self.stop_signal)
        self._forget()

    def kill(self) -> None:
        """SIGKILL to the server and its workers, as a power cut would."""
        mark = self.mark()
        if mark is not None:
            kill_tree(mark)
        self._forget()

    def _launch(
        self,
        command: Sequence[str | Path],
        ports: dict[str, int],
        user: int | None = None,
        group: int | None = None,
        folder: Path | None = None,
    ) -> None:
        self._forget()
        self._child = spawn(command, self.log, user=user, group=group, folder=folder)
        mark = ProcessMark.of(self._child.pid)
        self._state |= {**ports, "pid": mark.pid, "born_at": mark.born_at}
        wait_until(self.answers, mark.alive, self.name, self.log, START_TIMEOUT_S)

    def _forget(self) -> None:
        pid = self._state.pop("pid", None)
        self._state.pop("born_at", None)
        if pid is not None:
            bury(int(pid))
        if self._child is not None:
            self._child.poll()
            self._child = None
