"""Debits of wallets in PostgreSQL; limits are sums over their tenders."""

from collections.abc import Collection
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.account.adapters.binary import int2_array, int8_array
from services.account.adapters.driver import Driver
from services.account.domain.wallet_debits import DebitState, Tender, TenderLot, WalletDebit
from services.account.domain.wallet_errors import DebitUnknown
from services.account.domain.wallet_rules import Used

_ADD = (
    "INSERT INTO wallet_debit (debit_id, state, participant, purpose, member, reference, total_fen, own_pay_fen,"
    " create_time, journal_id) VALUES (%(debit)s, %(state)s, %(participant)s, %(purpose)s, %(member)s, %(reference)s,"
    " %(total)s, %(own_pay)s, %(now)s, %(journal)s)"
)
_ADD_TENDERS = (
    "INSERT INTO wallet_tender (debit_id, number, wallet_id, account_id, payee_id, amount_fen, grant_name,"
    " grant_version, subject, member, day)"
    " SELECT %(debit)s, tender.number, wallet_id, account.account_id, payee.account_id, amount, grant_name,"
    " grant_version, subject, %(member)s, day"
    " FROM unnest(CAST(%(kinds)s AS text[]), CAST(%(holders)s AS text[]), CAST(%(accounts)s AS text[]),"
    " CAST(%(payees)s AS text[]), CAST(%(amounts)s AS bigint[]), CAST(%(grants)s AS text[]),"
    " CAST(%(versions)s AS bigint[]), CAST(%(subjects)s AS text[]), CAST(%(days)s AS date[])) WITH ORDINALITY"
    " AS tender (kind, holder, account_name, payee_name, amount, grant_name, grant_version, subject, day, number)"
    ' JOIN wallet ON wallet.holder = tender.holder COLLATE "C" AND wallet.kind = tender.kind COLLATE "C"'
    ' JOIN account ON account.name = account_name COLLATE "C"'
    ' JOIN account AS payee ON payee.name = payee_name COLLATE "C"'
)
_ADD_LOTS = (
    "INSERT INTO wallet_tender_lot (debit_id, number, place, lot_id, amount_fen)"
    " SELECT %(debit)s, * FROM unnest(CAST(%(numbers)s AS smallint[]), CAST(%(places)s AS smallint[]),"
    " CAST(%(lots)s AS bigint[]), CAST(%(amounts)s AS bigint[]))"
)
_GET = (
    "SELECT state, participant, purpose, member, reference, total_fen, own_pay_fen, create_time, journal_id"
    " FROM wallet_debit WHERE debit_id = %(debit)s"
)
_TENDERS = (
    "SELECT tender.number, wallet.kind || '.' || wallet.holder, account.name, payee.name, amount_fen, grant_name,"
    " grant_version, subject, day, released_fen, reversed_fen FROM wallet_tender AS tender"
    " JOIN wallet USING (wallet_id) JOIN account ON account.account_id = tender.account_id"
    " JOIN account AS payee ON payee.account_id = payee_id"
    " WHERE debit_id = %(debit)s ORDER BY number"
)
_LOTS = (
    "SELECT number, lot_id, amount_fen, released_fen, reversed_fen FROM wallet_tender_lot"
    " WHERE debit_id = %(debit)s ORDER BY number, place"
)
_SAVE = "UPDATE wallet_debit SET state = %(state)s, journal_id = %(journal)s WHERE debit_id = %(debit)s"
_SAVE_TENDERS = (
    "UPDATE wallet_tender AS tender SET released_fen = released, reversed_fen = reversed"
    " FROM unnest(CAST(%(numbers)s AS smallint[]), CAST(%(released)s AS bigint[]), CAST(%(reversed)s AS bigint[]))"
    " AS now (number, released, reversed) WHERE debit_id = %(debit)s AND tender.number = now.number"
)
_SAVE_LOTS = (
    "UPDATE wallet_tender_lot AS lot SET released_fen = released, reversed_fen = reversed"
    " FROM unnest(CAST(%(numbers)s AS smallint[]), CAST(%(places)s AS smallint[]), CAST(%(released)s AS bigint[]),"
    " CAST(%(reversed)s AS bigint[])) AS now (number, place, released, reversed)"
    " WHERE debit_id = %(debit)s AND lot.number = now.number AND lot.place = now.place"
)
_LEFT = "amount_fen - released_fen - reversed_fen"
_SUMS = (
    f"coalesce(sum({_LEFT}) FILTER (WHERE day = %(day)s), 0),"
    f" coalesce(sum({_LEFT}) FILTER (WHERE day >= %(month)s), 0), coalesce(sum({_LEFT}), 0)"
)
_USED = (
    f"SELECT wanted.grant_name, wanted.subject, {_SUMS}"
    " FROM unnest(CAST(%(grants)s AS text[]), CAST(%(subjects)s AS text[])) AS wanted (grant_name, subject)"
    ' LEFT JOIN wallet_tender AS tender ON tender.grant_name = wanted.grant_name COLLATE "C"'
    " AND tender.grant_name <> ''"
    ' AND tender.subject = wanted.subject COLLATE "C" AND day BETWEEN %(year)s AND %(day)s'
    " GROUP BY wanted.grant_name, wanted.subject"
)
_USED_BY_MEMBER = (
    f"SELECT kind || '.' || holder, {_SUMS} FROM wallet JOIN wallet_tender USING (wallet_id)"
    " WHERE kind || '.' || holder = ANY(CAST(%(wallets)s AS text[])) AND holder = ANY(CAST(%(holders)s AS text[]))"
    " AND member = %(member)s AND member <> '' AND day BETWEEN %(year)s AND %(day)s GROUP BY kind, holder"
)


