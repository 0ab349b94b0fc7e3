"""Clients of our own services: mutual TLS, a time limit from the contract, retries where the contract allows."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from opentelemetry import propagate

from libs.runtime.certificates import check_pair
from libs.runtime.contract import rules_by_name, rules_of
from libs.runtime.settings import ENV_PREFIX, ServiceSettings, SettingsInvalid
from libs.runtime.watched import Watched

T = TypeVar("T")

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
_RETRY = {
    # Together below a second: who serves a caller must not wait longer for a peer than the caller does.
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of one party.

    Attributes:
        ca: Certificates that the other side must descend from.
        cert: Own certificate chain.
        key: Its private key.
    """

    ca: Path
    cert: Path
    key: Path

    @classmethod
    def of(cls, settings: ServiceSettings) -> "TlsFiles":
        """The files of a service."""
        return cls(settings.tls_ca_file, settings.tls_cert_file, settings.tls_key_file)

    def checked_credentials(self) -> grpc.ChannelCredentials:
        """The same, and the key must be that of the certificate.

        Raises:
            ValueError, OSError: It is not, or a file is missing.
        """
        check_pair(self.key.read_bytes(), self.cert.read_bytes())
        return self.credentials()

    def credentials(self) -> grpc.ChannelCredentials:
        """Read them for a channel."""
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), self.key.read_bytes(), self.cert.read_bytes())


def service_config(services: Iterable[ServiceDescriptor]) -> str:
    """The gRPC service config of some services, as JSON.

    Round robin over all addresses of the name, because one connection sticks to one process; up to four attempts on
    UNAVAILABLE for methods that declare themselves idempotent or without side effects, and for no other.
    """
    names = [
        {"service": service.full_name, "method": method.name}
        for service in services
        for method in service.methods
        if rules_of(method).repeatable
    ]
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if names:
        config["methodConfig"] = [{"name": names, "retryPolicy": _RETRY}]
    return json.dumps(config)


def _options(services: Iterable[ServiceDescriptor], message_bytes_max: int) -> list[tuple[str, Any]]:
    return [
        ("grpc.service_config", service_config(services)),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.max_send_message_length", message_bytes_max),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # One pool of connections per channel: two identities in one process must never share a connection.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]


def _timeout_s(method: Any, explicit: float | None) -> float | None:
    if explicit is not None:
        return explicit
    name = method.decode() if isinstance(method, bytes) else str(method)
    rules = rules_by_name(name.lstrip("/"))
    return rules.timeout_ms / 1000 if rules and rules.timeout_ms else None


def _with_trace(metadata: Any) -> list[tuple[str, Any]]:
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return [*(metadata or ()), *carrier.items()]


def _aio_details(details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
    return grpc.aio.ClientCallDetails(
        details.method,
        _timeout_s(details.method, details.timeout),
        grpc.aio.Metadata(*_with_trace(details.metadata)),
        details.credentials,
        details.wait_for_ready,
    )


# grpc.aio files an interceptor under the first base class that it finds: four shapes need four objects.
class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_aio_details(client_call_details), request)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_aio_details(client_call_details), request)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(_aio_details(client_call_details), request_iterator)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(_aio_details(client_call_details), request_iterator)


@dataclass(frozen=True, slots=True)
class _SyncDetails(grpc.ClientCallDetails):
    method: Any
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: Any
    compression: Any


def _sync_details(details: Any) -> _SyncDetails:
    return _SyncDetails(
        details.method,
        _timeout_s(details.method, details.timeout),
        _with_trace(details.metadata),
        details.credentials,
        details.wait_for_ready,
        details.compression,
    )


