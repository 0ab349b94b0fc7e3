"""Accounts in PostgreSQL."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.account.adapters.binary import int4_array, int8_array
from services.account.adapters.driver import Driver, Row, Step
from services.account.domain.accounts import Account, AccountChange
from services.account.domain.chart import Chart, chart_number_of, owner_of
from services.account.domain.errors import AccountUnknown
from services.account.domain.wallet_control import WalletControl

# As the column says it.
CONTROLS = (WalletControl.NONE, WalletControl.DEBITS, WalletControl.ALL)
_COLUMNS = (
    "account_id, name, create_time, balance_limit_fen, debits_fen, credits_fen, pending_debits_fen,"
    " pending_credits_fen, overdraft_fen, wallet"
)
_GET = text(f"SELECT {_COLUMNS} FROM account WHERE name = :name")
_FIND = f"SELECT {_COLUMNS} FROM account WHERE name = ANY(CAST(%(names)s AS text[]))"
_LIST = text(
    f"SELECT {_COLUMNS} FROM account WHERE name > :after"
    " AND (CAST(:numbers AS text[]) IS NULL OR chart_number = ANY(CAST(:numbers AS text[])))"
    " AND (CAST(:owner AS text) IS NULL OR owner = CAST(:owner AS text))"
    " ORDER BY name LIMIT :limit"
)
_KNOWN = "SELECT name, account_id FROM account WHERE name = ANY(CAST(%(names)s AS text[]))"
# In order, as the locks: two that open the same accounts wait for each other in one direction only.
_OPEN = (
    "INSERT INTO account (name, chart_number, owner, create_time, overdraft_fen)"
    " SELECT name, chart_number, owner, %(now)s, overdraft_fen"
    " FROM unnest(CAST(%(names)s AS text[]), CAST(%(numbers)s AS text[]), CAST(%(owners)s AS text[]),"
    " CAST(%(overdrafts)s AS bigint[])) AS opened (name, chart_number, owner, overdraft_fen)"
    ' ORDER BY name COLLATE "C" ON CONFLICT (name) DO NOTHING'
)
_LOCK = (
    f"SELECT {_COLUMNS} FROM account WHERE account_id = ANY(CAST(%(ids)s AS integer[])) ORDER BY name FOR NO KEY UPDATE"
)
_CHANGE = (
    "UPDATE account SET debits_fen = account.debits_fen + change.debits_fen,"
    " credits_fen = account.credits_fen + change.credits_fen,"
    " pending_debits_fen = account.pending_debits_fen + change.pending_debits_fen,"
    " pending_credits_fen = account.pending_credits_fen + change.pending_credits_fen"
    " FROM unnest(CAST(%(ids)s AS integer[]), CAST(%(debits)s AS bigint[]), CAST(%(credits)s AS bigint[]),"
    " CAST(%(pending_debits)s AS bigint[]), CAST(%(pending_credits)s AS bigint[]))"
    " AS change (account_id, debits_fen, credits_fen, pending_debits_fen, pending_credits_fen)"
    " WHERE account.account_id = change.account_id"
)
_LIMITS = text("UPDATE account SET balance_limit_fen = :limit, overdraft_fen = :overdraft WHERE name = :name")


class AccountIds:
    """Short keys of accounts by name, remembered over transactions: neither ever changes, and no account vanishes.

    Only what a committed transaction showed is remembered: an account opened by a transaction that rolls back would
    leave a key of nothing behind.
    """

    # A city has some thousand accounts of its own; those of holders come and go in this memory.
    _SIZE_MAX = 50_000

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def get(self, name: str) -> int | None:
        """The key of a name, when it is remembered."""
        return self._ids.get(name)

    def remember(self, ids: dict[str, int]) -> None:
        """Keep the keys of accounts that a committed transaction has seen."""
        if len(self._ids) + len(ids) > self._SIZE_MAX:
            self._ids.clear()
        self._ids.update(ids)


class PostgresAccounts:
    """`AccountRepository` of one transaction."""

    def __init__(self, connection: AsyncConnection, chart: Chart, remembered: AccountIds) -> None:
        self._connection = connection
        self._driver = Driver(connection)
        self._chart = chart
        self._remembered = remembered
        # What this transaction may use.
        self.ids: dict[str, int] = {}

    async def get(self, name: str) -> Account:
        """See the port."""
        row = (await self._connection.execute(_GET, {"name": name})).first()
        if row is None:
            raise AccountUnknown(account=name)
        return self._account(tuple(row))

    async def find(self, names: Collection[str]) -> dict[str, Account]:
        """See the port."""
        return {row[1]: self._account(row) for row in await self._driver.fetch(_FIND, {"names": list(names)})}

    async def list_page(
        self, after: str, limit: int, chart_numbers: Collection[str] | None = None, owner: str | None = None
    ) -> list[Account]:
        """See the port."""
        numbers = None if chart_numbers is None else sorted(chart_numbers)
        values = {"after": after, "limit": limit, "numbers": numbers, "owner": owner}
        return [self._account(tuple(row)) for row in await self._connection.execute(_LIST, values)]

    async def lock(self, names: Collection[str], now: datetime) -> dict[str, Account]:
        """See the port. Opening comes before locking: whoever opens waits for openers only, and holds no lock yet."""
        await self.identify(names, now)
        return self.locked(names, await self._driver.fetch(*self.locking(names)))

    def locking(self, names: Collection[str]) -> Step:
        """What locks accounts that are identified."""
        return _LOCK, {"ids": int4_array([self.ids[name] for name in set(names)])}

    def locked(self, names: Collection[str], rows: Sequence[Row]) -> dict[str, Account]:
        """The accounts that were locked, by name."""
        assert len(rows) == len(set(names)), "accounts are never removed"
        return {row[1]: self._account(row) for row in rows}

    async def change(self, changes: Sequence[AccountChange]) -> None:
        """See the port."""
        assert await self._driver.execute(*self.changing(changes)) == len(changes), (
            "accounts are locked before they are changed"
        )

    def changing(self, changes: Sequence[AccountChange]) -> Step:
        """What changes accounts that are locked, each once."""
        return _CHANGE, {
            "ids": int4_array([self.ids[change.name] for change in changes]),
            "debits": int8_array([change.debits_fen for change in changes]),
            "credits": int8_array([change.credits_fen for change in changes]),
            "pending_debits": int8_array([change.pending_debits_fen for change in changes]),
            "pending_credits": int8_array([change.pending_credits_fen for change in changes]),
        }

    async def set_limits(self, name: str, balance_limit_fen: int, overdraft_fen: int | None) -> None:
        """See the port."""
        values = {"name": name, "limit": balance_limit_fen, "overdraft": overdraft_fen}
        await self._connection.execute(_LIMITS, values)

    async def identify(self, names: Collection[str], now: datetime) -> None:
        """Find the keys of names, opening what is missing."""
        for name in names:
            known = self._remembered.get(name)
            if known is not None:
                self.ids[name] = known
        unknown = sorted(set(names) - self.ids.keys())
        if not unknown:
            return
        found: dict[str, int] = dict(await self._driver.fetch(_KNOWN, {"names": unknown}))
        # What was there before this transaction began is committed, unless this transaction opened it.
        self._remembered.remember(found)
        missing = [name for name in unknown if name not in found]
        if missing:
            lines = [self._chart.line(name) for name in missing]
            opened = {
                "names": missing,
                "numbers": [chart_number_of(name) for name in missing],
                "owners": [owner_of(name) for name in missing],
                "overdrafts": [0 if line.floored else None for line in lines],
                "now": now,
            }
            await self._driver.execute(_OPEN, opened)
            found |= dict(await self._driver.fetch(_KNOWN, {"names": missing}))
        self.ids |= found

    def _account(self, row: Row) -> Account:
        _, name, created, limit, debits, credits_, pending_debits, pending_credits, overdraft, wallet = row
        line = self._chart.line(name)
        return Account(
            name=name,
            kind=line.kind,
            create_time=created,
            debits_fen=debits,
            credits_fen=credits_,
            pending_debits_fen=pending_debits,
            pending_credits_fen=pending_credits,
            balance_limit_fen=limit,
            asset=line.asset,
            overdraft_fen=overdraft,
            wallet=CONTROLS[wallet],
        )
