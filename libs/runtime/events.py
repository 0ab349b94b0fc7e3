"""The event bus: connection, streams, and what stands in an event's headers."""

import asyncio
import ssl
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import nats.errors
import nats.js.api
import nats.js.errors
from nats.aio.client import Client as NatsClient

from libs.runtime.logging import get_logger
from libs.runtime.settings import ServiceSettings

if TYPE_CHECKING:
    from nats.js import JetStreamContext

log = get_logger("citycard.events")

SERVICES = ("card", "account", "clearing", "blacklist", "terminal_gw")
DEAD_LETTER_STREAM = "citycard_dead_letter"
# How long the bus keeps an event for a consumer that is away. The outbox can publish again what is younger than its
# own keeping time, and inboxes must remember longer than either.
STREAM_AGE_S_MAX = 30 * 24 * 3600
DUPLICATE_WINDOW_S = 600


def stream_name(service: str) -> str:
    """The stream that keeps the events of a service."""
    return f"citycard_{service}"


def stream_subjects(service: str) -> str:
    """All subjects of a service's events."""
    return f"citycard.{service}.v1.>"


def dead_letter_subject(service: str) -> str:
    """Where a service tells that it buried an event."""
    return f"citycard.dead_letter.{service}"


def service_of(subject: str) -> str:
    """The service that publishes on a subject, from `citycard.<service>.v1.<Event>`.

    Raises:
        ValueError: The subject is not of that form.
    """
    parts = subject.split(".")
    if len(parts) < 4 or parts[0] != "citycard":
        raise ValueError(f"{subject} is not a subject of ours")
    return parts[1]


@dataclass(frozen=True, slots=True)
class EventMeta:
    """What the headers say of an event.

    Attributes:
        event_id: Unique for ever; what the inbox remembers.
        type: Full name of the message type.
        source: Who published, `citycard://service/card`.
        occurred_at: The publisher's clock at the moment of the fact.
        delivery_count: 1 at the first delivery.
        traceparent: W3C trace context of the fact; may be empty.
    """

    event_id: uuid.UUID
    type: str
    source: str
    occurred_at: datetime
    delivery_count: int
    traceparent: str = ""

    @classmethod
    def read(cls, subject: str, headers: Mapping[str, str], delivery_count: int) -> "EventMeta":
        """Read headers.

        Raises:
            ValueError: One is missing or mistaken; the text says which.
        """
        try:
            event_id = uuid.UUID(headers["ce-id"])
            occurred_at = datetime.fromisoformat(headers["ce-time"])
        except KeyError as missing:
            raise ValueError(f"header {missing.args[0]} is missing") from None
        return cls(
            event_id=event_id,
            type=headers.get("ce-type", subject),
            source=headers.get("ce-source", ""),
            occurred_at=occurred_at,
            delivery_count=delivery_count,
            traceparent=headers.get("traceparent", ""),
        )


def event_headers(
    event_id: uuid.UUID, subject: str, service: str, occurred_at: datetime, traceparent: str
) -> dict[str, str]:
    """The headers of an event; `Nats-Msg-Id` lets the stream drop a repetition within its duplicate window."""
    headers = {
        "Nats-Msg-Id": str(event_id),
        "ce-specversion": "1.0",
        "ce-id": str(event_id),
        "ce-type": subject,
        "ce-source": f"citycard://service/{service}",
        "ce-time": occurred_at.isoformat(),
    }
    if traceparent:
        headers["traceparent"] = traceparent
    return headers


async def connect_nats(settings: ServiceSettings, *, wait_s: float = 5.0) -> NatsClient:
    """Connect to the event bus and stay connected, however long it is away.

    Returns as soon as the connection stands, and after `wait_s` seconds even without: a service must come up while
    the bus is down. Connecting then goes on beside it; relay and consumers wait for it.
    """

    async def told(error: Exception) -> None:
        log.warning("events.connection", error=repr(error)[:300])

    async def lost() -> None:
        log.warning("events.disconnected")

    async def back() -> None:
        log.info("events.reconnected")

    tls: ssl.SSLContext | None = None
    if settings.nats_url.startswith("tls://"):
        tls = ssl.create_default_context(cafile=str(settings.tls_ca_file))
        tls.load_cert_chain(str(settings.tls_cert_file), str(settings.tls_key_file))
    client = _BusClient()
    client.connecting = asyncio.create_task(
        client.connect(
            servers=settings.nats_url.split(","),
            name=f"citycard-{settings.service}",
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=3,
            ping_interval=20,
            max_outstanding_pings=2,
            error_cb=told,
            disconnected_cb=lost,
            reconnected_cb=back,
            user_credentials=str(settings.nats_credentials_file) if settings.nats_credentials_file else None,
            tls=tls,
        ),
        name="events-connect",
    )
    done, _ = await asyncio.wait([client.connecting], timeout=wait_s)
    if done:
        client.connecting.result()
    else:
        log.warning("events.not_connected_yet")
    return client


class _BusClient(NatsClient):
    """A client that may still be at its first connection when it is closed."""

    connecting: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self.connecting is not None and not self.connecting.done():
            self.connecting.cancel()
            await asyncio.gather(self.connecting, return_exceptions=True)
            return
        await super().close()


async def check_nats(client: NatsClient) -> None:
    """Raise when the event bus is away; for `ServiceParts.ready` of services that cannot work without it."""
    if not client.is_connected:
        raise nats.errors.ConnectionReconnectingError


async def ensure_stream(js: "JetStreamContext", service: str, *, replicas: int = 1) -> None:
    """Make the stream of a service's events unless it is there; what an operator changed stays as it is."""
    await _ensure(js, stream_name(service), stream_subjects(service), replicas)


async def ensure_dead_letters(js: "JetStreamContext", *, replicas: int = 1) -> None:
    """Make the stream that tells operators of buried events unless it is there."""
    await _ensure(js, DEAD_LETTER_STREAM, "citycard.dead_letter.>", replicas)


async def ensure_streams(js: "JetStreamContext", services: Iterable[str] = SERVICES, *, replicas: int = 1) -> None:
    """Make the streams of all services and of the dead letters; harmless to repeat, and from two places at once."""
    for service in services:
        await ensure_stream(js, service, replicas=replicas)
    await ensure_dead_letters(js, replicas=replicas)


async def _ensure(js: "JetStreamContext", name: str, subjects: str, replicas: int) -> None:
    try:
        await js.stream_info(name)
        return
    except nats.js.errors.NotFoundError:
        pass
    config = nats.js.api.StreamConfig(
        name=name,
        subjects=[subjects],
        storage=nats.js.api.StorageType.FILE,
        retention=nats.js.api.RetentionPolicy.LIMITS,
        max_age=STREAM_AGE_S_MAX,
        duplicate_window=DUPLICATE_WINDOW_S,
        num_replicas=replicas,
    )
    try:
        await js.add_stream(config)
        log.info("events.stream_created", stream=name)
    except nats.js.errors.BadRequestError:
        # Another process was faster with a slightly other configuration: there is a stream, and that is what we want.
        await js.stream_info(name)
