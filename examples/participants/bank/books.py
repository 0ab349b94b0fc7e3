"""The bank's own books: accounts of holders, operations of the platform, daily files; one SQLite file.

Nothing here knows the platform's code: a partner writes this against its core banking system instead.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

HELD, CAPTURED, REVERSED, DECLINED, UNKNOWN = "HELD", "CAPTURED", "REVERSED", "DECLINED", "UNKNOWN"
DEBIT, CREDIT = "DEBIT", "CREDIT"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS account (
    token TEXT PRIMARY KEY,
    balance_fen INTEGER NOT NULL CHECK (balance_fen >= 0),
    held_fen INTEGER NOT NULL DEFAULT 0 CHECK (held_fen >= 0 AND held_fen <= balance_fen)
);
CREATE TABLE IF NOT EXISTS operation (
    operation_id TEXT PRIMARY KEY,
    number INTEGER NOT NULL UNIQUE,
    direction TEXT NOT NULL DEFAULT '',
    account_token TEXT NOT NULL DEFAULT '',
    amount_fen INTEGER NOT NULL DEFAULT 0,
    business_date TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    refusal TEXT NOT NULL DEFAULT '',
    expire_time TEXT NOT NULL DEFAULT '',
    update_time TEXT NOT NULL,
    -- What the daily files have said of it last, and the file of which day said so.
    filed_state TEXT NOT NULL DEFAULT '',
    filed_date TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS daily_file (
    business_date TEXT NOT NULL,
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (business_date, revision)
);
"""


class OtherContent(Exception):
    """An operation of that name exists with another amount, account or direction."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as the books have it.

    Attributes:
        operation_id: UUID given by the platform.
        state: `UNKNOWN`, `DECLINED`, `HELD`, `CAPTURED` or `REVERSED`.
        direction: `DEBIT` or `CREDIT`; empty when the bank never heard of it.
        account_token: The holder's account.
        amount_fen: 0 when the bank never heard of it.
        business_date: `YYYY-MM-DD`, as the platform said.
        number: The bank's own running number.
        refusal: Why it was declined.
        update_time: When it came to its state, UTC.
    """

    operation_id: str
    state: str = UNKNOWN
    direction: str = ""
    account_token: str = ""
    amount_fen: int = 0
    business_date: str = ""
    number: int = 0
    refusal: str = ""
    expire_time: str = ""
    update_time: str = ""

    @property
    def reference(self) -> str:
        """The bank's own reference, for people."""
        return f"BK{self.number:010d}" if self.number else ""


