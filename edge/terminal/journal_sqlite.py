"""The journal of a terminal that stands alone: SQLite on its own medium."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from edge.terminal.journal import RECORDS_MAX, JournalFull, Kept
from libs.records.otr import OTR_LENGTH


class SqliteJournal:
    """A journal that survives power loss: SQLite with synchronous=FULL, one file.

    A grey record that is found at start belongs to a tap that the power cut: it stays, as kind 08, and is collected
    like any other (purse-protocol.md, section 3.4: "card never returns").

    Args:
        path: Of the file; made when missing.
        records_max: Size of the ring; acknowledged records are overwritten, the oldest first.
    """

    def __init__(self, path: Path, records_max: int = RECORDS_MAX) -> None:
        self._records_max = records_max
        self._open = False
        self._database = sqlite3.connect(path, isolation_level=None)
        # FULL: a commit is on the medium when it returns. The rollback journal needs no second file that could be lost.
        self._database.execute("PRAGMA journal_mode = DELETE")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS record (device_seq INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT"
        )
        self._database.execute("CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT")
        self._database.execute("INSERT OR IGNORE INTO mark VALUES ('acknowledged', 0), ('last', 0)")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def next_seq(self) -> int:
        """The device seq that the next record must carry."""
        return self._mark("last") + (0 if self._open else 1)

    def write_ahead(self, grey: bytes) -> None:
        """Keep a grey record durably; raises `JournalFull`."""
        assert len(grey) == OTR_LENGTH, "a record has 128 bytes"
        assert not self._open, "one tap at a time"
        last = self._mark("last")
        if last - self._mark("acknowledged") >= self._records_max:
            raise JournalFull(records_max=self._records_max)
        self._append(last + 1, grey)
        self._open = True

    def finish(self, record: bytes) -> None:
        """Put the final record in the place of the grey one, durably."""
        assert len(record) == OTR_LENGTH, "a record has 128 bytes"
        if self._open:
            self._database.execute("UPDATE record SET record = ? WHERE device_seq = ?", (record, self._mark("last")))
            self._open = False
        else:
            self._append(self._mark("last") + 1, record)

    def drop(self) -> None:
        """Take the grey record back."""
        assert self._open, "there is no grey record to drop"
        last = self._mark("last")
        with self._transaction():
            self._database.execute("DELETE FROM record WHERE device_seq = ?", (last,))
            self._set_mark("last", last - 1)
        self._open = False

    def pending(self, limit: int) -> Sequence[Kept]:
        """The oldest records that are not acknowledged."""
        rows = self._database.execute(
            "SELECT device_seq, record FROM record WHERE device_seq BETWEEN ? AND ? ORDER BY device_seq LIMIT ?",
            (self._mark("acknowledged") + 1, self._mark("last") - self._open, limit),
        )
        return [Kept(device_seq, record) for device_seq, record in rows]

    def acknowledge(self, device_seq: int) -> None:
        """The gateway has stored everything up to and with this number; they stay in the ring until it is full."""
        assert device_seq <= self._mark("last") - self._open, "only what was collected is acknowledged"
        if device_seq > self._mark("acknowledged"):
            self._set_mark("acknowledged", device_seq)

    def _append(self, device_seq: int, record: bytes) -> None:
        with self._transaction():
            self._database.execute("INSERT INTO record VALUES (?, ?)", (device_seq, record))
            self._set_mark("last", device_seq)
            self._database.execute("DELETE FROM record WHERE device_seq <= ?", (device_seq - self._records_max,))

    def _mark(self, name: str) -> int:
        (value,) = self._database.execute("SELECT value FROM mark WHERE name = ?", (name,)).fetchone()
        return int(value)

    def _set_mark(self, name: str, value: int) -> None:
        self._database.execute("UPDATE mark SET value = ? WHERE name = ?", (value, name))

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._database)


class _Transaction:
    """BEGIN IMMEDIATE to COMMIT, or ROLLBACK on any error."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._database.execute("COMMIT" if kind is None else "ROLLBACK")
