"""Top-ups under mandates in PostgreSQL."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.account.adapters.driver import Driver
from services.account.domain.mandates import TopUp, TopUpHistory, TopUpState
from services.account.domain.wallet_errors import TopUpUnknown

_ADD = (
    "INSERT INTO top_up (top_up_id, mandate, wallet, source, amount_fen, state, note, create_time, resolve_time, day)"
    " VALUES (%(top_up)s, %(mandate)s, %(wallet)s, %(source)s, %(amount)s, %(state)s, %(note)s, %(now)s, %(ended)s,"
    " %(day)s)"
)
_GET = (
    "SELECT mandate, wallet, source, amount_fen, state, note, create_time, resolve_time FROM top_up"
    " WHERE top_up_id = %(top_up)s"
)
_SAVE = (
    "UPDATE top_up SET state = %(state)s, note = %(note)s, resolve_time = %(ended)s"
    " WHERE top_up_id = %(top_up)s AND state = 'ASKED'"
)
# A row of failures is what came after the last success.
_HISTORY = """
SELECT coalesce(sum(amount_fen) FILTER (WHERE day = %(day)s AND state <> 'FAILED'), 0),
    coalesce(bool_or(state = 'ASKED'), false),
    count(*) FILTER (WHERE state = 'FAILED' AND resolve_time >= %(since)s
        AND resolve_time > coalesce(last_success, '-infinity')),
    max(resolve_time) FILTER (WHERE state = 'FAILED' AND resolve_time >= %(since)s
        AND resolve_time > coalesce(last_success, '-infinity'))
FROM top_up, (SELECT max(resolve_time) AS last_success FROM top_up
    WHERE mandate = %(mandate)s AND state = 'SUCCEEDED') AS successes
WHERE mandate = %(mandate)s
"""


class PostgresTopUps:
    """`TopUpRepository` of one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._driver = Driver(connection)

    async def add(self, top_up: TopUp, day: date) -> None:
        """See the port."""
        values = {
            "top_up": top_up.id,
            "mandate": top_up.mandate,
            "wallet": top_up.wallet,
            "source": top_up.source,
            "amount": top_up.amount_fen,
            "state": top_up.state.value,
            "note": top_up.note,
            "now": top_up.create_time,
            "ended": top_up.resolve_time,
            "day": day,
        }
        await self._driver.execute(_ADD, values)

    async def get(self, top_up_id: UUID) -> TopUp:
        """See the port."""
        rows = await self._driver.fetch(_GET, {"top_up": top_up_id})
        if not rows:
            raise TopUpUnknown(top_up=top_up_id)
        mandate, wallet, source, amount, state, note, created, ended = rows[0]
        return TopUp(top_up_id, mandate, wallet, source, amount, TopUpState(state), note, created, ended)

    async def save(self, top_up: TopUp) -> None:
        """See the port."""
        values = {
            "top_up": top_up.id,
            "state": top_up.state.value,
            "note": top_up.note,
            "ended": top_up.resolve_time,
        }
        assert await self._driver.execute(_SAVE, values) == 1, "a top-up ends once, under its wallet's lock"

    async def history(self, mandate: str, since: datetime, day: date) -> TopUpHistory:
        """See the port."""
        values = {"mandate": mandate, "since": since, "day": day}
        ((today, asked, failures, last),) = await self._driver.fetch(_HISTORY, values)
        return TopUpHistory(int(today), asked, failures, last)
