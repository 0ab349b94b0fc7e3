"""What the runtime's tables keep, and for how long: published events, handled event ids, answered requests."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Column, Table, delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncEngine

from libs.runtime.tables import TABLES

# One transaction deletes at most so many rows of a table: nobody waits behind it.
_ROWS_MAX = 5000


@dataclass(frozen=True, slots=True)
class Keep:
    """How long rows stay.

    Attributes:
        outbox: Published events, for `republish`.
        inbox: Ids of handled events. Longer than streams (30 days) and outboxes keep events: an event that comes back
            after its id is forgotten would have its effect twice.
        requests: Answered `request_id`s. A retry that comes later is a new request, so this is longer than any
            caller's own memory: a year and a month.
    """

    outbox: timedelta = timedelta(days=7)
    inbox: timedelta = timedelta(days=60)
    requests: timedelta = timedelta(days=400)


async def prune(engine: AsyncEngine, keep: Keep) -> dict[str, int]:
    """Forget what is old enough, at most some thousand rows of each table; call it again for more.

    Returns:
        How many rows went, by table.
    """
    gone: dict[str, int] = {}
    for table, moment, age in (
        (TABLES.outbox, TABLES.outbox.c.published_at, keep.outbox),
        (TABLES.inbox, TABLES.inbox.c.handled_at, keep.inbox),
        (TABLES.request_claim, TABLES.request_claim.c.claimed_at, keep.requests),
    ):
        gone[table.name] = await _prune_table(engine, table, moment, age)
    return gone


async def _prune_table(engine: AsyncEngine, table: Table, moment: Column[object], age: timedelta) -> int:
    key = tuple_(*table.primary_key.columns)
    old = select(*table.primary_key.columns).where(moment < func.now() - age).order_by(moment).limit(_ROWS_MAX)
    async with engine.begin() as connection:
        return (await connection.execute(delete(table).where(key.in_(old)))).rowcount
