"""Suspense items, their history, corrections, liability rules and late rests in SQL."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.clearing.application.suspense_rows import Age, ItemEvent, NewItems
from services.clearing.domain.judgement import I64
from services.clearing.domain.suspense import (
    Condition,
    Correction,
    Decision,
    ItemState,
    LiabilityRule,
    Shares,
    SuspenseItem,
)

_ITEM = (
    "SELECT i.*, p.id AS participant_id, q.id AS payee_id, "
    "'participants/' || f.participant || '/files/' || encode(f.sha256, 'hex') AS file, "
    "c.payee AS correction_payee, c.amount_fen AS correction_fen, c.reason AS correction_reason, "
    "c.made_by AS correction_by, c.made_at AS correction_at FROM suspense_item i "
    "JOIN participant p ON p.number = i.participant JOIN participant q ON q.number = i.payee "
    "JOIN file f ON f.id = i.file_id LEFT JOIN LATERAL (SELECT w.id AS payee, r.amount_fen, r.reason, r.made_by, "
    "r.made_at FROM record_correction r JOIN participant w ON w.number = r.payee WHERE r.item_id = i.id "
    "ORDER BY r.id DESC LIMIT 1) c ON true "
)


def _to_item(row: Row[Any]) -> SuspenseItem:
    correction = None
    if row.correction_payee is not None:
        correction = Correction(
            row.correction_payee, row.correction_fen, row.correction_reason, row.correction_by, row.correction_at
        )
    return SuspenseItem(
        id=row.id,
        participant=row.participant_id,
        payee=row.payee_id,
        digest=bytes(row.digest),
        settlement_date=row.settlement_date,
        code=row.code,
        debited=row.debited,
        amount_fen=row.amount_fen,
        issuer=row.issuer,
        card=f"{'jt' if row.jt else 'cj'}-{bytes(row.card_number).hex()}",
        terminal_number=row.terminal_number,
        terminal_seq=row.terminal_seq,
        file=row.file,
        file_index=row.file_index,
        opened_at=row.opened_at,
        state=ItemState(row.state),
        decision=Decision(row.decision),
        shares=Shares(row.pay_fen, row.return_fen, row.write_off_fen),
        reason=row.reason,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        approved_by=row.approved_by,
        posted_at=row.posted_at,
        posted_on=row.posted_on,
        final_code=row.final_code,
        correction=correction,
    )


class SqlSuspense:
    """Suspense on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def open_items(self, items: NewItems, at: datetime) -> None:
        """Open items, all in one statement; a memorandum whose record debited its card after all becomes an item."""
        statement = text(
            "INSERT INTO suspense_item (digest, participant, payee, settlement_date, code, debited, amount_fen, "
            "issuer, "
            "jt, card_number, terminal_number, terminal_seq, file_id, file_index, opened_at) "
            "SELECT digest, participant, participant, day, code, debited, amount, issuer, jt, card, terminal, seq, "
            "file, index, :at FROM unnest(CAST(:digests AS bytea[]), CAST(:participants AS int[]), "
            "CAST(:days AS date[]), CAST(:codes AS smallint[]), CAST(:debited AS boolean[]), "
            "CAST(:amounts AS bigint[]), CAST(:issuers AS text[]), CAST(:jts AS boolean[]), CAST(:cards AS bytea[]), "
            "CAST(:terminals AS bigint[]), CAST(:seqs AS bigint[]), CAST(:files AS bigint[]), "
            "CAST(:indexes AS int[])) AS t (digest, participant, day, code, debited, amount, issuer, jt, card, "
            "terminal, seq, file, index) "
            "ON CONFLICT (digest) DO UPDATE SET code = EXCLUDED.code, debited = true, amount_fen = "
            "EXCLUDED.amount_fen, "
            "settlement_date = EXCLUDED.settlement_date, state = 1, decision = 0, reason = '', decided_by = '', "
            "decided_at = NULL, approved_by = '', posted_at = NULL, posted_on = NULL, final_code = NULL, "
            "result_number = NULL WHERE EXCLUDED.debited AND NOT suspense_item.debited"
        )
        values = {
            "digests": [one.tobytes() for one in items.digest],
            "participants": items.participant.tolist(),
            "days": list(items.settlement_day),
            "codes": items.code.tolist(),
            "debited": items.debited.tolist(),
            "amounts": items.amount_fen.tolist(),
            "issuers": list(items.issuer),
            "jts": items.jt.tolist(),
            "cards": list(items.card_number),
            "terminals": items.terminal_number.tolist(),
            "seqs": items.terminal_seq.tolist(),
            "files": items.file_id.tolist(),
            "indexes": items.file_index.tolist(),
            "at": at,
        }
        await self._connection.execute(statement, values)

    async def settle_memoranda(self, decided: Mapping[bytes, tuple[int, date | None, int]], at: datetime) -> None:
        """Close memoranda whose records were judged for good.

        Args:
            decided: By digest: final code, settlement date and amount paid in fen.
            at: Now.
        """
        if not decided:
            return
        statement = text(
            "WITH d AS (SELECT * FROM unnest(CAST(:digests AS bytea[]), CAST(:codes AS smallint[]), "
            "CAST(:days AS date[]), CAST(:paid AS bigint[])) AS t (digest, code, day, paid)), "
            "closed AS (UPDATE suspense_item i SET state = 4, decision = 5, final_code = d.code, posted_on = d.day, "
            "posted_at = :at, pay_fen = d.paid, reason = 'judged' FROM d WHERE i.digest = d.digest AND NOT i.debited "
            "AND i.state < 4 RETURNING i.id, d.code) "
            "INSERT INTO suspense_event (item_id, at, person, action, note) SELECT id, :at, "
            "'citycard://service/clearing', 'judged', 'result code ' || code FROM closed"
        )
        codes, days, paid = zip(*decided.values(), strict=True)
        values = {"digests": list(decided), "codes": list(codes), "days": list(days), "paid": list(paid), "at": at}
        await self._connection.execute(statement, values)

    async def sweep(self, at: datetime) -> int:
        """Close memoranda of records that stopped waiting without being posted: grey ones, in the main; how many."""
        query = text(
            "SELECT i.digest, w.final_code FROM suspense_item i JOIN waiting_record w ON w.digest = i.digest "
            "WHERE i.state < 4 AND NOT i.debited AND w.closed_at IS NOT NULL"
        )
        closed = {bytes(row.digest): (row.final_code, None, 0) for row in await self._connection.execute(query)}
        await self.settle_memoranda(closed, at)
        return len(closed)

    async def find(self, item_id: int, *, lock: bool = False) -> SuspenseItem | None:
        """One item; locked for this transaction if asked."""
        query = text(_ITEM + "WHERE i.id = :id" + (" FOR UPDATE OF i" if lock else ""))
        row = (await self._connection.execute(query, {"id": item_id})).first()
        return _to_item(row) if row else None

    async def page(self, participant: str | None, state: int, code: int, after: int, size: int) -> list[SuspenseItem]:
        """Items by number; state 0 and code 0 mean all."""
        query = text(
            _ITEM + "WHERE i.id > :after AND (CAST(:participant AS text) IS NULL OR p.id = :participant) "
            "AND (:state = 0 OR i.state = :state) AND (:code = 0 OR i.code = :code) ORDER BY i.id LIMIT :size"
        )
        values = {"after": after, "participant": participant, "state": state, "code": code, "size": size}
        return [_to_item(row) for row in await self._connection.execute(query, values)]

    async def save(self, item: SuspenseItem, event: ItemEvent) -> None:
        """Store what became of an item, and why."""
        statement = text(
            "UPDATE suspense_item SET state = :state, decision = :decision, pay_fen = :pay, return_fen = :back, "
            "write_off_fen = :off, reason = :reason, decided_by = :decided_by, decided_at = :decided_at, "
            "approved_by = :approved_by, posted_at = :posted_at, posted_on = :posted_on, final_code = :final, "
            "payee = (SELECT number FROM participant WHERE id = :payee) WHERE id = :id"
        )
        values = {
            "id": item.id, "state": int(item.state), "decision": int(item.decision), "pay": item.shares.pay_fen,
            "back": item.shares.return_fen, "off": item.shares.write_off_fen, "reason": item.reason,
            "decided_by": item.decided_by, "decided_at": item.decided_at, "approved_by": item.approved_by,
            "posted_at": item.posted_at, "posted_on": item.posted_on, "final": item.final_code, "payee": item.payee,
        }  # fmt: skip
        await self._connection.execute(statement, values)
        await self._connection.execute(
            text(
                "INSERT INTO suspense_event (item_id, at, person, action, note) VALUES (:id, :at, :person, :action, "
                ":note)"
            ),
            {"id": item.id, "at": event.at, "person": event.person, "action": event.action, "note": event.note},
        )

    async def add_correction(self, item: SuspenseItem, correction: Correction) -> None:
        """Keep a correction beside the record."""
        await self._connection.execute(
            text(
                "INSERT INTO record_correction (item_id, digest, payee, amount_fen, reason, made_by, made_at) "
                "SELECT :item, :digest, number, :amount, :reason, :by, :at FROM participant WHERE id = :payee"
            ),
            {
                "item": item.id,
                "digest": item.digest,
                "payee": correction.payee,
                "amount": correction.amount_fen,
                "reason": correction.reason,
                "by": correction.made_by,
                "at": correction.made_at,
            },
        )

    async def events(self, item_id: int) -> list[ItemEvent]:
        """What happened to an item, oldest first."""
        query = text("SELECT at, person, action, note FROM suspense_event WHERE item_id = :id ORDER BY id")
        rows = await self._connection.execute(query, {"id": item_id})
        return [ItemEvent(row.at, row.person, row.action, row.note) for row in rows]

    async def ages(self, participant: str | None, bounds: Sequence[tuple[int, datetime]]) -> list[Age]:
        """Open items by participant, kind and age.

        Args:
            participant: Only of this one.
            bounds: Days and the instant so many days ago, from the fewest days on.
        """
        older = " ".join(
            f"WHEN i.opened_at < CAST(:at{days} AS timestamptz) THEN {days}" for days, _ in reversed(bounds)
        )
        query = text(
            f"SELECT p.id, i.debited, CASE {older} ELSE 0 END AS days_above, count(*) AS items, "
            "sum(i.amount_fen) AS amount, min(i.opened_at) AS oldest FROM suspense_item i "
            "JOIN participant p ON p.number = i.participant WHERE i.state < 4 "
            "AND (CAST(:participant AS text) IS NULL OR p.id = :participant) GROUP BY 1, 2, 3 ORDER BY 1, 2 DESC, 3"
        )
        values: dict[str, Any] = {"participant": participant} | {f"at{days}": at for days, at in bounds}
        rows = await self._connection.execute(query, values)
        return [Age(row.id, row.debited, row.days_above, row.items, int(row.amount), row.oldest) for row in rows]

    async def debited_sums(self) -> dict[str, int]:
        """Open items that debited a card, by participant, in fen: what stands on 2205 (B4)."""
        query = text(
            "SELECT p.id, sum(i.amount_fen) AS amount FROM suspense_item i JOIN participant p ON p.number = "
            "i.participant "
            "WHERE i.state < 4 AND i.debited GROUP BY 1"
        )
        return {row.id: int(row.amount) for row in await self._connection.execute(query)}

    async def rules(self) -> list[LiabilityRule]:
        """The liability rules in force, by code and condition."""
        query = text(
            "SELECT DISTINCT ON (code, condition) code, condition, decision, text_zh, text_en FROM liability_rule "
            "ORDER BY code, condition, id DESC"
        )
        return [
            LiabilityRule(row.code, Condition(row.condition), Decision(row.decision), row.text_zh, row.text_en)
            for row in await self._connection.execute(query)
        ]

    async def set_rule(self, rule: LiabilityRule) -> None:
        """Put a rule in force; the one before stays as history."""
        await self._connection.execute(
            text(
                "INSERT INTO liability_rule (code, condition, decision, text_zh, text_en) "
                "VALUES (:code, :condition, :decision, :zh, :en)"
            ),
            {
                "code": rule.code,
                "condition": int(rule.condition),
                "decision": int(rule.decision),
                "zh": rule.text_zh,
                "en": rule.text_en,
            },
        )

    async def listed_version(self, card: str, at_s: int) -> int | None:
        """The list version that contained a card at an instant, by its earliest entry in force."""
        query = text(
            "SELECT version FROM listing WHERE jt = :jt AND number = :number AND effective_s <= :at "
            "AND (removed_s IS NULL OR removed_s > :at) ORDER BY effective_s, version LIMIT 1"
        )
        scheme, _, digits = card.partition("-")
        values = {"jt": scheme == "jt", "number": bytes.fromhex(digits), "at": at_s}
        version: int | None = (await self._connection.execute(query, values)).scalar()
        return version

    async def ledgers(self, cards: I64) -> tuple[I64, npt.NDArray[np.bool_]]:
        """Card ledgers: opening and loads less all records taken, in fen, and whether the opening is known.

        Read here and nowhere else: what a process remembers of cards is their last record, not what they hold. The
        cards stay locked until this transaction ends, so that two workers with a late record each do not both spend
        what is left; sets without late records lock no card.

        Args:
            cards: (k,) surrogates, ascending.
        """
        # A statement of its own: the next one sees what the holder of the lock has committed meanwhile.
        await self._connection.execute(
            text("SELECT id FROM card WHERE id = ANY(:cards) ORDER BY id FOR NO KEY UPDATE"), {"cards": cards.tolist()}
        )
        query = text(
            "SELECT c.opening_fen IS NOT NULL AS known, coalesce(c.opening_fen, 0) + coalesce((SELECT "
            "sum(l.amount_fen) "
            "FROM card_load l WHERE l.number = c.number AND l.jt = c.jt AND l.generation = c.generation), 0) "
            "- coalesce((SELECT sum(r.amount_fen) FROM record r WHERE r.card_id = c.id), 0) AS ledger "
            "FROM unnest(CAST(:cards AS bigint[])) WITH ORDINALITY AS t (id, place) JOIN card c ON c.id = t.id "
            "ORDER BY t.place"
        )
        rows = list(await self._connection.execute(query, {"cards": cards.tolist()}))
        return np.array([int(row.ledger) for row in rows], np.int64), np.array([row.known for row in rows], np.bool_)

    async def add_rests(self, terminal: I64, seq: I64, file_id: I64, file_index: I64, rest_fen: I64) -> None:
        """Keep what late records were not covered for; columns of equal length."""
        statement = text(
            "INSERT INTO late_rest SELECT * FROM unnest(CAST(:terminals AS bigint[]), CAST(:seqs AS bigint[]), "
            "CAST(:files AS bigint[]), CAST(:indexes AS int[]), CAST(:rests AS bigint[]))"
        )
        columns = {"terminals": terminal, "seqs": seq, "files": file_id, "indexes": file_index, "rests": rest_fen}
        await self._connection.execute(statement, {name: column.tolist() for name, column in columns.items()})

    async def rests(self, first_id: int, last_id: int) -> dict[int, dict[int, int]]:
        """Rests in fen by file and index in it, of the files from one surrogate to another."""
        query = text("SELECT file_id, file_index, rest_fen FROM late_rest WHERE file_id BETWEEN :first AND :last")
        found: dict[int, dict[int, int]] = {}
        for row in await self._connection.execute(query, {"first": first_id, "last": last_id}):
            found.setdefault(row.file_id, {})[row.file_index] = row.rest_fen
        return found
