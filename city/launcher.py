"""All services of one root as separate processes: started, watched, started again, stopped."""

import asyncio
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from city.environment import PlatformState, ServicePorts, service_environment
from city.names import DEFAULT_ROOT, SERVICES, known_service
from city.processes import ProcessMark, StartFailed, kill_tree, log_tail, memory_bytes, spawn, stop_process
from city.servers import LocalServers

if TYPE_CHECKING:
    import grpc

    from city.certificates import Certificates, TlsFiles

# A service imports its wiring, connects and looks at its readiness: seconds, many more when five start on two cores.
READY_TIMEOUT_S = 60.0
# Longer than the drain timeout of the services (libs/runtime/settings.py), so that a kill cuts no call they let finish.
DRAIN_TIMEOUT_S = 25.0
BACKOFF_FIRST_S = 1.0
BACKOFF_LAST_S = 30.0
# One that ran so long is healthy again: its next fall is the first of a new row.
_STEADY_S = 60.0
_WATCH_S = 0.2

Program = Callable[[str], Sequence[str]]
Narrator = Callable[[str, str], None]


class AlreadyRunning(RuntimeError):
    """Another launcher runs on this root; two would fight over its ports and databases."""


def service_program(service: str) -> Sequence[str]:
    """The command line of a service, without its verb (`serve`, `migrate`, `relay`)."""
    return [sys.executable, "-m", f"services.{service}"]


@dataclass(slots=True)
class _Unit:
    """One service under supervision."""

    service: str
    log: Path
    process: subprocess.Popen[bytes] | None = None
    mark: ProcessMark | None = None
    wanted: bool = False
    ready: bool = False
    started_at: float = 0.0
    falls: int = 0
    next_start_at: float = 0.0
    # A caller of `start` and the watcher may both find the service down: only one of them launches it.
    launching: asyncio.Lock = field(default_factory=asyncio.Lock)


