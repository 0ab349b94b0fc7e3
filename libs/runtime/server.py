"""The chassis of every service: mutual TLS, health, reflection, call chain, background loops, graceful drain."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from libs.runtime.admission import Admission
from libs.runtime.background import Loop, Supervisor
from libs.runtime.certificates import server_credentials
from libs.runtime.contract import required_rules
from libs.runtime.health import Health
from libs.runtime.interceptors import CallChain
from libs.runtime.logging import get_logger
from libs.runtime.settings import ServiceSettings
from libs.runtime.validation import compile_rules

log = get_logger("citycard.server")


async def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True)
class ServiceParts:
    """What a service hands to the chassis; built in its wiring.py.

    Attributes:
        name: `card`, `account`, ...
        register: Adds the servicers to the server.
        service_names: Full names of the offered services, for health, reflection and the rules of their methods.
        background: Name and coroutine function of each loop that runs beside the calls, until cancelled.
        ready: Raises when the service cannot serve now; asked every two seconds.
        close: Frees what the wiring opened, after the last call and the last loop.
    """

    name: str
    register: Callable[[grpc.aio.Server], None]
    service_names: tuple[str, ...]
    background: Sequence[Loop] = field(default=())
    ready: Callable[[], Awaitable[None]] = _nothing
    close: Callable[[], Awaitable[None]] = _nothing


class AddressInUse(Exception):
    """The server could not listen where its settings say."""


class Chassis:
    """One running service. `run` drives it in a process, tests drive it directly."""

    def __init__(self, parts: ServiceParts, settings: ServiceSettings, *, poll_s: float = 2.0) -> None:
        self._parts = parts
        self._settings = settings
        self._supervisor = Supervisor(parts.background)
        self.health = Health(parts.service_names, parts.ready, self._supervisor, poll_s=poll_s)
        self._server: grpc.aio.Server | None = None
        self._health_server: grpc.aio.Server | None = None
        self._watch: asyncio.Task[None] | None = None
        self._admission_watch: asyncio.Task[None] | None = None
        self.address = ""
        self.health_address = ""

    async def start(self, *, calls: bool = True) -> None:
        """Listen, start the loops, begin to look at readiness.

        Args:
            calls: False runs the background loops and health only (`relay`).

        Raises:
            ContractIncomplete: An offered method declares no role, or a rule of the schema is mistaken.
            AddressInUse: A port is taken.
        """
        rules = required_rules(self._parts.service_names)
        compile_rules(self._parts.service_names)
        await self.health.start()
        if self._settings.health_address:
            self._health_server = grpc.aio.server()
            health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, self._health_server)
            self.health_address = _bound(
                self._settings.health_address, self._health_server.add_insecure_port, self._settings.health_address
            )
            await self._health_server.start()
        if calls:
            admission = Admission(rules, self._settings)
            self._server = self._build_server(CallChain(self._parts.name, admission))
            self._admission_watch = asyncio.create_task(admission.watch(), name="admission")
            await self._server.start()
        self._supervisor.start()
        await self.health.look()
        self._watch = asyncio.create_task(self.health.watch(), name="readiness")
        if calls and self._settings.address_file:
            _write_whole(self._settings.address_file, self.address + "\n")
        log.info("server.started", address=self.address or None, health_address=self.health_address or None)

    def _build_server(self, chain: CallChain) -> grpc.aio.Server:
        settings = self._settings
        server = grpc.aio.server(
            interceptors=[chain],
            options=[
                ("grpc.max_receive_message_length", settings.message_bytes_max),
                ("grpc.max_send_message_length", settings.message_bytes_max),
                # Two servers on one port would share callers at random; a taken port is an error.
                ("grpc.so_reuseport", 0),
                ("grpc.max_concurrent_streams", settings.connection_streams_max),
                ("grpc.max_allowed_incoming_connections", settings.connections_max),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
            ],
        )
        self._parts.register(server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, server)
        offered = (*self._parts.service_names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        reflection.enable_server_reflection((*offered, reflection.SERVICE_NAME), server)
        credentials = server_credentials(settings)
        self.address = _bound(settings.listen_address, server.add_secure_port, settings.listen_address, credentials)
        return server

    async def stop(self) -> None:
        """Drain: not ready first, calls in flight may end within the drain timeout, then the loops, then the parts."""
        await self.health.drain()
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._server:
            await self._server.stop(self._settings.drain_timeout_s)
        if self._admission_watch:
            self._admission_watch.cancel()
            await asyncio.gather(self._admission_watch, return_exceptions=True)
        await self._supervisor.stop()
        try:
            await self._parts.close()
        finally:
            if self._health_server:
                await self._health_server.stop(0)
            if self._settings.address_file:
                self._settings.address_file.unlink(missing_ok=True)
        log.info("server.stopped")


async def run(parts: ServiceParts, settings: ServiceSettings, *, calls: bool = True) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    Args:
        parts: The service.
        settings: Its settings.
        calls: False runs the background loops only.

    Raises:
        ContractIncomplete, AddressInUse: As `Chassis.start`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    chassis = Chassis(parts, settings)
    try:
        await chassis.start(calls=calls)
        await stop.wait()
        log.info("server.draining", drain_timeout_s=settings.drain_timeout_s)
    finally:
        await chassis.stop()


def _bound(wanted: str, bind: Callable[..., int], *arguments: Any) -> str:
    """Listen and say where, with the port that was given and a host that this machine can reach."""
    port = 0
    with contextlib.suppress(RuntimeError):
        port = bind(*arguments)
    if not port:
        raise AddressInUse(f"cannot listen on {wanted}")
    host = wanted.rpartition(":")[0]
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"  # noqa: S104 (read, not bound)


def _write_whole(path: Path, text: str) -> None:
    # Written beside and moved: whoever waits for the file never reads half an address.
    half = path.with_name(path.name + ".new")
    half.write_text(text, encoding="utf-8")
    half.replace(path)