class _Sync(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(_sync_details(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(_sync_details(client_call_details), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(_sync_details(client_call_details), request_iterator)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(_sync_details(client_call_details), request_iterator)


def open_channel(
    target: str,
    tls: TlsFiles,
    services: Iterable[ServiceDescriptor] = (),
    *,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
) -> grpc.aio.Channel:
    """An asynchronous channel to one of our services.

    When the certificate files change, calls begin on a new connection: a rotation needs no restart. Every call waits at
    most the `timeout_ms` that its method declares, unless it is given a timeout of its own.

    Args:
        target: `host:port`, or any gRPC target; a name with several addresses is balanced.
        tls: Who we are, and whom we trust.
        services: Their repeatable methods are retried.
        message_bytes_max: Longest message either way, in bytes.
    """
    options = _options(services, message_bytes_max)
    interceptors = [_UnaryUnary(), _UnaryStream(), _StreamUnary(), _StreamStream()]
    return RotatingChannel(
        tls,
        lambda credentials: grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors),
    )


def open_channel_sync(
    target: str,
    tls: TlsFiles,
    services: Iterable[ServiceDescriptor] = (),
    *,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
) -> grpc.Channel:
    """The same for command line programs without an event loop."""
    channel = grpc.secure_channel(target, tls.credentials(), options=_options(services, message_bytes_max))
    return grpc.intercept_channel(channel, _Sync())


def services_of_stub(stub: object) -> list[ServiceDescriptor]:
    """The services of the proto file that a generated stub class comes from.

    Raises:
        TypeError: Not a class of a `*_pb2_grpc` module.
    """
    return list(_file_of_stub(stub).services_by_name.values())


def _file_of_stub(stub: object) -> FileDescriptor:
    module_name = str(getattr(stub, "__module__", ""))
    path = module_name.removesuffix("_pb2_grpc").replace(".", "/") + ".proto"
    if not module_name.endswith("_pb2_grpc") or module_name not in sys.modules:
        raise TypeError(f"{stub!r} is no generated stub")
    return descriptor_pool.Default().FindFileByName(path)


class RotatingChannel(grpc.aio.Channel):
    """A channel that begins anew when its certificate files have changed; stubs made of it go on to work.

    Calls that are under way end on the connection they began on, within `GRACE_S`.

    Args:
        tls: The files; looked at, at most every other second, when a call begins.
        make: Opens a channel with the credentials of now.

    Raises:
        ValueError, OSError: The files cannot be used.
    """

    GRACE_S = 600.0

    def __init__(self, tls: TlsFiles, make: Callable[[grpc.ChannelCredentials], grpc.aio.Channel]) -> None:
        self._files = Watched([tls.ca, tls.cert, tls.key], tls.checked_credentials)
        self._make = make
        self._channel = make(self._files.value)
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> grpc.aio.Channel:
        """The channel that a call of now begins on."""
        if self._files.refresh():
            old, self._channel = self._channel, self._make(self._files.value)
            ending = asyncio.ensure_future(old.close(self.GRACE_S))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        return self._channel

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Close it, and what is left of older ones; calls in flight end as cancelled after `grace` seconds."""
        for ending in self._ending:
            ending.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """As of the channel of now."""
        return self.current.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """As of the channel of now."""
        await self.current.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """As of the channel of now."""
        await self.current.channel_ready()

    def _shape(self, shape: str, *arguments: Any, **named: Any) -> Any:
        made: tuple[grpc.aio.Channel, Any] | None = None

        def call(*call_arguments: Any, **call_named: Any) -> Any:
            nonlocal made
            channel = self.current
            if made is None or made[0] is not channel:
                made = channel, getattr(channel, shape)(*arguments, **named)
            return made[1](*call_arguments, **call_named)

        return call

    def unary_unary(self, *arguments: Any, **named: Any) -> Any:
        """A callable that begins on the channel of its moment."""
        return self._shape("unary_unary", *arguments, **named)

    def unary_stream(self, *arguments: Any, **named: Any) -> Any:
        """A callable that begins on the channel of its moment."""
        return self._shape("unary_stream", *arguments, **named)

    def stream_unary(self, *arguments: Any, **named: Any) -> Any:
        """A callable that begins on the channel of its moment."""
        return self._shape("stream_unary", *arguments, **named)

    def stream_stream(self, *arguments: Any, **named: Any) -> Any:
        """A callable that begins on the channel of its moment."""
        return self._shape("stream_stream", *arguments, **named)


class Clients:
    """The channels of one process to its peers, opened at first use and closed together.

    Args:
        settings: Gives the certificate and `service_addresses`.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._channels: dict[str, grpc.aio.Channel] = {}

    def channel(self, service: str, services: Iterable[ServiceDescriptor] = ()) -> grpc.aio.Channel:
        """A channel to a service by its name, `card`.

        Raises:
            SettingsInvalid: `service_addresses` does not name the service.
        """
        services = list(services)
        key = ",".join([service, *sorted(one.full_name for one in services)])
        if key not in self._channels:
            address = self._settings.service_addresses.get(service)
            if address is None:
                raise SettingsInvalid([f"{ENV_PREFIX}SERVICE_ADDRESSES: the address of {service} is missing"])
            self._channels[key] = open_channel(
                address, TlsFiles.of(self._settings), services, message_bytes_max=self._settings.message_bytes_max
            )
        return self._channels[key]

    def stub(self, stub: Callable[[grpc.aio.Channel], T]) -> T:
        """A stub of a generated class: `clients.stub(CardServiceStub)`.

        Raises:
            SettingsInvalid: `service_addresses` does not name the service.
        """
        file = _file_of_stub(stub)
        return stub(self.channel(file.package.split(".")[1], file.services_by_name.values()))

    async def close(self) -> None:
        """Close every channel; calls in flight end as cancelled."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()
