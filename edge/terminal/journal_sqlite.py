"""The journal of a terminal that stands alone: SQLite on its own medium."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from edge.terminal.journal import (
    RECORDS_MAX,
    Fill,
    JournalBusy,
    JournalDamaged,
    JournalFailed,
    JournalFull,
    Kept,
    Opened,
    Registers,
    amount_of,
)
from libs.records.otr import OTR_LENGTH

# A commit writes the page of the record and that of the mark whole: small pages are less work per tap. Of a file
# that exists already, the size stays as it is.
_PAGE_BYTES: Final = 1_024
# Commits between two checkpoints: about 2 KiB each, so the log stays below 2 MiB. `tend` mostly comes first.
_COMMITS_MAX: Final = 1_000
_COMMITS_TENDED: Final = 200


class SqliteJournal:
    """A journal that survives power loss: SQLite in WAL mode, every commit synced, held exclusively (docs/adr/0050).

    A commit is one append to the log and one sync, so a tap waits for the medium twice. The log is folded into the
    file by `tend`, when nobody taps.

    Args:
        path: Of the file; made when missing.
        records_max: Size of the ring; acknowledged records are overwritten, the oldest first.

    Raises:
        JournalBusy: Another program holds the file.
        JournalDamaged: It is no journal any more.
        JournalFailed: It cannot be made or opened.
    """

    def __init__(self, path: Path, records_max: int = RECORDS_MAX) -> None:
        self._records_max = records_max
        self._file = path.name
        self._commits = 0
        with self._named_faults():
            # One thread works on it at a time, not always the same one: a tap, then the uploader.
            self._database = sqlite3.connect(path, isolation_level=None, timeout=0.2, check_same_thread=False)
        try:
            with self._named_faults():
                self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        execute = self._database.execute
        # Held by us alone: a second program on the same journal would hand out the same numbers.
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        # In WAL mode EXTRA is FULL: a commit is on the medium when it returns. But turning WAL on is a transaction with
        # a rollback journal, and only EXTRA makes sure that this one does not come back after a cut.
        execute("PRAGMA synchronous = EXTRA")
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA wal_autocheckpoint = 0")
        with self._transaction():
            execute("CREATE TABLE IF NOT EXISTS record (device_seq INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT")
            execute(
                "CREATE TABLE IF NOT EXISTS mark (id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER NOT NULL, "
                "acknowledged INTEGER NOT NULL, open_kind INTEGER NOT NULL, amount_fen INTEGER NOT NULL) STRICT"
            )
            execute("INSERT OR IGNORE INTO mark VALUES (1, 0, 0, 0, 0)")
        found = [row[0] for row in execute("PRAGMA quick_check")]
        if found != ["ok"]:
            raise JournalDamaged(file=self._file, why=found[0])
        marks: tuple[int, int, int, int] = execute(
            "SELECT last, acknowledged, open_kind, amount_fen FROM mark"
        ).fetchone()
        self._last, self._acknowledged, self._kind, self._amount_fen = marks
        (count, most) = execute("SELECT count(*), coalesce(max(device_seq), 0) FROM record").fetchone()
        if most != self._last or count < self._last - self._acknowledged:
            raise JournalDamaged(file=self._file, why=f"{count} records up to {most} where {self._last} was the last")
        self._open = self._kind != 0

    def close(self) -> None:
        """Close the file; what was committed stays, whether this is called or not."""
        self._database.close()

    def tend(self) -> None:
        """Fold the log into the file when it has grown; to be called while nobody taps."""
        if self._commits >= _COMMITS_TENDED:
            self._checkpoint()

    def next_seq(self) -> int:
        """The device seq that the next record must carry."""
        return self._last + (0 if self._open else 1)

    def write_ahead(self, grey: bytes, kind: int) -> None:
        """Keep a grey record durably; raises `JournalFull` or `JournalFailed`."""
        assert len(grey) == OTR_LENGTH, "a record has 128 bytes"
        assert not self._open, "one tap at a time"
        self._demand_room()
        with self._transaction():
            self._append(grey, kind, self._amount_fen)
        self._last += 1
        self._open, self._kind = True, kind

    def finish(self, record: bytes) -> None:
        """Put the final record in the place of the grey one, durably."""
        assert len(record) == OTR_LENGTH, "a record has 128 bytes"
        total_fen = self._amount_fen + amount_of(record)
        if self._open:
            with self._transaction():
                self._database.execute("UPDATE record SET record = ? WHERE device_seq = ?", (record, self._last))
                self._database.execute("UPDATE mark SET open_kind = 0, amount_fen = ?", (total_fen,))
        else:
            self._demand_room()
            with self._transaction():
                self._append(record, 0, total_fen)
            self._last += 1
        self._open, self._kind, self._amount_fen = False, 0, total_fen

    def drop(self) -> None:
        """Take the grey record back."""
        assert self._open, "there is no grey record to drop"
        with self._transaction():
            self._database.execute("DELETE FROM record WHERE device_seq = ?", (self._last,))
            self._database.execute("UPDATE mark SET last = ?, open_kind = 0", (self._last - 1,))
        self._last -= 1
        self._open, self._kind = False, 0

    def opened(self) -> Opened | None:
        """The grey record whose slot is open, also over a power cut."""
        if not self._open:
            return None
        (record,) = self._database.execute("SELECT record FROM record WHERE device_seq = ?", (self._last,)).fetchone()
        return Opened(record, self._kind)

    def pending(self, limit: int) -> Sequence[Kept]:
        """The oldest records that are not acknowledged."""
        first = self._acknowledged + 1
        return self.range(first, min(self._last, first + limit - 1))

    def range(self, first: int, last: int) -> Sequence[Kept]:
        """Records by device seq."""
        rows = self._database.execute(
            "SELECT device_seq, record FROM record WHERE device_seq BETWEEN ? AND ? ORDER BY device_seq",
            (first, min(last, self._last - self._open)),
        )
        return [Kept(device_seq, record) for device_seq, record in rows]

    def acknowledge(self, device_seq: int) -> None:
        """The gateway has stored everything up to and with this number; they stay in the ring until it is full."""
        assert device_seq <= self._last - self._open, "only what was collected is acknowledged"
        if device_seq > self._acknowledged:
            with self._transaction():
                self._database.execute("UPDATE mark SET acknowledged = ?", (device_seq,))
            self._acknowledged = device_seq

    def fill(self) -> Fill:
        """How full it is."""
        return Fill(self._last - self._acknowledged, self._records_max)

    def registers(self) -> Registers:
        """Running totals of finished records."""
        return Registers(self._last - self._open, self._amount_fen)

    def _demand_room(self) -> None:
        if self._last - self._acknowledged >= self._records_max:
            raise JournalFull(records_max=self._records_max)

    def _append(self, record: bytes, open_kind: int, amount_fen: int) -> None:
        device_seq = self._last + 1
        self._database.execute("INSERT INTO record VALUES (?, ?)", (device_seq, record))
        if device_seq > self._records_max:
            self._database.execute("DELETE FROM record WHERE device_seq <= ?", (device_seq - self._records_max,))
        self._database.execute(
            "UPDATE mark SET last = ?, open_kind = ?, amount_fen = ?", (device_seq, open_kind, amount_fen)
        )

    def _checkpoint(self) -> None:
        with self._named_faults():
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._commits = 0

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE to COMMIT, or ROLLBACK on any error; what is remembered in memory changes after it."""
        with self._named_faults():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        self._commits += 1
        if self._commits >= _COMMITS_MAX:
            self._checkpoint()

    @contextlib.contextmanager
    def _named_faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise JournalBusy(file=self._file) from error
            raise JournalFailed(file=self._file, why=error) from error
        except sqlite3.DatabaseError as error:
            raise JournalDamaged(file=self._file, why=error) from error