class PostgresWalletDebits:
    """`WalletDebitRepository` of one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._driver = Driver(connection)

    async def add(self, debit: WalletDebit) -> None:
        """See the port."""
        values = {
            "debit": debit.id,
            "state": debit.state.value,
            "participant": debit.participant,
            "purpose": debit.purpose,
            "member": debit.member,
            "reference": debit.reference,
            "total": debit.total_fen,
            "own_pay": debit.own_pay_fen,
            "now": debit.create_time,
            "journal": debit.journal,
        }
        await self._driver.execute(_ADD, values)
        tenders = debit.tenders
        pairs = [tender.wallet.partition(".") for tender in tenders]
        rows = {
            "debit": debit.id,
            "member": debit.member,
            "kinds": [kind for kind, _, _ in pairs],
            "holders": [holder for _, _, holder in pairs],
            "accounts": [tender.account for tender in tenders],
            "payees": [tender.payee for tender in tenders],
            "amounts": int8_array([tender.amount_fen for tender in tenders]),
            "grants": [tender.grant for tender in tenders],
            "versions": int8_array([tender.grant_version for tender in tenders]),
            "subjects": [tender.subject for tender in tenders],
            "days": [tender.day for tender in tenders],
        }
        count = await self._driver.execute(_ADD_TENDERS, rows)
        assert count == len(tenders), "wallets and accounts of a debit are there before it"
        lots = [(tender.number, place, lot) for tender in tenders for place, lot in enumerate(tender.lots, 1)]
        if lots:
            parts = {
                "debit": debit.id,
                "numbers": int2_array([number for number, _, _ in lots]),
                "places": int2_array([place for _, place, _ in lots]),
                "lots": int8_array([lot.lot_id for _, _, lot in lots]),
                "amounts": int8_array([lot.amount_fen for _, _, lot in lots]),
            }
            await self._driver.execute(_ADD_LOTS, parts)

    async def get(self, debit_id: UUID) -> WalletDebit:
        """See the port."""
        rows = await self._driver.fetch(_GET, {"debit": debit_id})
        if not rows:
            raise DebitUnknown(debit=debit_id)
        state, participant, purpose, member, reference, total, own_pay, created, journal = rows[0]
        lots: dict[int, list[TenderLot]] = {}
        for number, *lot in await self._driver.fetch(_LOTS, {"debit": debit_id}):
            lots.setdefault(number, []).append(TenderLot(*lot))
        tenders = tuple(
            Tender(*(*row[:9], tuple(lots.get(row[0], ())), *row[9:]))
            for row in await self._driver.fetch(_TENDERS, {"debit": debit_id})
        )
        return WalletDebit(
            debit_id,
            DebitState(state),
            participant,
            purpose,
            member,
            reference,
            total,
            own_pay,
            created,
            journal,
            tenders,
        )

    async def save(self, debit: WalletDebit) -> None:
        """See the port."""
        values = {"debit": debit.id, "state": debit.state.value, "journal": debit.journal}
        assert await self._driver.execute(_SAVE, values) == 1, "a debit is read before it is saved"
        tenders = {
            "debit": debit.id,
            "numbers": int2_array([tender.number for tender in debit.tenders]),
            "released": int8_array([tender.released_fen for tender in debit.tenders]),
            "reversed": int8_array([tender.reversed_fen for tender in debit.tenders]),
        }
        await self._driver.execute(_SAVE_TENDERS, tenders)
        lots = [(tender.number, place, lot) for tender in debit.tenders for place, lot in enumerate(tender.lots, 1)]
        if lots:
            parts = {
                "debit": debit.id,
                "numbers": int2_array([number for number, _, _ in lots]),
                "places": int2_array([place for _, place, _ in lots]),
                "released": int8_array([lot.released_fen for _, _, lot in lots]),
                "reversed": int8_array([lot.reversed_fen for _, _, lot in lots]),
            }
            await self._driver.execute(_SAVE_LOTS, parts)

    async def used(self, grants: Collection[tuple[str, str]], day: date) -> dict[tuple[str, str], Used]:
        """See the port."""
        pairs = sorted(grants)
        values = _days(day) | {"grants": [name for name, _ in pairs], "subjects": [subject for _, subject in pairs]}
        rows = await self._driver.fetch(_USED, values)
        return {(name, subject): Used(int(today), int(month), int(year)) for name, subject, today, month, year in rows}

    async def used_by_member(self, wallets: Collection[str], member: str, day: date) -> dict[str, Used]:
        """See the port."""
        values = _days(day) | {
            "wallets": list(wallets),
            "holders": [name.partition(".")[2] for name in wallets],
            "member": member,
        }
        found = dict.fromkeys(wallets, Used())
        for wallet, today, month, year in await self._driver.fetch(_USED_BY_MEMBER, values):
            found[wallet] = Used(int(today), int(month), int(year))
        return found


def _days(day: date) -> dict[str, Any]:
    return {"day": day, "month": day.replace(day=1), "year": day.replace(month=1, day=1)}