class Platform:
    """The city's platform, for `citycard up`, demos and tests.

    `async with Platform(root) as platform:` starts servers, databases, migrations and services, and stops them all.

    Args:
        root: The folder of this city; everything it writes lies there.
        clock: The time it shall be in the city now, with its zone; the machine's own without it.
        only: The services to start; all have addresses.
        narrate: Is told `(service, what happened)`: starts, falls, stops.
        program: Gives the command line of a service without its verb; `service_program` without it.
    """

    def __init__(
        self,
        root: Path = DEFAULT_ROOT,
        *,
        clock: datetime | None = None,
        only: Sequence[str] = SERVICES,
        narrate: Narrator | None = None,
        program: Program | None = None,
    ) -> None:
        if clock is not None and clock.tzinfo is None:
            raise ValueError("the city's clock needs a zone, such as 2018-09-01T12:00:00+08:00")
        chosen = {known_service(name) for name in only}
        self.root = root.absolute()
        self.services = tuple(name for name in SERVICES if name in chosen)
        self.servers = LocalServers(self.root)
        self.state = PlatformState(self.root)
        self._clock = clock
        self._narrate: Narrator = narrate or (lambda service, what: None)
        self._program = program or service_program
        self._units = {name: _Unit(name, self.log(name)) for name in self.services}
        self._certificates: Certificates | None = None
        self._ports: dict[str, ServicePorts] = {}
        self._clock_offset_s = 0
        self._watcher: asyncio.Task[None] | None = None

    @property
    def certificates(self) -> "Certificates":
        """The development certificates of this root."""
        from city.certificates import Certificates

        if self._certificates is None:
            self._certificates = Certificates(self.root)
        return self._certificates

    def log(self, service: str) -> Path:
        """The log file of a service."""
        return self.root / "log" / f"{service}.log"

    def address(self, service: str) -> str:
        """host:port of a service's mutual TLS server; kept over restarts."""
        return f"127.0.0.1:{self._ports[known_service(service)].grpc}"

    def tls(self, as_: str = "administrator/demo") -> "TlsFiles":
        """The certificate of a caller by its URI name, such as `participant/metro-1`, `terminal/metro-1/020100000123`.

        Raises:
            CallerUnknown: That is no name of a caller.
        """
        kind, _, name = as_.removeprefix("citycard://").partition("/")
        return self.certificates.issue(kind, name)

    def channel(self, service: str, as_: str = "administrator/demo") -> "grpc.aio.Channel":
        """A new channel to a service, with the time limits and retries of its contract; the caller closes it.

        Args:
            service: Which one.
            as_: Who calls, see `tls`.
        """
        # Imported here: gRPC costs a third of a second, and most commands do without.
        from libs.runtime.client import open_channel

        service = known_service(service)
        contract = importlib.import_module(f"citycard.{service}.v1.{service}_service_pb2")
        return open_channel(self.address(service), self.tls(as_), contract.DESCRIPTOR.services_by_name.values())

    def environment(self, service: str) -> dict[str, str]:
        """The environment that a service's process gets."""
        return service_environment(
            service, self.root, self.servers, self.certificates, self._ports, self._clock_offset_s
        )

    def memory(self) -> dict[str, int]:
        """Memory of every running process in bytes, by service and server name; shared pages are divided."""
        memory = {name: memory_bytes(unit.mark) for name, unit in self._units.items() if unit.mark}
        memory |= {line.name: line.memory_bytes for line in self.servers.status() if line.pid}
        return memory

    def all_ready(self) -> bool:
        """Whether every wanted service runs and has been ready since its last start."""
        return all(unit.ready for unit in self._units.values() if unit.wanted)

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            # Also a Ctrl-C during the start leaves nothing behind.
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Start everything and return when all services are ready.

        Raises:
            AlreadyRunning: Another launcher runs on this root.
            ProgramMissing, StartFailed: A server, a migration or a service does not come up.
        """
        other = self.state.claim(ProcessMark.of(os.getpid()))
        if other is not None:
            raise AlreadyRunning(
                f"process {other.pid} runs the city under {self.root}; `citycard down --root {self.root}` stops it"
            )
        await _whole(self._prepare)
        await _all_or_first_error([self.migrate(service) for service in self.services])
        await _all_or_first_error([self.start(service) for service in self.services])
        self._watcher = asyncio.create_task(self._watch(), name="services")

    async def close(self) -> None:
        """Stop the services, let them finish their calls, then the servers; safe to call twice."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        if self.state.claim(ProcessMark.of(os.getpid())) is not None:
            return  # somebody else's city: we never opened it
        # All at once: each drains for itself, and none waits for a neighbour that has to drain first.
        await asyncio.gather(*(self.stop(service) for service in reversed(self.services)))
        await asyncio.to_thread(self.servers.stop)
        self.state.release()

    async def migrate(self, service: str) -> None:
        """Bring a service's database to its newest schema.

        Raises:
            StartFailed: The migration failed; its last lines are in the message.
        """
        service = known_service(service)
        log = self.root / "log" / f"{service}.migrate.log"
        environment = await asyncio.to_thread(self.environment, service)
        process = spawn([*self._program(service), "migrate"], log, environment)
        try:
            await asyncio.to_thread(process.wait)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            raise StartFailed(f"the migration of {service} ended with {_ending(process)}:\n{log_tail(log)}")
        self._narrate(service, "schema is current")

    async def start(self, service: str) -> None:
        """Start one service and return when it is ready; nothing to do when it runs.

        Raises:
            StartFailed: It ends at once, or is not ready in time.
        """
        unit = self._units[known_service(service)]
        unit.wanted = True
        async with unit.launching:
            if unit.process is None or unit.process.poll() is not None:
                await self._launch(unit)
            await self._wait_ready(unit)

    async def stop(self, service: str) -> None:
        """Ask one service to drain and end; it stays down until `start`."""
        unit = self._units[known_service(service)]
        unit.wanted = False
        if unit.mark is None or unit.process is None:
            return
        by_itself = await asyncio.to_thread(stop_process, unit.mark, signal.SIGTERM, DRAIN_TIMEOUT_S)
        self._ended(unit)
        self._narrate(unit.service, "stopped" if by_itself else "did not drain in time and was killed")

    async def kill(self, service: str) -> None:
        """SIGKILL to one service, as a crash would; it stays down until `start`, so that a test decides when."""
        unit = self._units[known_service(service)]
        unit.wanted = False
        if unit.mark is not None:
            await asyncio.to_thread(kill_tree, unit.mark)
        self._ended(unit)
        self._narrate(unit.service, "killed")

    def kill_all(self) -> None:
        """SIGKILL to all services at once: the second Ctrl-C of somebody who will not wait."""
        for unit in self._units.values():
            unit.wanted = False
            if unit.mark is not None and (process := unit.mark.process()) is not None:
                process.kill()

    def _prepare(self) -> None:
        self._stop_leftovers()
        self.servers.start()
        self.certificates.issue_basic()
        # One after the other: PostgreSQL copies one template for all of them.
        for service in self.services:
            self.servers.ensure_database(service)
        (self.root / "run").mkdir(exist_ok=True)
        self._clock_offset_s = self.state.set_clock(self._clock)
        self._ports = self.state.ports()

    def _stop_leftovers(self) -> None:
        # Services of a launcher that was killed: they live on an old clock and hold the ports.
        for service in SERVICES:
            mark = self.state.service(service)
            if mark is not None and service in self._units:
                self._narrate(service, f"was left running by a launcher that died (process {mark.pid}); stopping it")
                stop_process(mark, signal.SIGTERM, DRAIN_TIMEOUT_S)
                self.state.record(service, None)

    async def _launch(self, unit: _Unit) -> None:
        environment = await asyncio.to_thread(self.environment, unit.service)
        unit.ready = False
        unit.process = spawn([*self._program(unit.service), "serve"], unit.log, environment)
        unit.mark = ProcessMark.of(unit.process.pid)
        unit.started_at = time.monotonic()
        self.state.record(unit.service, unit.mark)

    async def _wait_ready(self, unit: _Unit) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        address = f"127.0.0.1:{self._ports[unit.service].health}"
        while not await _healthy(address):
            if unit.process is None or unit.process.poll() is not None:
                ending = _ending(unit.process)
                self._ended(unit)
                raise StartFailed(f"{unit.service} ended with {ending} while starting:\n{log_tail(unit.log)}")
            if time.monotonic() > deadline:
                raise StartFailed(
                    f"{unit.service} is not ready after {READY_TIMEOUT_S:.0f} s; its log says:\n{log_tail(unit.log)}"
                )
            await asyncio.sleep(_WATCH_S)
        unit.ready = True
        self._narrate(unit.service, f"ready on {self.address(unit.service)} after {_since(unit.started_at):.1f} s")

    async def _watch(self) -> None:
        """Start again what falls, later each time, until cancelled."""
        starting: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for unit in self._units.values():
                    self._look(unit, starting)
                await asyncio.sleep(_WATCH_S)
        finally:
            for task in starting.values():
                task.cancel()
            await asyncio.gather(*starting.values(), return_exceptions=True)

    def _look(self, unit: _Unit, starting: dict[str, asyncio.Task[None]]) -> None:
        if (task := starting.get(unit.service)) is not None:
            if not task.done():
                return
            del starting[unit.service]
            # Not wanted: somebody stopped or killed it while it started, and the error says just that.
            if unit.wanted and not task.cancelled() and (error := task.exception()) is not None:
                self._fell(unit, str(error))
            return
        if not unit.wanted or unit.next_start_at > time.monotonic():
            return
        if unit.process is None:
            starting[unit.service] = asyncio.create_task(self.start(unit.service))
        elif unit.process.poll() is not None:
            if _since(unit.started_at) > _STEADY_S:
                unit.falls = 0
            self._fell(unit, f"ended with {_ending(unit.process)}")

    def _fell(self, unit: _Unit, why: str) -> None:
        self._ended(unit)
        pause_s = min(BACKOFF_FIRST_S * 2**unit.falls, BACKOFF_LAST_S)
        unit.falls += 1
        unit.next_start_at = time.monotonic() + pause_s
        self._narrate(unit.service, f"{why}; starting it again in {pause_s:.0f} s")

    def _ended(self, unit: _Unit) -> None:
        if unit.process is not None:
            if unit.process.poll() is None and unit.mark is not None:
                kill_tree(unit.mark)
            unit.process.poll()
        unit.process = None
        unit.mark = None
        unit.ready = False
        self.state.record(unit.service, None)


async def _healthy(address: str) -> bool:
    """Whether a service says on its plaintext health port that it can serve now."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with grpc.aio.insecure_channel(address) as channel:
        # grpcio-stubs know the blocking stub only; on an asyncio channel the call is awaited.
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _whole(work: Callable[[], None]) -> None:
    """Do blocking work in a thread; when cancelled, wait for its end, so that nothing starts behind a stop."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


async def _all_or_first_error(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all at once; when one fails, cancel the others, wait for them, and raise that one's error."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def _ending(process: subprocess.Popen[bytes] | None) -> str:
    code = process.poll() if process is not None else None
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit status {code}"


def _since(moment: float) -> float:
    return time.monotonic() - moment
