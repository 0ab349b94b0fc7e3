"""The bulk path in SQL: what is known of a set of records comes out as columns, verdicts go in as columns."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.records import bcd, otr
from libs.records.codes import ResultCode
from libs.runtime.database import driver_connection
from services.clearing.adapters.files import SqlFiles
from services.clearing.adapters.pgcolumns import Columns, Shape, copy_in, fetch_columns
from services.clearing.application.ports import StoredFile
from services.clearing.domain.judgement import I64, NEVER_S, Bools, Judgement, Known, Loads
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import Position, PostingLine

# One table per connection, emptied at commit: made once, so that the catalogue does not grow with every set.
_STAGING = """
CREATE TEMPORARY TABLE IF NOT EXISTS set_row (
    row int4, terminal int8, seq int8, card bytea, counter int4, psam bytea, digest bytea
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS set_card (
    place int4, number bytea
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS set_key (
    row int4, card int8, counter int4
) ON COMMIT DELETE ROWS
"""
_ROW: Shape = (
    ("row", "int4"), ("terminal", "int8"), ("seq", "int8"), ("card", "bytes10"), ("counter", "int4"),
    ("psam", "bytes10"), ("digest", "bytes16"),
)  # fmt: skip
_CARD: Shape = (("place", "int4"), ("number", "bytes10"))
_KEY: Shape = (("row", "int4"), ("card", "int8"), ("counter", "int4"))
_RECORD: Shape = (
    ("terminal_number", "int8"), ("terminal_seq", "int8"), ("card_id", "int8"), ("card_counter", "int4"),
    ("transaction_s", "int8"), ("amount_fen", "int8"), ("list_price_fen", "int8"), ("balance_before_fen", "int8"),
    ("file_id", "int8"), ("file_index", "int4"), ("participant", "int4"), ("settlement_date", "int4"),
    ("kind", "int2"), ("code", "int2"), ("digest", "bytes16"),
)  # fmt: skip
_ALL_INDUSTRIES = -1
# PostgreSQL counts days from 2000-01-01.
_PG_EPOCH_DAYS = (date(2000, 1, 1) - date(1970, 1, 1)).days
_REVOKED_NEVER = int(NEVER_S)


class SqlPostings:
    """Bulk look-ups and writes on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def look_up(
        self,
        records: otr.Records,
        digests: npt.NDArray[np.void],
        times_s: I64,
        received_s: I64,
        senders: Sequence[Participant],
        sender_of: I64,
    ) -> Known:
        """What the centre knows about each record; a handful of set queries, whatever the number of records."""
        driver = await driver_connection(self._connection)
        await driver.execute(_STAGING)
        count = len(records)
        rows = np.arange(count)
        await copy_in(driver, "set_row", _ROW, _keys_of(records, digests, rows))
        numbers, number_of = np.unique(
            np.ascontiguousarray(records["card_number"]).view("V10")[:, 0], return_inverse=True
        )
        await copy_in(driver, "set_card", _CARD, {"place": np.arange(len(numbers)), "number": numbers})
        terminal, psam, revoked_s = await _devices(driver, count)
        u1_taken, same_taken = await _taken(driver, count, digests)
        jt = records["card_class"] == 0x07
        cards = await _Cards.load(driver)
        card, generation, start_day, expiry_day, counter_first = cards.of(number_of, jt, times_s)
        await copy_in(
            driver, "set_key", _KEY,
            {"row": rows, "card": card, "counter": records["card_counter"].astype(np.int64)},
        )  # fmt: skip
        u2_taken, previous, after_fen, previous_s = await _sequence(driver, count)
        highest = await _highest(driver, card, counter_first)
        registered = await self._connection.execute(text("SELECT issuer_id, key_version, algorithm_id FROM issuer_key"))
        own, key = _issuers(records, {(row.issuer_id, row.key_version, row.algorithm_id) for row in registered})
        return Known(
            received_s=received_s,
            participant=await self._participants(records, senders, sender_of),
            terminal=terminal,
            psam=psam,
            psam_revoked_s=revoked_s,
            same_taken=same_taken,
            u1_taken=u1_taken,
            own_issuer=own,
            card=card,
            generation=generation,
            start_day=start_day,
            expiry_day=expiry_day,
            key=key,
            tac=np.zeros(count, np.bool_),
            u2_taken=u2_taken,
            counter_highest=highest,
            previous=previous,
            previous_after_fen=after_fen,
            previous_s=previous_s,
            listed=await _listed(driver, number_of, jt, generation, times_s),
            limit_fen=await self._limits(records["industry"], times_s),
            loads=await _loads(driver, number_of, jt, generation, card),
        )

    async def _participants(self, records: otr.Records, senders: Sequence[Participant], sender_of: I64) -> I64:
        """Who is paid: by acquirer and operator, where the sender may bring the acquirer's records; else -1."""
        query = text("SELECT number, institution_id, operator_number FROM participant")
        exact: dict[tuple[str, int], int] = {}
        for row in await self._connection.execute(query):
            exact[row.institution_id, row.operator_number] = row.number
        groups = np.zeros(len(records), dtype=[("acquirer", "V8"), ("operator", "u4"), ("sender", "i8")])
        groups["acquirer"] = np.ascontiguousarray(records["acquirer"]).view("V8")[:, 0]
        groups["operator"] = records["operator"]
        groups["sender"] = sender_of
        packed = groups.view(f"V{groups.dtype.itemsize}")
        _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
        answers = np.full(len(first), -1, np.int64)
        for place, group in enumerate(groups[first]):
            acquirer = group["acquirer"].tobytes().hex().upper()
            sender = senders[int(group["sender"])]
            if acquirer == sender.institution_id or acquirer in sender.served:
                # Operator 0 stands for all operators of its institution that are no participants themselves.
                whole = exact.get((acquirer, 0), -1)
                answers[place] = exact.get((acquirer, int(group["operator"])), whole)
        return answers[inverse]

    async def _limits(self, industries: npt.NDArray[Any], times_s: I64) -> I64:
        limits = np.full(len(industries), np.iinfo(np.int64).max, np.int64)
        query = text(
            "SELECT industry, extract(epoch FROM effective_at)::bigint AS effective_s, amount_limit_fen "
            "FROM industry_limit ORDER BY (industry <> -1), industry, effective_at"
        )
        # General limits come first and are overruled; of one industry the last that was in force counts.
        for row in await self._connection.execute(query):
            of_industry = (
                np.full(len(industries), True) if row.industry == _ALL_INDUSTRIES else industries == row.industry
            )
            limits[of_industry & (times_s >= row.effective_s)] = row.amount_limit_fen
        return limits

    async def open_window(self, participant: int, first: date) -> date:
        """The first open window on or after a day; it cannot be closed before this transaction ends."""
        day = first
        insert = text(
            "INSERT INTO settlement_window (participant, settlement_date) VALUES (:participant, :day) "
            "ON CONFLICT DO NOTHING"
        )
        # A share lock: posters do not wait for each other, closing waits for all of them.
        look = text(
            "SELECT closed_at FROM settlement_window WHERE participant = :participant AND "
            "settlement_date = :day FOR SHARE"
        )
        while True:
            values = {"participant": participant, "day": day}
            await self._connection.execute(insert, values)
            if (await self._connection.execute(look, values)).scalar_one() is None:
                return day
            day += timedelta(days=1)

    async def add_records(
        self,
        records: otr.Records,
        digests: npt.NDArray[np.void],
        times_s: I64,
        known: Known,
        judgement: Judgement,
        file_ids: I64,
        file_indexes: I64,
        participants: I64,
        settlement_day: I64,
        at: datetime,
    ) -> None:
        """Store records that took their keys, keep those that wait, and close grey ones that a full record answers."""
        driver = await driver_connection(self._connection)
        rows = np.flatnonzero(judgement.takes)
        taken = records[rows]
        columns: Columns = {
            "terminal_number": otr.terminal_numbers(taken).astype(np.int64),
            "terminal_seq": taken["terminal_seq"].astype(np.int64),
            "card_id": known.card[rows],
            "card_counter": taken["card_counter"],
            "transaction_s": times_s[rows],
            "amount_fen": taken["amount_fen"],
            "list_price_fen": taken["list_price_fen"],
            "balance_before_fen": taken["balance_before_fen"],
            "file_id": file_ids[rows],
            "file_index": file_indexes[rows],
            "participant": participants[rows],
            "settlement_date": settlement_day[rows] - _PG_EPOCH_DAYS,
            "kind": taken["kind"],
            "code": judgement.codes[rows],
            "digest": digests[rows],
        }
        if len(rows):
            await copy_in(driver, "record", _RECORD, columns)
        waiting = np.flatnonzero(judgement.waits)
        if len(waiting):
            await self._keep_waiting(records, digests, judgement, file_ids, file_indexes, participants, at, waiting)
        if len(rows):
            await self._connection.execute(
                text(
                    "UPDATE waiting_record w SET closed_at = :at, final_code = 1 FROM set_row s "
                    "WHERE w.closed_at IS NULL AND w.kind = 8 AND w.terminal_number = s.terminal "
                    "AND w.terminal_seq = s.seq AND s.digest <> w.digest AND EXISTS (SELECT FROM record r "
                    "WHERE r.terminal_number = s.terminal AND r.terminal_seq = s.seq)"
                ),
                {"at": at},
            )

    async def _keep_waiting(
        self, records: otr.Records, digests: npt.NDArray[np.void], judgement: Judgement, file_ids: I64,
        file_indexes: I64, participants: I64, at: datetime, rows: npt.NDArray[np.intp],
    ) -> None:  # fmt: skip
        content = otr.raw(records)
        terminals = otr.terminal_numbers(records[rows])
        values = [
            {
                "digest": digests[row].tobytes(),
                "content": content[row].tobytes(),
                "file_id": int(file_ids[row]),
                "file_index": int(file_indexes[row]),
                "participant": int(participants[row]),
                "kind": int(records["kind"][row]),
                "code": int(judgement.codes[row]),
                "terminal_number": int(terminals[place]),
                "terminal_seq": int(records["terminal_seq"][row]),
                "card_number": records["card_number"][row].tobytes(),
                "opened_at": at,
            }
            for place, row in enumerate(rows)
        ]
        names = ", ".join(values[0])
        places = ", ".join(f":{name}" for name in values[0])
        statement = f"INSERT INTO waiting_record ({names}) VALUES ({places}) ON CONFLICT DO NOTHING"
        await self._connection.execute(text(statement), values)

    async def add_batch(
        self,
        batch_id: UUID,
        positions: Sequence[Position],
        lines: Sequence[PostingLine],
        movement_count: int,
        movement_total_fen: int,
        at: datetime,
    ) -> None:
        """Store what a set means in money."""
        await self._connection.execute(
            text(
                "INSERT INTO batch (id, posted_at, movement_count, movement_total_fen, folded_at) "
                "VALUES (:id, :at, :count, :total, :folded)"
            ),
            # A set without movements is never told to the ledger: nothing is awaited.
            {"id": batch_id, "at": at, "count": movement_count, "total": movement_total_fen,
             "folded": None if movement_count else at},
        )  # fmt: skip
        if lines:
            await self._connection.execute(
                text("INSERT INTO batch_line VALUES (:batch, :debit, :credit, :amount, :count)"),
                [{"batch": batch_id, "debit": line.debit_account, "credit": line.credit_account,
                  "amount": line.amount_fen, "count": line.record_count} for line in lines],
            )  # fmt: skip
        if positions:
            await self._connection.execute(
                text(
                    "INSERT INTO position_delta VALUES (:batch, :participant, :day, :issuer, :acquirer, :operator, "
                    ":industry, :kind, :main_type, :code, :count, :amount, :price)"
                ),
                [{"batch": batch_id, "participant": one.key.participant, "day": one.key.settlement_date,
                  "issuer": one.key.issuer, "acquirer": one.key.acquirer, "operator": one.key.operator,
                  "industry": one.key.industry, "kind": one.key.kind, "main_type": one.key.card_main_type,
                  "code": one.key.code, "count": one.record_count, "amount": one.amount_fen,
                  "price": one.list_price_fen} for one in positions],
            )  # fmt: skip

    async def take_waiting(self, size: int) -> list[tuple[StoredFile, int, bytes, bytes]]:
        """Records whose card, terminal or key has become known since; locked, oldest first."""
        query = text(
            """
            SELECT w.file_id, w.file_index, w.digest, w.content FROM waiting_record w
            WHERE w.closed_at IS NULL AND (
                (w.code = 11 AND EXISTS (SELECT FROM card c WHERE c.number = w.card_number))
                OR (w.code = 31 AND EXISTS (SELECT FROM terminal t WHERE t.number = w.terminal_number)
                    AND EXISTS (SELECT FROM psam p WHERE p.number = substring(w.content FROM 51 FOR 10)))
                OR (w.code = 13 AND EXISTS (SELECT FROM issuer_key k
                    WHERE k.issuer_id = upper(encode(substring(w.content FROM 7 FOR 8), 'hex'))
                    AND k.key_version = get_byte(w.content, 4) AND k.algorithm_id = get_byte(w.content, 3)))
            )
            ORDER BY w.opened_at, w.digest LIMIT :size FOR UPDATE SKIP LOCKED
            """
        )
        rows = list(await self._connection.execute(query, {"size": size}))
        files = await SqlFiles(self._connection).by_ids({row.file_id for row in rows})
        return [(files[row.file_id], row.file_index, bytes(row.digest), bytes(row.content)) for row in rows]

    async def close_waiting(self, decided: Mapping[bytes, int], at: datetime) -> None:
        """Close those with a verdict that stands; a new provisional code replaces the old one."""
        provisional = {int(code) for code in (ResultCode.CONFLICT, ResultCode.CARD_UNKNOWN, ResultCode.KEY_UNKNOWN,
                                              ResultCode.TERMINAL_UNKNOWN, ResultCode.PENDING)}  # fmt: skip
        final = [{"digest": d, "code": c, "at": at} for d, c in decided.items() if c not in provisional]
        still = [{"digest": d, "code": c} for d, c in decided.items() if c in provisional]
        if final:
            statement = "UPDATE waiting_record SET closed_at = :at, final_code = :code WHERE digest = :digest"
            await self._connection.execute(text(statement), final)
        if still:
            await self._connection.execute(text("UPDATE waiting_record SET code = :code WHERE digest = :digest"), still)


def _keys_of(records: otr.Records, digests: npt.NDArray[np.void], rows: I64) -> Columns:
    return {
        "row": rows,
        "terminal": otr.terminal_numbers(records).astype(np.int64),
        "seq": records["terminal_seq"],
        "card": records["card_number"],
        "counter": records["card_counter"],
        "psam": records["psam_number"],
        "digest": digests,
    }


async def _devices(driver: psycopg.AsyncConnection[Any], count: int) -> tuple[Bools, Bools, I64]:
    terminal, psam = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    revoked_s = np.full(count, _REVOKED_NEVER, np.int64)
    known = await fetch_columns(
        driver, "SELECT s.row FROM set_row s JOIN terminal t ON t.number = s.terminal", (("row", "int4"),)
    )
    terminal[known["row"]] = True
    query = (
        f"SELECT s.row, coalesce(p.revoked_s, {_REVOKED_NEVER})::int8 FROM set_row s JOIN psam p ON p.number = s.psam"
    )
    found = await fetch_columns(driver, query, (("row", "int4"), ("revoked_s", "int8")))
    psam[found["row"]] = True
    revoked_s[found["row"]] = found["revoked_s"]
    return terminal, psam, revoked_s


async def _taken(
    driver: psycopg.AsyncConnection[Any], count: int, digests: npt.NDArray[np.void]
) -> tuple[Bools, Bools]:
    u1_taken, same = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    query = (
        "SELECT s.row, r.digest FROM set_row s JOIN record r "
        "ON r.terminal_number = s.terminal AND r.terminal_seq = s.seq"
    )
    found = await fetch_columns(driver, query, (("row", "int4"), ("digest", "bytes16")))
    u1_taken[found["row"]] = True
    same[found["row"]] = digests[found["row"]] == found["digest"]
    # Kinds that post nothing take no key, but their bytes are known all the same.
    kept = await fetch_columns(
        driver,
        "SELECT s.row FROM set_row s JOIN waiting_record w ON w.digest = s.digest AND w.code = 0",
        (("row", "int4"),),
    )
    same[kept["row"]] = True
    return u1_taken, same


class _Cards:
    """Every life of every card of the set, sorted by number and beginning."""

    def __init__(self, rows: npt.NDArray[np.void]) -> None:
        self._rows = rows[np.lexsort((rows["issued_s"], rows["jt"], rows["place"]))]

    @classmethod
    async def load(cls, driver: psycopg.AsyncConnection[Any]) -> "_Cards":
        query = (
            "SELECT s.place, c.jt, c.id, c.generation, c.issued_s, c.start_day, c.expiry_day, c.counter_first "
            "FROM set_card s JOIN card c ON c.number = s.number"
        )
        shape = (
            ("place", "int4"), ("jt", "bool"), ("id", "int8"), ("generation", "int4"), ("issued_s", "int8"),
            ("start_day", "int4"), ("expiry_day", "int4"), ("counter_first", "int4"),
        )  # fmt: skip
        return cls(await fetch_columns(driver, query, shape))

    def of(self, number_of: I64, jt: Bools, times_s: I64) -> tuple[I64, I64, I64, I64, I64]:
        """Card, generation, first and last day, first counter of each record: 0 where the number is unknown.

        Of several lives, the one that was alive at the transaction: the last that had begun, else the first.
        """
        count, rows = len(number_of), self._rows
        zeros = np.zeros(count, np.int64)
        if not len(rows):
            return zeros, zeros.copy(), zeros.copy(), zeros.copy(), zeros.copy()
        # One sortable key: number (below 2^20), scheme, beginning (below 2^40).
        number = (rows["place"].astype(np.int64) << 1) | rows["jt"]
        keys = (number << 40) + np.clip(rows["issued_s"].astype(np.int64), 0, (1 << 40) - 1)
        wanted = (number_of.astype(np.int64) << 1) | jt
        place = np.searchsorted(keys, (wanted << 40) + np.clip(times_s, 0, (1 << 40) - 1), side="right") - 1
        earliest = np.searchsorted(keys, wanted << 40, side="left")
        begun = (place >= 0) & (number[np.maximum(place, 0)] == wanted)
        chosen = np.minimum(np.where(begun, place, earliest), len(rows) - 1)
        found = number[chosen] == wanted
        columns = (rows[name].astype(np.int64)[chosen] for name in
                   ("id", "generation", "start_day", "expiry_day", "counter_first"))  # fmt: skip
        card, generation, start, expiry, counter_first = (np.where(found, column, 0) for column in columns)
        return card, generation, start, expiry, counter_first


async def _sequence(driver: psycopg.AsyncConnection[Any], count: int) -> tuple[Bools, Bools, I64, I64]:
    """Counter taken; record before it known, balance after that one and its time."""
    taken, previous = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    after_fen, previous_s = np.zeros(count, np.int64), np.zeros(count, np.int64)
    query = (
        "SELECT s.row, (r.card_counter = s.counter) AS same, r.balance_before_fen - r.amount_fen, r.transaction_s "
        "FROM set_key s JOIN record r ON r.card_id = s.card AND r.card_counter IN (s.counter, s.counter - 1) "
        "WHERE s.card > 0"
    )
    shape = (("row", "int4"), ("same", "bool"), ("after_fen", "int8"), ("time_s", "int8"))
    found = await fetch_columns(driver, query, shape)
    taken[found["row"][found["same"]]] = True
    before = found[~found["same"]]
    previous[before["row"]] = True
    after_fen[before["row"]] = before["after_fen"]
    previous_s[before["row"]] = before["time_s"]
    return taken, previous, after_fen, previous_s


async def _highest(driver: psycopg.AsyncConnection[Any], card: I64, counter_first: I64) -> I64:
    query = (
        "SELECT c.card, h.counter FROM (SELECT DISTINCT card FROM set_key WHERE card > 0) c CROSS JOIN LATERAL "
        "(SELECT r.card_counter AS counter FROM record r WHERE r.card_id = c.card ORDER BY "
        "r.card_counter DESC LIMIT 1) h"
    )
    found = await fetch_columns(driver, query, (("card", "int8"), ("counter", "int4")))
    highest = counter_first - 1
    if len(found):
        order = np.argsort(found["card"])
        cards, counters = found["card"].astype(np.int64)[order], found["counter"].astype(np.int64)[order]
        place = np.minimum(np.searchsorted(cards, card), len(cards) - 1)
        highest = np.where(cards[place] == card, counters[place], highest)
    return highest


def _issuers(records: otr.Records, keys: set[tuple[str, int, int]]) -> tuple[Bools, Bools]:
    """Whether the issuer is ours, and whether the key version and algorithm are registered for it."""
    # Whole numbers, not byte strings: sorting those is ten times faster.
    packed = np.ascontiguousarray(records["issuer"]).view(">u8")[:, 0]
    issuers, issuer = np.unique(packed, return_inverse=True)
    pairs, pair = np.unique(records["key_version"].astype(np.uint16) << 8 | records["algorithm"], return_inverse=True)
    names = [int(one).to_bytes(8, "big").hex().upper() for one in issuers]
    own_ids = {name for name, _, _ in keys}
    own = np.array([name in own_ids for name in names], np.bool_)
    known = np.array([[(name, *divmod(int(one), 256)) in keys for one in pairs] for name in names], np.bool_)
    return own[issuer], known[issuer, pair]


async def _listed(
    driver: psycopg.AsyncConnection[Any], number_of: I64, jt: Bools, generation: I64, times_s: I64
) -> Bools:
    query = (
        f"SELECT s.place, l.jt, l.generation, l.effective_s, coalesce(l.removed_s, {_REVOKED_NEVER})::int8 "
        "FROM set_card s JOIN listing l ON l.number = s.number"
    )
    shape = (("place", "int4"), ("jt", "bool"), ("generation", "int4"), ("effective_s", "int8"), ("removed_s", "int8"))
    listed = np.zeros(len(number_of), np.bool_)
    # Few cards of a set are on the list: one pass over the columns for each.
    for entry in await fetch_columns(driver, query, shape):
        of_card = (number_of == entry["place"]) & (jt == entry["jt"]) & (generation == entry["generation"])
        listed |= of_card & (times_s >= entry["effective_s"]) & (times_s < entry["removed_s"])
    return listed


async def _loads(driver: psycopg.AsyncConnection[Any], number_of: I64, jt: Bools, generation: I64, card: I64) -> Loads:
    query = (
        "SELECT s.place, l.jt, l.generation, l.load_s, l.amount_fen FROM set_card s "
        "JOIN card_load l ON l.number = s.number"
    )
    shape = (("place", "int4"), ("jt", "bool"), ("generation", "int4"), ("load_s", "int8"), ("amount_fen", "int8"))
    rows = await fetch_columns(driver, query, shape)
    if not len(rows):
        return Loads.none()
    # From (number, scheme, generation) to the surrogate, by any record of the set that names the same card.
    mine = (number_of.astype(np.int64) << 32) | (generation << 1) | jt
    keys, first = np.unique(mine, return_index=True)
    theirs = (rows["place"].astype(np.int64) << 32) | (rows["generation"].astype(np.int64) << 1) | rows["jt"]
    place = np.minimum(np.searchsorted(keys, theirs), len(keys) - 1)
    found = keys[place] == theirs
    cards = card[first[place[found]]]
    times, amounts = rows["load_s"].astype(np.int64)[found], rows["amount_fen"].astype(np.int64)[found]
    order = np.lexsort((times, cards))
    return Loads(cards[order], times[order], np.cumsum(amounts[order]))


def local_day(value: date) -> int:
    """Days since 1970 of a local day, as `card.start_day` counts."""
    return (value - date(1970, 1, 1)).days


def instant_s(at: datetime) -> int:
    """Epoch seconds of an aware instant."""
    assert at.tzinfo is not None, "instants are aware"
    return int(at.astimezone(UTC).timestamp())


# Local days of records and of cards are counted by the same offset.
assert bcd.LOCAL_OFFSET_S == 8 * 3600, "the city's time has no daylight saving"
