"""Wallets and their lots in PostgreSQL, and the gathering of everything about wallets in one transaction."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.account.adapters.binary import int8_array
from services.account.adapters.driver import Driver, Row
from services.account.adapters.sql_accounts import CONTROLS
from services.account.adapters.sql_top_ups import PostgresTopUps
from services.account.adapters.sql_wallet_debits import PostgresWalletDebits
from services.account.adapters.sql_wallet_rules import PostgresWalletRules
from services.account.domain.wallet_control import WalletControl
from services.account.domain.wallet_errors import WalletUnknown
from services.account.domain.wallet_lots import EndedLot, Lot, LotChange
from services.account.domain.wallets import Wallet, WalletState

# `{kind}.{holder}`: neither has a full stop.
_NAMED = "wallet.kind || '.' || wallet.holder"
_WANTED = (
    "unnest(CAST(%(kinds)s AS text[]), CAST(%(holders)s AS text[])) AS wanted (kind, holder)"
    ' JOIN wallet ON wallet.holder = wanted.holder COLLATE "C" AND wallet.kind = wanted.kind COLLATE "C"'
)
_FIND = f"SELECT wallet.kind, wallet.holder, wallet.state, wallet.create_time FROM {_WANTED}"
_LIST = (
    "SELECT kind, holder, state, wallet.create_time FROM wallet JOIN account USING (account_id)"
    " WHERE (holder, kind) > (%(holder_after)s, %(kind_after)s)"
    " AND (%(kind)s = '' OR kind = %(kind)s) AND (%(holder)s = '' OR holder = %(holder)s)"
    " AND (NOT %(filled)s OR debits_fen <> credits_fen)"
    " ORDER BY holder, kind LIMIT %(limit)s"
)
_ADD = (
    "INSERT INTO wallet (account_id, kind, holder, state, create_time)"
    " SELECT account_id, %(kind)s, %(holder)s, %(state)s, %(now)s FROM account WHERE name = %(account)s"
    " ON CONFLICT (holder, kind) DO NOTHING"
)
_MARK = "UPDATE account SET wallet = %(control)s WHERE name = %(account)s"
_SAVE = "UPDATE wallet SET state = %(state)s WHERE holder = %(holder)s AND kind = %(kind)s"
_LOT = (
    f"SELECT lot_id, {_NAMED}, amount_fen, purposes, valid_from, valid_until, source.name, reference,"
    " wallet_lot.create_time, taken_fen, held_fen, expired_fen"
)
_LOTS = (
    f"{_LOT} FROM {_WANTED} JOIN wallet_lot USING (wallet_id)"
    " JOIN account AS source ON source.account_id = source_id"
    " WHERE amount_fen > taken_fen + expired_fen ORDER BY lot_id"
)
_LIST_LOTS = (
    f"{_LOT} FROM wallet JOIN wallet_lot USING (wallet_id) JOIN account AS source ON source.account_id = source_id"
    " WHERE holder = %(holder)s AND kind = %(kind)s AND lot_id > %(after)s ORDER BY lot_id LIMIT %(limit)s"
)
_ADD_LOT = (
    "INSERT INTO wallet_lot (wallet_id, source_id, amount_fen, purposes, valid_from, valid_until, reference,"
    " create_time) SELECT wallet_id, (SELECT account_id FROM account WHERE name = %(source)s), %(amount)s,"
    " CAST(%(purposes)s AS text[]), %(valid_from)s, %(valid_until)s, %(reference)s, %(now)s"
    " FROM wallet WHERE holder = %(holder)s AND kind = %(kind)s RETURNING lot_id"
)
_CHANGE_LOTS = (
    "UPDATE wallet_lot SET taken_fen = taken_fen + taken, held_fen = held_fen + held"
    " FROM unnest(CAST(%(lots)s AS bigint[]), CAST(%(taken)s AS bigint[]), CAST(%(held)s AS bigint[]))"
    " AS change (lot, taken, held) WHERE lot_id = lot"
)
_ENDED = (
    f"SELECT {_NAMED} FROM wallet JOIN (SELECT wallet_id, min(valid_until) AS since FROM wallet_lot"
    " WHERE valid_until <= %(now)s AND amount_fen > taken_fen + held_fen + expired_fen GROUP BY wallet_id"
    " ORDER BY since, wallet_id LIMIT %(limit)s) AS due USING (wallet_id) ORDER BY since, wallet_id"
)
# The old row says what was free: after the update nothing is.
_END = (
    "WITH due AS (SELECT lot_id, amount_fen - taken_fen - held_fen - expired_fen AS free,"
    f" {_NAMED} AS wallet FROM {_WANTED} JOIN wallet_lot USING (wallet_id)"
    " WHERE valid_until <= %(now)s AND amount_fen > taken_fen + held_fen + expired_fen)"
    " UPDATE wallet_lot SET expired_fen = expired_fen + free FROM due, account AS source"
    " WHERE wallet_lot.lot_id = due.lot_id AND source.account_id = source_id RETURNING due.wallet, source.name, free"
)


class PostgresWallets:
    """`WalletRepository` of one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._driver = Driver(connection)

    async def find(self, names: Collection[str]) -> dict[str, Wallet]:
        """See the port."""
        found = {wallet.name: wallet for wallet in map(_wallet, await self._driver.fetch(_FIND, _keys(names)))}
        for name in names:
            if name not in found:
                raise WalletUnknown(wallet=name)
        return found

    async def list_page(
        self, after: tuple[str, str], limit: int, kind: str, holder: str, *, filled: bool
    ) -> list[Wallet]:
        """See the port."""
        values = {"holder_after": after[0], "kind_after": after[1], "kind": kind, "holder": holder}
        rows = await self._driver.fetch(_LIST, values | {"filled": filled, "limit": limit})
        return [_wallet(row) for row in rows]

    async def add(self, wallet: Wallet, account: str, control: WalletControl) -> bool:
        """See the port."""
        values = {
            "account": account,
            "kind": wallet.kind,
            "holder": wallet.holder,
            "state": wallet.state.value,
            "now": wallet.create_time,
        }
        if await self._driver.execute(_ADD, values) == 0:
            return False
        await self._driver.execute(_MARK, {"account": account, "control": CONTROLS.index(control)})
        return True

    async def save(self, wallet: Wallet) -> None:
        """See the port."""
        values = {"state": wallet.state.value, "holder": wallet.holder, "kind": wallet.kind}
        assert await self._driver.execute(_SAVE, values) == 1, "a wallet is found before it is saved"

    async def lots(self, names: Collection[str]) -> dict[str, list[Lot]]:
        """See the port."""
        found: dict[str, list[Lot]] = {name: [] for name in names}
        for row in await self._driver.fetch(_LOTS, _keys(names)):
            found[row[1]].append(_lot(row))
        return found

    async def list_lots(self, name: str, after: int, limit: int) -> list[Lot]:
        """See the port."""
        kind, _, holder = name.partition(".")
        values = {"kind": kind, "holder": holder, "after": after, "limit": limit}
        return [_lot(row) for row in await self._driver.fetch(_LIST_LOTS, values)]

    async def add_lot(self, lot: Lot) -> Lot:
        """See the port."""
        kind, _, holder = lot.wallet.partition(".")
        values = {
            "kind": kind,
            "holder": holder,
            "source": lot.source,
            "amount": lot.amount_fen,
            "purposes": list(lot.purposes),
            "valid_from": lot.valid_from,
            "valid_until": lot.valid_until,
            "reference": lot.reference,
            "now": lot.create_time,
        }
        ((lot_id,),) = await self._driver.fetch(_ADD_LOT, values)
        return Lot(
            lot_id,
            lot.wallet,
            lot.amount_fen,
            lot.purposes,
            lot.valid_from,
            lot.valid_until,
            lot.source,
            lot.reference,
            lot.create_time,
        )

    async def change_lots(self, changes: Sequence[LotChange]) -> None:
        """See the port."""
        if not changes:
            return
        values = {
            "lots": int8_array([change.lot_id for change in changes]),
            "taken": int8_array([change.taken_fen for change in changes]),
            "held": int8_array([change.held_fen for change in changes]),
        }
        assert await self._driver.execute(_CHANGE_LOTS, values) == len(changes), "lots are never removed"

    async def ended_wallets(self, now: datetime, limit: int) -> list[str]:
        """See the port."""
        return [row[0] for row in await self._driver.fetch(_ENDED, {"now": now, "limit": limit})]

    async def end_lots(self, names: Collection[str], now: datetime) -> list[EndedLot]:
        """See the port."""
        rows = await self._driver.fetch(_END, _keys(names) | {"now": now})
        return [EndedLot(wallet, source, amount) for wallet, source, amount in rows]


class PostgresWalletBooks:
    """`WalletBooks` of one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.wallets = PostgresWallets(connection)
        self.rules = PostgresWalletRules(connection)
        self.debits = PostgresWalletDebits(connection)
        self.top_ups = PostgresTopUps(connection)


def _keys(names: Collection[str]) -> dict[str, object]:
    pairs = [name.partition(".") for name in names]
    return {"kinds": [kind for kind, _, _ in pairs], "holders": [holder for _, _, holder in pairs]}


def _wallet(row: Row) -> Wallet:
    kind, holder, state, created = row
    return Wallet(kind, holder, WalletState(state), created)


def _lot(row: Row) -> Lot:
    lot_id, wallet, amount, purposes, begins, ends, source, reference, created, taken, held, expired = row
    return Lot(lot_id, wallet, amount, tuple(purposes), begins, ends, source, reference, created, taken, held, expired)
