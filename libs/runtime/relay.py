"""The relay: takes events from the outbox to the bus, in order, once their transaction is committed."""

import asyncio
import contextlib
from typing import Any

import psycopg
from nats.aio.client import Client as NatsClient
from sqlalchemy import Row, func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.runtime import telemetry
from libs.runtime.events import check_nats, ensure_stream, event_headers
from libs.runtime.housekeeping import Keep, prune
from libs.runtime.logging import get_logger
from libs.runtime.outbox import WAKE_CHANNEL
from libs.runtime.refusals import dependency_of
from libs.runtime.tables import TABLES

log = get_logger("citycard.relay")

# One round takes at most this much into memory.
_ROUND_EVENTS_MAX = 500
_ROUND_BYTES_MAX = 8 * 1024 * 1024
_PRUNE_EVERY_S = 60.0


class Relay:
    """Publishes the outbox of one service. Several relays of one database share the work and harm nothing.

    Args:
        engine: The service's database.
        nats: A connection from `connect_nats`.
        service: Whose events; named in the headers and in the stream.
        replicas: Copies of the stream if the relay has to make it.
        poll_s: Longest sleep, seconds, when no notification comes (a pooler may swallow them).
        ack_timeout_s: How long the bus may take to confirm a round, seconds.
        keep: How long the runtime's rows stay; the relay clears them away, once a minute.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        nats: NatsClient,
        service: str,
        *,
        replicas: int = 1,
        poll_s: float = 1.0,
        ack_timeout_s: float = 5.0,
        keep: Keep | None = None,
    ) -> None:
        self._engine = engine
        self._nats = nats
        self._js = nats.jetstream()
        self._service = service
        self._replicas = replicas
        self._poll_s = poll_s
        self._ack_timeout_s = ack_timeout_s
        self._keep = keep or Keep()
        self._wake = asyncio.Event()
        self._pruned_at = 0.0
        self._published = telemetry.counter(telemetry.OUTBOX_PUBLISHED, "Events confirmed by the bus")
        self._failed = telemetry.counter(telemetry.OUTBOX_FAILED, "Events that the bus did not confirm in time")

    async def run(self) -> None:
        """Publish until cancelled. The bus or the database being away is waited out, not a crash."""
        listening = asyncio.create_task(self._listen(), name="outbox-listen")
        stream_known = False
        try:
            while True:
                self._wake.clear()
                try:
                    await check_nats(self._nats)
                    if not stream_known:
                        await ensure_stream(self._js, self._service, replicas=self._replicas)
                        stream_known = True
                    found, published = await self.publish_round()
                    stream_known = found == published
                    if found and found == published:
                        continue
                    await self._prune()
                except Exception as error:
                    if dependency_of(error) is None:
                        raise
                    stream_known = False
                    log.warning("relay.waiting", error=repr(error)[:300])
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_s):
                        await self._wake.wait()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def publish_round(self) -> tuple[int, int]:
        """Publish the oldest waiting events that no other relay holds.

        Returns:
            How many were taken, and how many of them the bus confirmed; the others stay and are taken again.
        """
        async with self._engine.begin() as connection:
            rows = await self._take(connection)
            if not rows:
                return 0, 0
            confirmed = await self._publish(rows)
            if confirmed:
                statement = update(TABLES.outbox).where(TABLES.outbox.c.id.in_(confirmed))
                await connection.execute(statement.values(published_at=func.now()))
        self._published.add(len(confirmed), {"service": self._service})
        if len(confirmed) < len(rows):
            self._failed.add(len(rows) - len(confirmed), {"service": self._service})
        return len(rows), len(confirmed)

    async def _take(self, connection: AsyncConnection) -> list[Row[Any]]:
        outbox = TABLES.outbox
        waiting = (
            select(outbox.c.id, func.octet_length(outbox.c.payload).label("bytes"))
            .where(outbox.c.published_at.is_(None))
            .order_by(outbox.c.id)
            .limit(_ROUND_EVENTS_MAX)
            .with_for_update(skip_locked=True)
        )
        ids: list[int] = []
        total = 0
        for row in await connection.execute(waiting):
            total += row.bytes
            if ids and total > _ROUND_BYTES_MAX:
                break
            ids.append(row.id)
        if not ids:
            return []
        query = select(outbox).where(outbox.c.id.in_(ids)).order_by(outbox.c.id)
        return list(await connection.execute(query))

    async def _publish(self, rows: list[Row[Any]]) -> list[int]:
        """Send all, then wait for all: the round trip is paid once per round."""
        acks: dict[asyncio.Future[Any], int] = {}
        error: BaseException | None = None
        try:
            async with asyncio.timeout(self._ack_timeout_s):
                for row in rows:
                    headers = event_headers(row.event_id, row.subject, self._service, row.occurred_at, row.traceparent)
                    ack = await self._js.publish_async(row.subject, bytes(row.payload), headers=headers)
                    acks[ack] = row.id
                await asyncio.wait(acks)
        except Exception as failure:
            if dependency_of(failure) is None and not isinstance(failure, TimeoutError):
                raise
            error = failure
        confirmed = []
        for ack, row_id in acks.items():
            if not ack.done():
                # Cancelling also takes it out of the client's table of pending confirmations.
                ack.cancel()
            elif ack.exception() is None:
                confirmed.append(row_id)
            else:
                error = ack.exception()
        if error is not None or len(confirmed) < len(rows):
            log.warning("relay.unconfirmed", count=len(rows) - len(confirmed), error=repr(error)[:300])
        return confirmed

    async def _listen(self) -> None:
        """Wake the relay at every commit that wrote events; losing this connection only costs latency."""
        address = self._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
                    await connection.execute(f"LISTEN {WAKE_CHANNEL}")
                    self._wake.set()
                    async for _ in connection.notifies():
                        self._wake.set()
            except psycopg.Error as error:
                log.warning("relay.listen_lost", error=repr(error)[:300])
            await asyncio.sleep(self._poll_s)

    async def _prune(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._pruned_at < _PRUNE_EVERY_S:
            return
        self._pruned_at = now
        try:
            await prune(self._engine, self._keep)
        except SQLAlchemyError as error:
            # Old rows cost space, not truth: a role without DELETE keeps them for ever.
            log.warning("relay.prune_failed", error=repr(error)[:300])
