"""The fast copy of the list in Redis: one hash, its stamp in it, so that both are there or neither is.

The hash holds a field for every listed card and the field `stamp`, version and chain hash of the list that it is a
copy of. A copy is believed only if its stamp is that of the newest version: Redis empty, down, restored from last
week or filled by another database answers nothing, and the database answers instead. One key and not one per card,
because Redis may drop keys one by one when its memory is short, and a dropped card would look like one not listed.
"""

import asyncio
import json
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from libs.runtime.logging import get_logger
from services.blacklist.adapters.rows import entry_of_row
from services.blacklist.adapters.sql import SqlEntries
from services.blacklist.adapters.tables import ENTRY, LIST_CHANGE, LIST_HEAD
from services.blacklist.domain.chain import Head
from services.blacklist.domain.entry import CardKey, Entry, Listing, ListMode, ListReason

log = get_logger("citycard.blacklist.redis")

_STAMP: Final = "stamp"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS_A_PAGE: Final = 5000
# A copy that nobody follows any more (a test's database, an old release) goes away by itself.
_EXPIRE_S: Final = 7 * 24 * 3600
# After a failure the database answers at once for so long, instead of each call waiting for its own timeout.
_REST_S: Final = 1.0
# KEYS: the hash. ARGV: stamp before, stamp after, number of fields to set, field value ..., field to delete ...
_APPLY: Final = """
if redis.call('HGET', KEYS[1], 'stamp') ~= ARGV[1] then return 0 end
local set = tonumber(ARGV[3])
for i = 4, 2 * set + 3, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = 2 * set + 4, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
redis.call('HSET', KEYS[1], 'stamp', ARGV[2])
redis.call('EXPIRE', KEYS[1], 604800)
return 1
"""


class NoFastCopy:
    """The fast copy of a deployment without Redis."""

    async def look(self, card: CardKey, head: Head) -> tuple[Entry | None] | None:
        """Knows nothing."""
        return None


