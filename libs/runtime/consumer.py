"""The consumer: brings events to their handlers, each with its effect once, the indigestible to the dead letters."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import nats.errors
import nats.js.api
import nats.js.errors
from google.protobuf.message import DecodeError, Message
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from libs.runtime import telemetry
from libs.runtime.database import UnitOfWork
from libs.runtime.dead_letters import DeadLetter, DeadLetters
from libs.runtime.events import (
    EventMeta,
    check_nats,
    dead_letter_subject,
    ensure_dead_letters,
    ensure_stream,
    service_of,
    stream_name,
)
from libs.runtime.logging import get_logger
from libs.runtime.refusals import dependency_of

log = get_logger("citycard.consumer")

U = TypeVar("U", bound=UnitOfWork)
Handler = Callable[[Any, EventMeta, U], Awaitable[None]]


class Undigestible(Exception):
    """Raised by a handler: this event can never be handled, whatever is tried. The reason goes to the dead letters."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a consumer deals with the bus.

    Attributes:
        batch: Most events taken at once; all of them are kept alive until their turn.
        in_flight: Handlers at work at once; 1 keeps the order of the stream as far as there is one.
        ack_wait_s: The bus delivers again what was neither confirmed nor kept alive for so long, seconds.
        deliveries_max: After so many failed deliveries an event is buried.
        retry_s: Pause before the second delivery, seconds; it doubles up to `retry_s_max`.
        retry_s_max: Longest pause, seconds.
        idle_s: How long one wait for events takes, seconds; after each the consumer looks whether it still exists.
    """

    batch: int = 64
    in_flight: int = 1
    ack_wait_s: float = 30.0
    deliveries_max: int = 10
    retry_s: float = 0.5
    retry_s_max: float = 60.0
    idle_s: float = 5.0


class Consumer(Generic[U]):
    """Handles events of other services in transactions of this one.

    For each event: open a unit of work, write the event id to the inbox (already there: confirm and skip), call the
    handler, commit, confirm. Confirmation lost: delivered again, found in the inbox. Handler failed: delivered again
    after a growing pause, and buried after `deliveries_max`; but never buried because a dependency was away.

    Args:
        nats: A connection from `connect_nats`.
        unit_of_work: Makes the service's unit of work.
        service: The service that consumes.
        durable: Name of this consumer, unique within the service; the bus remembers its place under it, for ever.
        handlers: Coroutine function per event type; it must not commit, the consumer does.
        delivery: How to deal with the bus.
        replicas: Copies of a stream if the consumer has to make it.
    """

    def __init__(
        self,
        nats: NatsClient,
        unit_of_work: Callable[[], U],
        service: str,
        durable: str,
        handlers: Mapping[type[Message], Handler[U]],
        *,
        delivery: Delivery | None = None,
        replicas: int = 1,
    ) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._unit_of_work = unit_of_work
        self._service = service
        self._durable = f"{service}_{durable}"
        self._delivery = delivery or Delivery()
        self._replicas = replicas
        self._types = {kind.DESCRIPTOR.full_name: (kind, handler) for kind, handler in handlers.items()}
        # By identity: a message has no hash. What was taken from the bus and is not settled yet.
        self._waiting: dict[int, Msg] = {}
        self._handled = telemetry.counter(telemetry.INBOX_HANDLED, "Events whose effect was committed")
        self._duplicates = telemetry.counter(telemetry.INBOX_DUPLICATES, "Events that had had their effect")
        self._retried = telemetry.counter(telemetry.INBOX_RETRIED, "Deliveries that failed and will be repeated")
        self._dead = telemetry.counter(telemetry.INBOX_DEAD, "Events buried as indigestible")

    async def run(self) -> None:
        """Consume until cancelled. Bus, stream, consumer or database being away is waited out, not a crash."""
        subjects: dict[str, list[str]] = {}
        for subject in sorted(self._types):
            subjects.setdefault(service_of(subject), []).append(subject)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_alive())
                group.create_task(self._try_buried_again())
                for source, wanted in subjects.items():
                    group.create_task(self._consume(source, wanted))
        finally:
            # What was taken and not begun goes back at once instead of after ack_wait_s.
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                async with asyncio.timeout(1):
                    for message in list(self._waiting.values()):
                        await message.nak()
            self._waiting.clear()

    async def _consume(self, source: str, subjects: list[str]) -> None:
        subscription: JetStreamContext.PullSubscription | None = None
        pause = self._delivery.retry_s
        while True:
            try:
                await check_nats(self._nats)
                if subscription is None:
                    subscription = await self._bind(source, subjects)
                messages = await self._fetch(subscription, source)
                well = await self._handle_all(messages)
            except Exception as error:
                if dependency_of(error) is None and not isinstance(error, nats.errors.Error):
                    raise
                log.warning("consumer.waiting", source=source, error=repr(error)[:300])
                if subscription is not None:
                    with contextlib.suppress(nats.errors.Error):
                        await subscription.unsubscribe()
                subscription, well = None, False
            if well:
                pause = self._delivery.retry_s
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, 10.0)

    async def _bind(self, source: str, subjects: list[str]) -> JetStreamContext.PullSubscription:
        await ensure_stream(self._js, source, replicas=self._replicas)
        config = nats.js.api.ConsumerConfig(
            durable_name=self._durable,
            filter_subjects=subjects,
            deliver_policy=nats.js.api.DeliverPolicy.ALL,
            ack_policy=nats.js.api.AckPolicy.EXPLICIT,
            ack_wait=self._delivery.ack_wait_s,
            # We count ourselves: the bus would drop an event silently after its own limit.
            max_deliver=-1,
            max_ack_pending=max(1000, 4 * self._delivery.batch),
        )
        await self._js.add_consumer(stream_name(source), config)
        return await self._js.pull_subscribe_bind(durable=self._durable, stream=stream_name(source))

    async def _fetch(self, subscription: JetStreamContext.PullSubscription, source: str) -> list[Msg]:
        try:
            return await subscription.fetch(self._delivery.batch, timeout=self._delivery.idle_s)
        except TimeoutError:
            # Nothing came, or there is nothing left to come from: silence does not tell. Asking does.
            await self._js.consumer_info(stream_name(source), self._durable)
            return []

    async def _handle_all(self, messages: list[Msg]) -> bool:
        """Handle a batch; False when a dependency was away, so that the next batch waits a little."""
        self._waiting.update((id(message), message) for message in messages)
        if self._delivery.in_flight == 1:
            results = [await self._handle(message) for message in messages]
            return all(results)
        slots = asyncio.Semaphore(self._delivery.in_flight)

        async def one(message: Msg) -> bool:
            async with slots:
                return await self._handle(message)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(message)) for message in messages]
        return all(task.result() for task in tasks)

    async def _handle(self, message: Msg) -> bool:
        try:
            well = await self._settle(message)
        except Exception as error:
            if dependency_of(error) is None and not isinstance(error, nats.errors.Error):
                raise
            # Even burying failed, or confirming: it will be delivered again.
            log.warning("consumer.unsettled", subject=message.subject, error=repr(error)[:300])
            well = False
        # Not in a `finally`: what a cancellation interrupts is still ours, and is given back by `run`.
        self._waiting.pop(id(message), None)
        return well

    async def _settle(self, message: Msg) -> bool:
        delivery_count = message.metadata.num_delivered or 1
        try:
            meta = EventMeta.read(message.subject, message.headers or {}, delivery_count)
            event = self._parse(message.subject, message.data)
        except (ValueError, Undigestible) as mistake:
            await self._bury(message, None, str(mistake), delivery_count)
            return True
        return await self._deliver(message, event, meta)

    def _parse(self, subject: str, payload: bytes) -> Message:
        known = self._types.get(subject)
        if known is None:
            raise Undigestible(f"no handler for {subject}")
        try:
            return known[0].FromString(payload)
        except DecodeError:
            raise Undigestible(f"the payload is no {subject}") from None

    async def _deliver(self, message: Msg, event: Message, meta: EventMeta) -> bool:
        labels = {"consumer": self._durable, "type": message.subject}
        context = telemetry.remote_context({"traceparent": meta.traceparent})
        name = f"{message.subject} {self._durable}"
        with telemetry.tracer().start_as_current_span(name, context, SpanKind.CONSUMER) as span:
            try:
                fresh = await self._apply(event, meta)
            except Undigestible as reason:
                await self._bury(message, meta, str(reason), meta.delivery_count)
                return True
            except Exception as error:
                span.set_status(trace.StatusCode.ERROR)
                return await self._retry(message, meta, error)
            await message.ack()
            (self._handled if fresh else self._duplicates).add(1, labels)
            log.debug("event.handled" if fresh else "event.known", type=message.subject, event_id=str(meta.event_id))
        return True

    async def _apply(self, event: Message, meta: EventMeta) -> bool:
        """The one transaction: inbox row and effect. False when the effect was there already."""
        _, handler = self._types[event.DESCRIPTOR.full_name]
        async with self._unit_of_work() as uow:
            if not await uow.inbox.claim(self._durable, meta.event_id):
                return False
            await handler(event, meta, uow)
            await uow.commit()
        return True

    async def _retry(self, message: Msg, meta: EventMeta, error: Exception) -> bool:
        away = dependency_of(error)
        if away is None and meta.delivery_count >= self._delivery.deliveries_max:
            log.error("event.given_up", type=meta.type, event_id=str(meta.event_id), exc_info=error)
            await self._bury(message, meta, _reason_of(error), meta.delivery_count)
            return True
        exponent = min(meta.delivery_count - 1, 16)
        pause = min(self._delivery.retry_s * 2**exponent, self._delivery.retry_s_max)
        log.warning(
            "event.retry_later",
            type=meta.type,
            event_id=str(meta.event_id),
            delivery_count=meta.delivery_count,
            pause_s=pause,
            **({"dependency": away} if away else {"exc_info": error}),
        )
        self._retried.add(1, {"consumer": self._durable, "type": message.subject})
        await message.nak(delay=pause)
        return away is None

    async def _bury(self, message: Msg, meta: EventMeta | None, reason: str, delivery_count: int) -> None:
        """Row first, then the notice, then the bus forgets: a crash in between repeats, it never loses."""
        # Without a readable id the place in the stream is the identity.
        where = f"{message.metadata.stream}:{message.metadata.sequence.stream}"
        event_id = meta.event_id if meta else uuid.uuid5(uuid.NAMESPACE_URL, where)
        async with self._unit_of_work() as uow:
            await uow.inbox.bury(
                self._durable,
                event_id,
                subject=message.subject,
                payload=message.data,
                reason=reason,
                delivery_count=delivery_count,
                traceparent=meta.traceparent if meta else "",
                occurred_at=meta.occurred_at if meta else None,
            )
            await uow.commit()
        await ensure_dead_letters(self._js, replicas=self._replicas)
        headers = {
            **(message.headers or {}),
            "Nats-Msg-Id": f"{self._durable}:{event_id}",
            "citycard-consumer": self._durable,
            "citycard-reason": " ".join(reason.split())[:500],
            "citycard-subject": message.subject,
        }
        await self._js.publish(dead_letter_subject(self._service), message.data, headers=headers)
        await message.term()
        self._dead.add(1, {"consumer": self._durable, "type": message.subject})
        log.error("event.buried", type=message.subject, event_id=str(event_id), why=reason[:500])

    async def _try_buried_again(self) -> None:
        """Give buried events another try when somebody asked for it (`DeadLetters.ask`)."""
        while True:
            await asyncio.sleep(self._delivery.idle_s)
            try:
                async with self._unit_of_work() as uow:
                    asked = await DeadLetters(uow.connection).asked(self._durable)
                for event_id in asked:
                    await self._try_again(event_id)
            except Exception as error:
                if dependency_of(error) is None:
                    raise
                log.warning("consumer.replay_waits", error=repr(error)[:300])

    async def _try_again(self, event_id: uuid.UUID) -> None:
        """Effect, inbox row and the end of the letter in one transaction; or the letter with its new reason."""
        try:
            async with self._unit_of_work() as uow:
                letters = DeadLetters(uow.connection)
                letter = await letters.take(self._durable, event_id)
                if letter is None:
                    return
                event = self._parse(letter.subject, letter.payload)
                if await uow.inbox.claim(self._durable, event_id):
                    _, handler = self._types[letter.subject]
                    await handler(event, _meta_of(letter), uow)
                await letters.end(self._durable, event_id)
                await uow.commit()
            self._handled.add(1, {"consumer": self._durable, "type": letter.subject})
            log.info("event.dug_out", type=letter.subject, event_id=str(event_id))
        except Exception as error:
            if dependency_of(error) is not None:
                raise
            reason = str(error) if isinstance(error, Undigestible) else _reason_of(error)
            async with self._unit_of_work() as uow:
                await DeadLetters(uow.connection).failed_again(self._durable, event_id, reason)
                await uow.commit()
            log.exception("event.buried_again", event_id=str(event_id), why=reason[:500])

    async def _keep_alive(self) -> None:
        """Tell the bus that what we hold is not lost: its turn may be minutes away behind a long handler."""
        while True:
            await asyncio.sleep(self._delivery.ack_wait_s / 3)
            for message in list(self._waiting.values()):
                with contextlib.suppress(nats.errors.Error):
                    await message.in_progress()


def _reason_of(error: Exception) -> str:
    """Name and first line: what a database adds below it quotes the row."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def _meta_of(letter: DeadLetter) -> EventMeta:
    assert letter.occurred_at is not None, "a letter without readable headers is never asked for"
    return EventMeta(
        event_id=letter.event_id,
        type=letter.subject,
        source=f"citycard://service/{service_of(letter.subject)}",
        occurred_at=letter.occurred_at,
        delivery_count=letter.delivery_count + 1,
        traceparent=letter.traceparent,
    )
