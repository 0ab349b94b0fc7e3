"""What a visit can do at a terminal, whoever makes it: the terminal's own line, a collector's cable, a drop folder."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from edge.terminal.journal import Registers
from edge.terminal.modes import DegradedMode
from edge.terminal.parameters import read_parameters
from edge.terminal.roles import Device
from libs.clock import Clock
from libs.errors import InvalidInput, Refusal
from libs.records.bcd import LOCAL_TIME, time_of
from libs.records.otr import read_records

PROGRAM_VERSION: Final = "terminal 0.2"


class ClockBackwards(Refusal):
    """A clock is never set back past the last record: its successors would lie before it. Facts: `to`, `last`."""

    reason = "CLOCK_BACKWARDS"


class BookDamaged(InvalidInput):
    """The file of the day's registers is no such file. Fact: `file`."""

    reason = "BOOK_DAMAGED"


@dataclass(frozen=True, slots=True)
class Status:
    """What a terminal says of itself.

    Attributes:
        terminal_number: 12 digits.
        psam_number: 20 digits.
        device_number: The machine.
        clock: What its clock shows.
        blacklist_version: In force.
        program_version: Of the program.
        pack_version: Of the parameters in force; 0 none.
        last_seq: Device seq of the last finished record.
        terminal_seq_last: Sequence of the last record with a debit; 0 none.
        first_unsent: Device seq of the oldest record that nobody acknowledged; `last_seq` + 1 when none waits.
        free_count: Records that still fit.
        oldest_unsent: Time of the oldest record that waits.
        last_record: Time of the last record.
    """

    terminal_number: str
    psam_number: str
    device_number: int
    clock: datetime
    blacklist_version: int
    program_version: str
    pack_version: int
    last_seq: int
    terminal_seq_last: int
    first_unsent: int
    free_count: int
    oldest_unsent: datetime | None
    last_record: datetime | None

    @property
    def unsent_count(self) -> int:
        """Records that wait."""
        return self.last_seq + 1 - self.first_unsent


@dataclass(frozen=True, slots=True)
class DayRegister:
    """The audit register of one business day (审计寄存器); the day is closed by it.

    Attributes:
        business_date: Which day.
        device_seq_first: First serial of the day.
        device_seq_last: Last one; one below the first when there was none.
        total_fen: Sum of the amounts of its records.
        running_total_fen: The same since the device was new.
        closed_at: When, by the device's clock.
    """

    business_date: date
    device_seq_first: int
    device_seq_last: int
    total_fen: int
    running_total_fen: int
    closed_at: datetime

    @property
    def record_count(self) -> int:
        """Records of the day: device serials have no holes."""
        return self.device_seq_last + 1 - self.device_seq_first


class Visited(Protocol):
    """A terminal that is being visited."""

    async def status(self) -> Status:
        """What it says of itself."""
        ...

    async def records(self, first: int, last: int) -> bytes:
        """Records by device seq, 128 bytes each; those that are gone are left out."""
        ...

    async def acknowledge(self, device_seq: int) -> None:
        """Everything up to here is stored at the centre."""
        ...

    async def set_clock(self, to: datetime) -> None:
        """Set its clock.

        Raises:
            ClockBackwards: It has a record later than that.
        """
        ...

    async def load_list(self, content: bytes) -> int:
        """Load a file of a list; returns the version of that list in force.

        Raises:
            FullListNeeded, BatchRefused, ListRefused, SignerUnknown: The old list stays.
        """
        ...

    async def put_pack(self, content: bytes) -> int:
        """Take a parameter pack; returns its version.

        Raises:
            ParametersInvalid: Those in force stay.
        """
        ...

    async def registers(self) -> Sequence[DayRegister]:
        """Of the days that are closed, oldest first; the last 60."""
        ...

    async def set_mode(self, mode: str, on: bool) -> None:
        """Switch a degraded mode; raises `ValueError` for a word that is none."""
        ...

    async def lock(self, why: str) -> None:
        """Take no card, or take cards again when there is no reason not to."""
        ...


class SteeredClock:
    """A clock that visits set: another clock and an offset.

    Args:
        base: The machine's.
    """

    __slots__ = ("_base", "offset")

    def __init__(self, base: Clock) -> None:
        self._base = base
        self.offset = timedelta(0)

    def now(self) -> datetime:
        """The moment, aware, in UTC."""
        return self._base.now() + self.offset

    def set(self, to: datetime) -> None:
        """Put the clock to a moment."""
        self.offset = to - self._base.now()