class RedisCopy:
    """The port `FastCopy` on Redis, and the loop that keeps the copy up to date.

    Args:
        redis: The client; its timeouts bound what a call can lose to a Redis that hangs.
        engine: The truth.
        poll_s: How often to look for changes that nobody told of, seconds.
    """

    def __init__(self, redis: Redis, engine: AsyncEngine, poll_s: float) -> None:
        self._redis = redis
        self._engine = engine
        self._poll_s = poll_s
        self._key: str | None = None
        self._wake = asyncio.Event()
        self._rest_until = 0.0
        self._well = True

    def wake(self) -> None:
        """The list changed, or the copy was found behind: follow now."""
        self._wake.set()

    async def look(self, card: CardKey, head: Head) -> tuple[Entry | None] | None:
        """One HMGET of stamp and card; see the port."""
        loop = asyncio.get_running_loop()
        if self._key is None or loop.time() < self._rest_until:
            return None
        try:
            stamp, value = await _awaited(self._redis.hmget(self._key, [_STAMP, str(card)]))
        except (RedisError, OSError, TimeoutError):
            self._rest_until = loop.time() + _REST_S
            return None
        if stamp is None or stamp.decode() != head.stamp:
            self.wake()
            return None
        return (None if value is None else _entry(card, value),)

    async def run(self) -> None:
        """Follow the list until cancelled. Redis being away is waited out and makes nobody unready."""
        while True:
            self._wake.clear()
            try:
                await self.follow()
                if not self._well:
                    log.info("redis.followed_again")
                self._well = True
            except (RedisError, OSError, TimeoutError) as error:
                if self._well:
                    log.warning("redis.away", error=repr(error)[:300])
                self._well = False
                # Not at once when woken: a storm of calls would become a storm of attempts.
                await asyncio.sleep(_REST_S)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # The database's driver may take a cancellation that reaches it for its own and finish the statement.
                raise asyncio.CancelledError
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def follow(self) -> None:
        """Bring the copy to the newest version, by the changes if its past is ours, else anew."""
        async with self._engine.connect() as connection:
            # One snapshot: head and entries of one version.
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            key = await self._key_of_list(connection)
            head = await SqlEntries(connection).head()
            stamp = (await _awaited(self._redis.hget(key, _STAMP)) or b"").decode()
            if stamp == head.stamp:
                await _awaited(self._redis.expire(key, _EXPIRE_S))
            elif not await self._is_ours(connection, stamp) or not await self._apply(connection, key, stamp, head):
                await self._reload(connection, key, head)

    async def _key_of_list(self, connection: AsyncConnection) -> str:
        if self._key is None:
            list_id = (await connection.execute(select(LIST_HEAD.c.list_id))).scalar_one()
            self._key = f"citycard:blacklist:{list_id}"
        return self._key

    async def _is_ours(self, connection: AsyncConnection, stamp: str) -> bool:
        """Whether the copy is of a version that this list once had."""
        version, _, chain_hash = stamp.partition(":")
        if not version.isdecimal():
            return False
        if int(version) == 0:
            return stamp == Head().stamp
        statement = select(LIST_CHANGE.c.chain_hash).where(LIST_CHANGE.c.version == int(version))
        known = (await connection.execute(statement)).scalar_one_or_none()
        return known is not None and bytes(known).hex() == chain_hash

    async def _apply(self, connection: AsyncConnection, key: str, stamp: str, head: Head) -> bool:
        base = int(stamp.partition(":")[0])
        statement = select(ENTRY).where(ENTRY.c.changed_version > base).limit(_ROWS_A_PAGE + 1)
        rows = (await connection.execute(statement)).all()
        if len(rows) > _ROWS_A_PAGE:
            return False
        entries = [entry_of_row(row) for row in rows]
        listed = [entry for entry in entries if entry.listed]
        arguments: list[Any] = [stamp, head.stamp, len(listed)]
        for entry in listed:
            arguments += [str(entry.card), _value(entry)]
        arguments += [str(entry.card) for entry in entries if not entry.listed]
        return bool(await _awaited(self._redis.eval(_APPLY, 1, key, *arguments)))

    async def _reload(self, connection: AsyncConnection, key: str, head: Head) -> None:
        """Build the copy beside the old one and put it in its place in one step."""
        building = f"{key}:{head.stamp}"
        await _awaited(self._redis.delete(building))
        after: CardKey | None = None
        entries = SqlEntries(connection)
        while page := await entries.list(after, _ROWS_A_PAGE, show_removed=False):
            await self._put(building, page)
            after = page[-1].card
        await _awaited(self._redis.hset(building, _STAMP, head.stamp))
        await _awaited(self._redis.expire(building, _EXPIRE_S))
        await _awaited(self._redis.rename(building, key))
        log.info("redis.reloaded", version=head.version, entry_count=head.entry_count)

    async def _put(self, key: str, page: Sequence[Entry]) -> None:
        mapping: dict[Any, Any] = {str(entry.card): _value(entry) for entry in page}
        await _awaited(self._redis.hset(key, mapping=mapping))


def open_redis(url: str, timeout_s: float) -> Redis:
    """A client that gives up early: the database is there to answer.

    Args:
        url: `redis://…`.
        timeout_s: For connecting and for each command, seconds.
    """
    made: Redis = Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    return made


async def _awaited(answer: "Awaitable[Any] | Any") -> Any:
    # The client's annotations cover its blocking sister too and say "maybe awaitable".
    return await answer


def _value(entry: Entry) -> str:
    shown = entry.shown
    assert shown is not None, "a listed card shows why"
    times = (_microseconds(shown.effective_time), _microseconds(shown.report_time))
    until = () if shown.until_time is None else (_microseconds(shown.until_time),)
    said = [int(shown.reason), int(shown.mode), *times, entry.added_version, entry.changed_version, *until]
    return json.dumps(said)


def _entry(card: CardKey, value: bytes) -> Entry:
    reason, mode, effective, report, added_version, changed_version, *until = json.loads(value)
    until_time = _moment(until[0]) if until else None
    listing = Listing(ListReason(reason), ListMode(mode), _moment(effective), _moment(report), until_time)
    return Entry(card, listing, listed=True, added_version=added_version, changed_version=changed_version)


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
