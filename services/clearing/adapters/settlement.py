"""Payment accounts, instructions, bank returns, caps, alarms and the period lock in SQL."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.clearing.application.settlement_rows import AlarmRow, TakenFile
from services.clearing.domain.settlement import BankReturn, Instruction, InstructionState, PaymentAccount

_INSTRUCTION = (
    "SELECT i.*, p.id AS participant_id, b.id AS bank_id, a.account, a.holder FROM instruction i "
    "JOIN participant p ON p.number = i.participant JOIN payment_account a ON a.id = i.account_id "
    "JOIN participant b ON b.number = a.bank "
)


def _to_instruction(row: Row[Any]) -> Instruction:
    return Instruction(
        key=row.key,
        participant=row.participant_id,
        settlement_date=row.settlement_date,
        part=row.part,
        amount_fen=row.amount_fen,
        payout_date=row.payout_date,
        account=PaymentAccount(row.participant_id, row.bank_id, row.account, row.holder),
        state=InstructionState(row.state),
        paid_fen=row.paid_fen,
        bank_note=row.bank_note,
        created_at=row.created_at,
    )


def _to_return(row: Row[Any]) -> BankReturn:
    return BankReturn(row.key, row.bank_reference, row.amount_fen, row.paid, row.booked_on, row.note)


class SqlSettlement:
    """Settlement on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def account(self, participant: int) -> tuple[int, PaymentAccount] | None:
        """The newest payment account of a participant with its surrogate."""
        query = text(
            "SELECT a.id, p.id AS participant, b.id AS bank, a.account, a.holder FROM payment_account a "
            "JOIN participant p ON p.number = a.participant JOIN participant b ON b.number = a.bank "
            "WHERE a.participant = :participant ORDER BY a.id DESC LIMIT 1"
        )
        row = (await self._connection.execute(query, {"participant": participant})).first()
        return (row.id, PaymentAccount(row.participant, row.bank, row.account, row.holder)) if row else None

    async def add_account(self, participant: int, bank: int, account: PaymentAccount) -> None:
        """Store an account; older ones stay for the instructions that name them."""
        statement = text(
            "INSERT INTO payment_account (participant, bank, account, holder) VALUES (:participant, :bank, :account, "
            ":holder)"
        )
        values = {"participant": participant, "bank": bank, "account": account.account, "holder": account.holder}
        await self._connection.execute(statement, values)

    async def instructions_of(self, participant: int, day: date) -> list[Instruction]:
        """Instructions of one statement, by key."""
        query = text(_INSTRUCTION + "WHERE i.participant = :participant AND i.settlement_date = :day ORDER BY i.key")
        rows = await self._connection.execute(query, {"participant": participant, "day": day})
        return [_to_instruction(row) for row in rows]

    async def instructions_on(self, day: date) -> list[Instruction]:
        """Instructions of a day, by key."""
        query = text(_INSTRUCTION + "WHERE i.settlement_date = :day ORDER BY i.key")
        return [_to_instruction(row) for row in await self._connection.execute(query, {"day": day})]

    async def add_instruction(self, participant: int, account_id: int, one: Instruction) -> None:
        """Store an instruction; another that was made meanwhile stands."""
        statement = text(
            "INSERT INTO instruction (key, participant, settlement_date, part, amount_fen, payout_date, account_id, "
            "state, created_at) VALUES (:key, :participant, :day, :part, :amount, :payout, :account, :state, :at) "
            "ON CONFLICT DO NOTHING"
        )
        values = {
            "key": one.key, "participant": participant, "day": one.settlement_date, "part": one.part,
            "amount": one.amount_fen, "payout": one.payout_date, "account": account_id, "state": int(one.state),
            "at": one.created_at,
        }  # fmt: skip
        await self._connection.execute(statement, values)

    async def unsent(self, bank: int) -> list[Instruction]:
        """What a bank was not sent, and what it rejected; locked for this transaction."""
        query = text(_INSTRUCTION + "WHERE a.bank = :bank AND i.state IN (1, 5) ORDER BY i.key FOR UPDATE OF i")
        return [_to_instruction(row) for row in await self._connection.execute(query, {"bank": bank})]

    async def lock_instruction(self, key: str) -> Instruction | None:
        """One instruction, locked for this transaction."""
        row = (
            await self._connection.execute(text(_INSTRUCTION + "WHERE i.key = :key FOR UPDATE OF i"), {"key": key})
        ).first()
        return _to_instruction(row) if row else None

    async def save(self, one: Instruction) -> None:
        """Store where an instruction is now."""
        statement = text("UPDATE instruction SET state = :state, paid_fen = :paid, bank_note = :note WHERE key = :key")
        values = {"key": one.key, "state": int(one.state), "paid": one.paid_fen, "note": one.bank_note}
        await self._connection.execute(statement, values)

    async def page(
        self, participant: str | None, bank: str | None, state: int, after: str, size: int
    ) -> list[Instruction]:
        """Instructions by key."""
        query = text(
            _INSTRUCTION + "WHERE i.key > :after AND (CAST(:participant AS text) IS NULL OR p.id = :participant) "
            "AND (CAST(:bank AS text) IS NULL OR b.id = :bank) AND (:state = 0 OR i.state = :state) "
            "ORDER BY i.key LIMIT :size"
        )
        values = {"participant": participant, "bank": bank, "state": state, "after": after, "size": size}
        return [_to_instruction(row) for row in await self._connection.execute(query, values)]

    async def lock_bank(self, bank: int) -> None:
        """Two return files of one bank are taken one after the other."""
        await self._connection.execute(text("SELECT FROM participant WHERE number = :bank FOR UPDATE"), {"bank": bank})

    async def file(self, bank: int, sha256: bytes) -> TakenFile | None:
        """What became of a file that was taken before."""
        query = text("SELECT taken, known, unknown FROM bank_file WHERE bank = :bank AND sha256 = :sha")
        row = (await self._connection.execute(query, {"bank": bank, "sha": sha256})).first()
        return TakenFile(row.taken, row.known, row.unknown, sha256) if row else None

    async def add_file(self, bank: int, made: TakenFile, content: bytes, at: datetime) -> None:
        """Keep a file as it came."""
        await self._connection.execute(
            text("INSERT INTO bank_file VALUES (:bank, :sha, :content, :at, :taken, :known, :unknown)"),
            {"bank": bank, "sha": made.sha256, "content": content, "at": at, "taken": made.taken, "known": made.known,
             "unknown": made.unknown},
        )  # fmt: skip

    async def bank_return(self, bank: int, reference: str) -> BankReturn | None:
        """What a bank said before under a reference."""
        query = text("SELECT * FROM bank_return WHERE bank = :bank AND bank_reference = :reference")
        row = (await self._connection.execute(query, {"bank": bank, "reference": reference})).first()
        return _to_return(row) if row else None

    async def add_return(self, bank: int, row: BankReturn, sha256: bytes, *, known: bool) -> None:
        """Keep a row."""
        await self._connection.execute(
            text("INSERT INTO bank_return VALUES (:bank, :reference, :key, :amount, :paid, :day, :note, :known, :sha)"),
            {"bank": bank, "reference": row.bank_reference, "key": row.key, "amount": row.amount_fen, "paid": row.paid,
             "day": row.booked_on, "note": row.note, "known": known, "sha": sha256},
        )  # fmt: skip

    async def unknown_returns(self, since: date) -> list[tuple[str, BankReturn]]:
        """Payments that nobody instructed, with their bank, booked on or after a day."""
        query = text(
            "SELECT r.*, p.id AS bank_id FROM bank_return r JOIN participant p ON p.number = r.bank "
            "WHERE NOT r.known AND r.paid AND r.booked_on >= :since ORDER BY p.id, r.bank_reference"
        )
        return [(row.bank_id, _to_return(row)) for row in await self._connection.execute(query, {"since": since})]

    async def set_cap(self, participant: int, cap_fen: int) -> None:
        """Set a cap."""
        statement = text(
            "INSERT INTO net_debit_cap VALUES (:participant, :cap) "
            "ON CONFLICT (participant) DO UPDATE SET cap_fen = EXCLUDED.cap_fen"
        )
        await self._connection.execute(statement, {"participant": participant, "cap": cap_fen})

    async def exposures(self) -> list[tuple[int, str, int, int]]:
        """Surrogate, id, cap and balance on 2203 of all that have a cap, in fen; below 0 the participant owes."""
        query = text(
            "SELECT c.participant, p.id, c.cap_fen, (SELECT coalesce(sum(CASE WHEN l.credit_account = 'accounts/2203.' "
            "|| p.id THEN l.amount_fen ELSE 0 END) - sum(CASE WHEN l.debit_account = 'accounts/2203.' || p.id "
            "THEN l.amount_fen ELSE 0 END), 0) FROM (SELECT debit_account, credit_account, amount_fen FROM batch_line "
            "WHERE credit_account = 'accounts/2203.' || p.id UNION ALL SELECT debit_account, credit_account, "
            "amount_fen "
            "FROM book_posting_line WHERE 'accounts/2203.' || p.id IN (debit_account, credit_account)) l) "
            "- (SELECT coalesce(sum(s.fee_fen), 0) FROM statement_fee s WHERE s.participant = c.participant) AS "
            "balance "
            "FROM net_debit_cap c JOIN participant p ON p.number = c.participant ORDER BY p.id"
        )
        return [
            (row.participant, row.id, row.cap_fen, int(row.balance)) for row in await self._connection.execute(query)
        ]

    async def raise_alarm(self, kind: str, participant: int, limit_fen: int, found_fen: int, at: datetime) -> bool:
        """Raise an alarm; False when it is raised already."""
        statement = text(
            "INSERT INTO alarm (kind, participant, limit_fen, found_fen, raised_at) VALUES (:kind, :participant, "
            ":limit, "
            ":found, :at) ON CONFLICT DO NOTHING RETURNING id"
        )
        values = {"kind": kind, "participant": participant, "limit": limit_fen, "found": found_fen, "at": at}
        return (await self._connection.execute(statement, values)).first() is not None

    async def end_alarm(self, kind: str, participant: int, at: datetime) -> int:
        """End an alarm; how many were open."""
        statement = text(
            "UPDATE alarm SET ended_at = :at WHERE kind = :kind AND participant = :participant AND ended_at IS NULL"
        )
        return (
            await self._connection.execute(statement, {"kind": kind, "participant": participant, "at": at})
        ).rowcount

    async def alarms(self, after: int, size: int, *, open_only: bool) -> list[AlarmRow]:
        """Alarms by number."""
        query = text(
            "SELECT a.*, p.id AS participant_id FROM alarm a JOIN participant p ON p.number = a.participant "
            "WHERE a.id > :after AND (NOT :open OR a.ended_at IS NULL) ORDER BY a.id LIMIT :size"
        )
        return [
            AlarmRow(row.id, row.kind, row.participant_id, row.limit_fen, row.found_fen, row.raised_at, row.ended_at)
            for row in await self._connection.execute(query, {"after": after, "size": size, "open": open_only})
        ]

    async def lock(self) -> tuple[date, str] | None:
        """The lock: last locked day, and who locked it."""
        row = (
            await self._connection.execute(text("SELECT until, locked_by FROM period_lock ORDER BY until DESC LIMIT 1"))
        ).first()
        return (row.until, row.locked_by) if row else None

    async def add_lock(self, until: date, who: str, at: datetime) -> None:
        """Lock up to a day."""
        statement = text("INSERT INTO period_lock VALUES (:until, :who, :at) ON CONFLICT DO NOTHING")
        await self._connection.execute(statement, {"until": until, "who": who, "at": at})

    async def open_until(self, until: date) -> tuple[str, date] | None:
        """An open window with something in it, on or before a day."""
        query = text(
            "SELECT p.id, w.settlement_date FROM settlement_window w JOIN participant p ON p.number = w.participant "
            "WHERE w.closed_at IS NULL AND w.settlement_date <= :until AND (EXISTS (SELECT FROM position_delta d "
            "WHERE d.participant = w.participant AND d.settlement_date = w.settlement_date) OR EXISTS (SELECT "
            "FROM adjustment a WHERE a.participant = w.participant AND a.settlement_date = w.settlement_date)) "
            "ORDER BY w.settlement_date, p.id LIMIT 1"
        )
        row = (await self._connection.execute(query, {"until": until})).first()
        return (row.id, row.settlement_date) if row else None