class DayBook:
    """Registers of closed days, in a file of their own that is replaced whole.

    Args:
        path: Of the file; made when missing.

    Raises:
        BookDamaged: It holds something else.
    """

    _KEPT: Final = 60

    def __init__(self, path: Path) -> None:
        self._path = path
        self._days: list[DayRegister] = []
        if path.exists():
            try:
                self._days = [_register(row) for row in json.loads(path.read_bytes())]
            except (ValueError, TypeError, KeyError) as error:
                raise BookDamaged(file=path.name) from error

    @property
    def days(self) -> tuple[DayRegister, ...]:
        """Closed days, oldest first."""
        return tuple(self._days)

    def close(self, day: date, totals: Registers, now: datetime) -> DayRegister:
        """Close a business day: everything since the last close belongs to it. A day closed before stays as it was."""
        for known in self._days:
            if known.business_date >= day:
                return next((one for one in self._days if one.business_date == day), known)
        before = self._days[-1] if self._days else None
        first = before.device_seq_last + 1 if before else 1
        total = totals.amount_fen - (before.running_total_fen if before else 0)
        made = DayRegister(day, first, totals.last_seq, total, totals.amount_fen, now)
        kept = [*self._days, made][-self._KEPT :]
        rows = [asdict(one) | {"business_date": one.business_date, "closed_at": one.closed_at} for one in kept]
        write_durably(self._path, json.dumps(rows, default=_iso).encode())
        self._days = kept
        return made


class OwnTerminal:
    """The terminal of this program.

    Args:
        device: In its role.
        clock: Its clock.
        book: Its registers.
        packs: Folder where parameter packs are kept; None keeps them in memory only.
        keep_list: Called with a list file that was taken, to keep it over a restart.
    """

    def __init__(self, device: Device, clock: SteeredClock, book: DayBook, packs: Path | None = None) -> None:
        self._device = device
        self._clock = clock
        self._book = book
        self._packs = packs

    async def status(self) -> Status:
        """What it says of itself."""
        terminal = self._device.terminal
        journal, facts, now = terminal.journal, terminal.facts, self._clock.now()
        fill, totals = journal.fill(), journal.registers()
        waiting = journal.pending(1)
        last = journal.range(totals.last_seq, totals.last_seq)
        pack = self._device.shelf.at(now)
        return Status(
            facts.terminal_number,
            facts.psam_number,
            facts.device_number,
            now,
            terminal.blacklist.version,
            PROGRAM_VERSION,
            pack.version if pack else 0,
            totals.last_seq,
            int(read_records(last[0].record)["terminal_seq"][0]) if last else 0,
            waiting[0].device_seq if waiting else totals.last_seq + 1,
            fill.records_max - fill.used,
            time_of(waiting[0].record[79:86]) if waiting else None,
            time_of(last[0].record[79:86]) if last else None,
        )

    async def records(self, first: int, last: int) -> bytes:
        """Records by device seq."""
        self._device.terminal.let_go(self._clock.now())
        return b"".join(kept.record for kept in self._device.terminal.journal.range(first, last))

    async def acknowledge(self, device_seq: int) -> None:
        """Everything up to here is stored; a number beyond the last record means the last."""
        journal = self._device.terminal.journal
        journal.acknowledge(min(device_seq, journal.registers().last_seq))

    async def set_clock(self, to: datetime) -> None:
        """Set the clock; raises `ClockBackwards`."""
        last = (await self.status()).last_record
        if last is not None and to < last:
            raise ClockBackwards(to=to.isoformat(), last=last.isoformat())
        self._clock.set(to)

    async def load_list(self, content: bytes) -> int:
        """Load a file of any list; a terminal that holds the blacklist alone takes no other."""
        terminal = self._device.terminal
        if terminal.lists is not None:
            return terminal.lists.load(content)
        blacklist = terminal.blacklist
        blacklist.load(content)
        return blacklist.version

    async def put_pack(self, content: bytes) -> int:
        """Take a parameter pack."""
        pack = read_parameters(content)
        if self._packs is not None:
            write_durably(self._packs / f"pack-{pack.version}.json", content)
        self._device.shelf.put(pack)
        return pack.version

    async def registers(self) -> Sequence[DayRegister]:
        """Of the closed days."""
        return self._book.days

    async def set_mode(self, mode: str, on: bool) -> None:
        """Switch a degraded mode."""
        modes, now = self._device.terminal.modes, self._clock.now()
        if on:
            modes.begin(DegradedMode(mode), now)
        else:
            modes.end(DegradedMode(mode), now)

    async def lock(self, why: str) -> None:
        """Take no card, or take cards again."""
        self._device.out_of_service = why

    def close_day(self, day: date | None = None) -> DayRegister:
        """Close a business day, that of the clock by default; torn debits are let go first."""
        now = self._clock.now()
        self._device.terminal.let_go(None)
        chosen = day or now.astimezone(LOCAL_TIME).date()
        return self._book.close(chosen, self._device.terminal.journal.registers(), now)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that after a power cut there is all of it or what was there before."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _register(row: dict[str, object]) -> DayRegister:
    numbers = {name: int(str(row[name])) for name in
               ("device_seq_first", "device_seq_last", "total_fen", "running_total_fen")}  # fmt: skip
    return DayRegister(
        business_date=date.fromisoformat(str(row["business_date"])),
        closed_at=datetime.fromisoformat(str(row["closed_at"])),
        **numbers,
    )


def _iso(value: object) -> str:
    assert isinstance(value, date), "the book holds numbers, dates and times"
    return value.isoformat()
