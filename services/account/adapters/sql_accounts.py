"""Accounts in PostgreSQL."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.account.domain.accounts import Account, AccountChange
from services.account.domain.chart import Chart, chart_number_of, owner_of
from services.account.domain.errors import AccountUnknown

_COLUMNS = "name, create_time, balance_limit_fen, debits_fen, credits_fen, pending_debits_fen, pending_credits_fen"
_GET = text(f"SELECT {_COLUMNS} FROM account WHERE name = :name")
_LIST = text(
    f"SELECT {_COLUMNS} FROM account WHERE name > :after"
    " AND (CAST(:numbers AS text[]) IS NULL OR chart_number = ANY(CAST(:numbers AS text[])))"
    " AND (CAST(:owner AS text) IS NULL OR owner = CAST(:owner AS text))"
    " ORDER BY name LIMIT :limit"
)
_KNOWN = text("SELECT name FROM account WHERE name = ANY(CAST(:names AS text[]))")
# In order, as the locks: two that open the same accounts wait for each other in one direction only.
_OPEN = text(
    "INSERT INTO account (name, chart_number, owner, create_time)"
    " SELECT name, chart_number, owner, :now"
    " FROM unnest(CAST(:names AS text[]), CAST(:numbers AS text[]), CAST(:owners AS text[]))"
    ' AS opened (name, chart_number, owner) ORDER BY name COLLATE "C" ON CONFLICT (name) DO NOTHING'
)
_LOCK = text(f"SELECT {_COLUMNS} FROM account WHERE name = ANY(CAST(:names AS text[])) ORDER BY name FOR NO KEY UPDATE")
_CHANGE = text(
    "UPDATE account SET debits_fen = account.debits_fen + change.debits_fen,"
    " credits_fen = account.credits_fen + change.credits_fen,"
    " pending_debits_fen = account.pending_debits_fen + change.pending_debits_fen,"
    " pending_credits_fen = account.pending_credits_fen + change.pending_credits_fen"
    " FROM unnest(CAST(:names AS text[]), CAST(:debits AS bigint[]), CAST(:credits AS bigint[]),"
    " CAST(:pending_debits AS bigint[]), CAST(:pending_credits AS bigint[]))"
    " AS change (name, debits_fen, credits_fen, pending_debits_fen, pending_credits_fen)"
    " WHERE account.name = change.name"
)
_LIMIT = text("UPDATE account SET balance_limit_fen = :limit WHERE name = :name")


class PostgresAccounts:
    """`AccountRepository` of one transaction."""

    def __init__(self, connection: AsyncConnection, chart: Chart) -> None:
        self._connection = connection
        self._chart = chart

    async def get(self, name: str) -> Account:
        """See the port."""
        row = (await self._connection.execute(_GET, {"name": name})).first()
        if row is None:
            raise AccountUnknown(account=name)
        return self._account(row)

    async def list_page(
        self, after: str, limit: int, chart_numbers: Collection[str] | None = None, owner: str | None = None
    ) -> list[Account]:
        """See the port."""
        numbers = None if chart_numbers is None else sorted(chart_numbers)
        values = {"after": after, "limit": limit, "numbers": numbers, "owner": owner}
        return [self._account(row) for row in await self._connection.execute(_LIST, values)]

    async def lock(self, names: Collection[str], now: datetime) -> dict[str, Account]:
        """See the port. Opening comes before locking: whoever opens waits for openers only, and holds no lock yet."""
        wanted = sorted(set(names))
        known = {row.name for row in await self._connection.execute(_KNOWN, {"names": wanted})}
        missing = [name for name in wanted if name not in known]
        if missing:
            opened = {
                "names": missing,
                "numbers": [chart_number_of(name) for name in missing],
                "owners": [owner_of(name) for name in missing],
                "now": now,
            }
            await self._connection.execute(_OPEN, opened)
        locked = {row.name: self._account(row) for row in await self._connection.execute(_LOCK, {"names": wanted})}
        assert len(locked) == len(wanted), "accounts are never removed"
        return locked

    async def change(self, changes: Sequence[AccountChange]) -> None:
        """See the port."""
        values = {
            "names": [change.name for change in changes],
            "debits": [change.debits_fen for change in changes],
            "credits": [change.credits_fen for change in changes],
            "pending_debits": [change.pending_debits_fen for change in changes],
            "pending_credits": [change.pending_credits_fen for change in changes],
        }
        result = await self._connection.execute(_CHANGE, values)
        assert result.rowcount == len(changes), "accounts are locked before they are changed"

    async def set_limit(self, name: str, balance_limit_fen: int) -> None:
        """See the port."""
        await self._connection.execute(_LIMIT, {"name": name, "limit": balance_limit_fen})

    def _account(self, row: Row[Any]) -> Account:
        return Account(
            name=row.name,
            kind=self._chart.line(row.name).kind,
            create_time=row.create_time,
            debits_fen=row.debits_fen,
            credits_fen=row.credits_fen,
            pending_debits_fen=row.pending_debits_fen,
            pending_credits_fen=row.pending_credits_fen,
            balance_limit_fen=row.balance_limit_fen,
        )