class Books:
    """The books.

    Args:
        path: The SQLite file; made when it is not there.
        bank: Participant id, for the header of daily files.
        now: The clock.
    """

    def __init__(self, path: Path, bank: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._bank = bank
        self._now = now
        self._lock = threading.Lock()
        # Transactions are begun and ended by `_transaction` alone.
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        # A commit is on the disk before it is answered: what we said is what we have after a crash.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def open_account(self, token: str, balance_fen: int) -> None:
        """Open an account with a balance; one that is there is left as it is."""
        with self._transaction():
            self._connection.execute(
                "INSERT INTO account (token, balance_fen) VALUES (?, ?) ON CONFLICT DO NOTHING", (token, balance_fen)
            )

    def balances(self) -> dict[str, tuple[int, int]]:
        """Balance and held amount of every account, in fen."""
        with self._transaction():
            rows = self._connection.execute("SELECT token, balance_fen, held_fen FROM account")
            return {row["token"]: (row["balance_fen"], row["held_fen"]) for row in rows}

    def get(self, operation_id: str) -> Operation:
        """Where an operation is; UNKNOWN when the bank never heard of it."""
        with self._transaction():
            return self._find(operation_id)

    def authorise(self, wanted: Operation) -> Operation:
        """Hold, promise or decline; a repetition gets where it is now.

        Raises:
            OtherContent: The name was used for something else.
        """
        with self._transaction():
            found = self._find(wanted.operation_id)
            if found.state != UNKNOWN:
                same = (wanted.direction, wanted.account_token, wanted.amount_fen)
                # A reversal that came first knows the name only.
                if found.direction and same != (found.direction, found.account_token, found.amount_fen):
                    raise OtherContent(wanted.operation_id)
                return found
            refusal = self._refusal(wanted)
            if not refusal and wanted.direction == DEBIT:
                self._change(wanted.account_token, held=wanted.amount_fen)
            return self._write(wanted, DECLINED if refusal else HELD, refusal)

    def capture(self, operation_id: str, amount_fen: int) -> Operation:
        """Book what is held; anything else stays where it is."""
        with self._transaction():
            found = self._find(operation_id)
            if found.state != HELD or amount_fen != found.amount_fen:
                return found
            if found.direction == DEBIT:
                self._change(found.account_token, balance=-amount_fen, held=-amount_fen)
            else:
                self._change(found.account_token, balance=amount_fen)
            return self._write(found, CAPTURED)

    def reverse(self, operation_id: str) -> Operation:
        """Undo what is held or booked, and remember a name that never came, so that it never will.

        What was paid in and spent cannot be taken back: it stays CAPTURED, and the platform asks again.
        """
        with self._transaction():
            found = self._find(operation_id)
            if found.state in (DECLINED, REVERSED):
                return found
            if found.state != UNKNOWN and not self._undo(found):
                return found
            return self._write(found, REVERSED)

    def daily_file(self, business_date: str) -> bytes:
        """The file of a day; a new revision when it would say something else than the last one."""
        with self._transaction():
            rows = self._connection.execute(
                "SELECT * FROM operation WHERE state IN ('HELD', 'CAPTURED', 'REVERSED') AND direction <> ''"
                # Of the day; said in this file before; or of an earlier day, and no longer what was said of it.
                " AND (business_date = :day OR filed_date = :day"
                " OR (business_date < :day AND filed_state <> '' AND filed_state <> state)) ORDER BY number",
                {"day": business_date},
            ).fetchall()
            body = "".join(
                f"D,{row['operation_id']},{row['direction']},{row['amount_fen']},{row['state']},"
                f"BK{row['number']:010d},{row['update_time']}\n"
                for row in rows
            )
            last = self._connection.execute(
                "SELECT revision, body, content FROM daily_file WHERE business_date = ? ORDER BY revision DESC LIMIT 1",
                (business_date,),
            ).fetchone()
            if last is not None and last["body"] == body:
                return bytes(last["content"])
            revision = 1 if last is None else last["revision"] + 1
            content = self._file(business_date, revision, body, rows)
            self._connection.execute(
                "INSERT INTO daily_file VALUES (?, ?, ?, ?)", (business_date, revision, body, content)
            )
            self._connection.executemany(
                "UPDATE operation SET filed_state = ?, filed_date = ? WHERE operation_id = ?",
                [(row["state"], business_date, row["operation_id"]) for row in rows],
            )
            return content

    def _file(self, business_date: str, revision: int, body: str, rows: list[sqlite3.Row]) -> bytes:
        sums = {
            direction: sum(
                row["amount_fen"] for row in rows if row["direction"] == direction and row["state"] == CAPTURED
            )
            for direction in (DEBIT, CREDIT)
        }
        head = f"H,citycard-bank-file,1,{self._bank},{business_date},{revision},CNY\n{body}"
        digest = hashlib.sha256(head.encode()).hexdigest()
        return f"{head}T,{len(rows)},{sums[DEBIT]},{sums[CREDIT]},{digest}\n".encode()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _find(self, operation_id: str) -> Operation:
        row = self._connection.execute("SELECT * FROM operation WHERE operation_id = ?", (operation_id,)).fetchone()
        if row is None:
            return Operation(operation_id)
        found = Operation(**{name: row[name] for name in Operation.__slots__})
        if found.state == HELD and found.expire_time and found.expire_time <= self._text_now():
            # The platform gave up long ago, or the line was cut for a week.
            assert self._undo(found), "what is held can always be let go"
            return self._write(found, REVERSED)
        return found

    def _refusal(self, wanted: Operation) -> str:
        account = self._connection.execute(
            "SELECT balance_fen - held_fen AS free_fen FROM account WHERE token = ?", (wanted.account_token,)
        ).fetchone()
        if account is None:
            return "account_unknown"
        return "insufficient_funds" if wanted.direction == DEBIT and account["free_fen"] < wanted.amount_fen else ""

    def _undo(self, found: Operation) -> bool:
        if found.state == HELD:
            if found.direction == DEBIT:
                self._change(found.account_token, held=-found.amount_fen)
            return True
        if found.direction == DEBIT:
            self._change(found.account_token, balance=found.amount_fen)
            return True
        free = self._connection.execute(
            "SELECT balance_fen - held_fen AS free_fen FROM account WHERE token = ?", (found.account_token,)
        ).fetchone()["free_fen"]
        if free < found.amount_fen:
            return False
        self._change(found.account_token, balance=-found.amount_fen)
        return True

    def _change(self, token: str, *, balance: int = 0, held: int = 0) -> None:
        self._connection.execute(
            "UPDATE account SET balance_fen = balance_fen + ?, held_fen = held_fen + ? WHERE token = ?",
            (balance, held, token),
        )

    def _write(self, found: Operation, state: str, refusal: str = "") -> Operation:
        self._connection.execute(
            "INSERT INTO operation (operation_id, number, direction, account_token, amount_fen, business_date, state,"
            " refusal, expire_time, update_time)"
            " VALUES (:id, (SELECT coalesce(max(number), 0) + 1 FROM operation), :direction, :account, :amount, :day,"
            " :state, :refusal, :expire, :now)"
            " ON CONFLICT (operation_id) DO UPDATE SET state = excluded.state, update_time = excluded.update_time",
            {
                "id": found.operation_id,
                "direction": found.direction,
                "account": found.account_token,
                "amount": found.amount_fen,
                "day": found.business_date,
                "state": state,
                "refusal": refusal,
                "expire": found.expire_time,
                "now": self._text_now(),
            },
        )
        row = self._connection.execute(
            "SELECT * FROM operation WHERE operation_id = ?", (found.operation_id,)
        ).fetchone()
        return Operation(**{name: row[name] for name in Operation.__slots__})

    def _text_now(self) -> str:
        return self._now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
