"""Prove (证明): recompute verdict counts, positions and statements from the stored uploads. Reads only.

Streamed: a group of uploads is read and looked through while the next one's are fetched, and what statements need of
their records is put aside on disk, so that memory depends on neither the number of records nor that of windows.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from libs.keystore.port import KeyStore
from services.clearing.application.ports import Gateway, StoredFile, UnitOfWork
from services.clearing.application.prove_files import (
    CONFLICTS,
    COUNTS,
    KEPT,
    TAC,
    Found,
    Settled,
    look_through,
)
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import Position, PositionKey
from services.clearing.domain.statement import FIRST_LINK, make_statement
from services.clearing.domain.suspense import SUSPENSE

# Records of the uploads that are looked through together.
_GROUP_RECORDS = 100_000
_GROUP_FILES = 500
# Uploads that are fetched at once.
_READS_AT_ONCE = 8
_EPOCH = date(1970, 1, 1)


class Spill(Protocol):
    """Where the records of closed windows are put aside."""

    def add(self, settled: Settled, windows: frozenset[tuple[int, int]]) -> None:
        """Put aside the records of these windows (participant, day since 1970), and no others."""
        ...

    def digest(self, window: tuple[int, int]) -> bytes:
        """SHA-256 over the ordered records of a window, 32 bytes."""
        ...


@dataclass(slots=True)
class Line:
    """One thing that must hold; `break_with` notes what does not."""

    invariant: str
    statement: str
    checked: int = 0
    broken: int = 0
    first_broken: str = ""

    def look(self, holds: bool, what: str = "", count: int = 1) -> None:
        """Count `count` things looked at; when they do not hold, one is broken."""
        self.checked += count
        if not holds:
            self.broken += 1
            self.first_broken = self.first_broken or what


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found."""

    lines: tuple[Line, ...]
    file_count: int
    record_count: int
    movement_count: int
    movement_total_fen: int
    batch_count: int
    ledger: tuple[tuple[str, int, int], ...]


@dataclass(slots=True)
class _Sums:
    """Positions recomputed from the bytes of the uploads, and how many records they hold."""

    positions: dict[PositionKey, list[int]] = field(default_factory=dict)
    records: int = 0

    def add(self, position: Position) -> None:
        sums = self.positions.setdefault(position.key, [0, 0, 0])
        for place, value in enumerate((position.record_count, position.amount_fen, position.list_price_fen)):
            sums[place] += value

    def by_window(self) -> dict[tuple[int, date], list[Position]]:
        windows: dict[tuple[int, date], list[Position]] = defaultdict(list)
        for key, sums in self.positions.items():
            windows[key.participant, key.settlement_date].append(Position(key, *sums))
        return windows


class Prove:
    """Reads every stored upload again and compares.

    Args:
        unit_of_work: Makes a transaction; the proof is of one moment, however long it takes.
        gateway: Gives the stored bytes.
        centre_institution_id: Sender of statements, 16 hexadecimal digits.
        spill: Makes a place for the records of closed windows.
        keys: Verifies the TAC of every record that took its keys; None leaves that out.
        progress: Told how many records of how many have been looked through.
    """

    def __init__(
        self,
        unit_of_work: Callable[[], UnitOfWork],
        gateway: Gateway,
        *,
        centre_institution_id: str,
        spill: Callable[[], AbstractContextManager[Spill]],
        keys: KeyStore | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._gateway = gateway
        self._centre = centre_institution_id
        self._spill = spill
        self._keys = keys
        self._progress = progress

    async def __call__(self) -> Proof:
        """The proof; a broken invariant is a line of it, never an exception.

        Raises:
            DependencyUnavailable: The gateway does not give an upload.
        """
        lines = {
            COUNTS: Line("I2", "every record of every judged file has exactly one verdict"),
            KEPT: Line("I2", "every record that took its keys is stored with the bytes of its upload"),
            TAC: Line("I3", "every record that took its keys carries the TAC of its card"),
            CONFLICTS: Line("I4", "every record refused for its key is kept with its bytes"),
        }
        once = Line("I3", "(terminal, sequence) is stored once; stored records = records found in the uploads")
        balance = Line("I1", "lines of the book = movements of the cards, batch by batch")
        booked = Line("I6", "positions that take money = lines of the book, batch by batch")
        positions = Line("I6", "positions = sums recomputed from the uploads")
        statements = Line("I12", "statements recomputed from the uploads equal the stored ones, byte for byte")
        chain = Line("I7", "statements of each participant are numbered without a gap and linked by their hashes")
        shared = Line("I9", "apportioned shares = fares paid, by participant and day that rules hold for")
        suspended = Line("B4", "open suspense items that debited cards = balances of 2205")
        closed = Line("I7", "every closed window has its statement, and no open one")
        folded = Line("I10", "every batch was folded by the ledger")
        journal = Line("I11", "every upload of the gateway's journal, up to the newest known, is a file here")
        async with self._unit_of_work() as uow:
            await uow.proofs.snapshot()
            participants = {one.number: one for one in await uow.participants.all()}
            sums = await uow.proofs.sums()
            made = await uow.proofs.statements()
            numbers = {one.id: one.number for one in participants.values()}
            windows = frozenset((numbers[one.participant], (one.settlement_date - _EPOCH).days) for one, _ in made)
            found = _Sums()
            with self._spill() as spill:
                async for group in self._groups(uow, sums.records_in_files):
                    _add_up(lines, group, found)
                    await self._look_for_conflicts(uow, group, lines[CONFLICTS])
                    for settled in group.settled:
                        await asyncio.to_thread(spill.add, settled, windows)
                once.look(found.records == sums.records, f"{sums.records} stored, {found.records} found", sums.records)
                once.look(sums.unique_keys == 2, f"{sums.unique_keys} of 2 unique indexes stand")
                balance.look(sums.unbalanced_batches == 0, f"{sums.unbalanced_batches} batches", sums.batches)
                booked.look(sums.unbooked_batches == 0, f"{sums.unbooked_batches} batches", sums.batches)
                folded.look(sums.unfolded_batches == 0, f"{sums.unfolded_batches} batches", sums.batches)
                closed.look(sums.windows_amiss == 0, f"{sums.windows_amiss} windows", sums.windows)
                _prove_suspense(await uow.suspense.debited_sums(), sums.ledger, suspended)
                stored = await uow.proofs.position_sums()
                _prove_positions(stored, found, positions)
                _prove_shares(stored, await uow.apportionment.share_sums(), shared)
                await self._prove_statements(uow, made, participants, found, spill, statements, chain)
            await self._prove_journal(uow, journal)
        return Proof(
            lines=(
                balance,
                *lines.values(),
                once,
                booked,
                positions,
                shared,
                suspended,
                chain,
                closed,
                folded,
                journal,
                statements,
            ),
            file_count=sums.files,
            record_count=sums.records_in_files,
            movement_count=sums.movements,
            movement_total_fen=sums.movements_fen,
            batch_count=sums.batches,
            ledger=sums.ledger,
        )

    async def _groups(self, uow: UnitOfWork, total: int) -> AsyncIterator[Found]:
        """What every group of uploads says; the next is fetched while one is looked through."""
        done = 0
        at_work: asyncio.Task[Found] | None = None
        records_at_work = 0
        try:
            async for files in _grouped(uow.proofs.judged_files()):
                contents = await self._read(files)
                rows = await uow.proofs.records_of(files[0].id, files[-1].id)
                rests = await uow.suspense.rests(files[0].id, files[-1].id)
                if at_work is not None:
                    yield await at_work
                    done += records_at_work
                    self._progress(done, total)
                at_work = asyncio.create_task(asyncio.to_thread(look_through, files, contents, rows, rests, self._keys))
                records_at_work = sum(file.judged_count for file in files)
            if at_work is not None:
                yield await at_work
                self._progress(done + records_at_work, total)
        finally:
            if at_work is not None and not at_work.done():
                at_work.cancel()

    async def _read(self, files: Sequence[StoredFile]) -> list[bytes]:
        limit = asyncio.Semaphore(_READS_AT_ONCE)

        async def read(file: StoredFile) -> bytes:
            async with limit:
                return await self._gateway.read(file.participant, file.sha256)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(read(file)) for file in files]
        return [task.result() for task in tasks]

    async def _look_for_conflicts(self, uow: UnitOfWork, group: Found, line: Line) -> None:
        if not group.conflicts:
            return
        digests: npt.NDArray[np.void] = np.concatenate(group.conflicts)
        contents: npt.NDArray[np.void] = np.concatenate(group.conflict_contents)
        kept = await uow.proofs.conflicts_kept(digests, contents)
        line.look(bool(kept.all()), f"{int((~kept).sum())} records, first {digests[~kept][:1].tobytes().hex()}",
                  len(digests))  # fmt: skip

    async def _prove_statements(
        self, uow: UnitOfWork, made: Sequence[tuple[Any, int]], participants: dict[int, Participant], found: _Sums,
        spill: Spill, statements: Line, chain: Line,
    ) -> None:  # fmt: skip
        numbers = {one.id: one.number for one in participants.values()}
        windows = found.by_window()
        link: dict[str, tuple[int, bytes]] = {}
        for statement, fee_rate_bp in made:
            participant = participants[numbers[statement.participant]]
            number, previous = link.get(statement.participant, (0, FIRST_LINK))
            what = f"participants/{statement.participant}/statements/{statement.settlement_date:%Y%m%d}"
            window = (participant.number, (statement.settlement_date - _EPOCH).days)
            again = make_statement(
                replace(participant, fee_rate_bp=fee_rate_bp),
                statement.settlement_date,
                windows.get((participant.number, statement.settlement_date), []),
                number=number + 1,
                centre=self._centre,
                # Not read from the stored records, as closing does: recomputed from the uploads too.
                records_digest=await asyncio.to_thread(spill.digest, window),
                previous_link=previous,
                terms=await uow.windows.terms(participant.number, statement.settlement_date),
            )
            chain.look(statement.number == number + 1 and statement.chain_hash == again.chain_hash, what)
            statements.look(again == statement, what)
            link[statement.participant] = (statement.number, statement.chain_hash)

    async def _prove_journal(self, uow: UnitOfWork, line: Line) -> None:
        """What came after the snapshot is not missing, it is news."""
        newest, known = await uow.proofs.known_uploads()
        async for upload in self._gateway.uploads_from(1):
            if upload.sequence > newest:
                return
            line.look((upload.participant, upload.sha256) in known, f"upload {upload.sequence} of the journal")


async def _grouped(files: AsyncIterator[StoredFile]) -> AsyncIterator[list[StoredFile]]:
    group: list[StoredFile] = []
    records = 0
    async for file in files:
        if group and (records + file.record_count > _GROUP_RECORDS or len(group) == _GROUP_FILES):
            yield group
            group, records = [], 0
        group.append(file)
        records += file.record_count
    if group:
        yield group


def _add_up(lines: dict[str, Line], group: Found, found: _Sums) -> None:
    found.records += group.record_count
    for position in group.positions:
        found.add(position)
    for name, line in lines.items():
        line.checked += group.checked.get(name, 0)
        line.broken += group.broken.get(name, 0)
        if not line.first_broken and group.problems.get(name):
            line.first_broken = group.problems[name][0]


def _prove_shares(
    stored: dict[tuple[Any, ...], tuple[int, int, int]], shares: dict[tuple[int, date], int], line: Line
) -> None:
    """Shares against the fares of every day that has any: rules begin with a day that nothing was posted for."""
    fares: dict[tuple[int, date], int] = {}
    for parts, sums in stored.items():
        key = PositionKey(*parts)
        if key.paid:
            fares[key.participant, key.settlement_date] = fares.get((key.participant, key.settlement_date), 0) + sums[1]
    for window, share in shares.items():
        fare = fares.get(window, 0)
        line.look(share == fare, f"participant {window[0]} on {window[1]}: shares of {share} fen, fares of {fare} fen")


def _prove_suspense(items: dict[str, int], ledger: tuple[tuple[str, int, int], ...], line: Line) -> None:
    """Open items of each participant against what clearing booked on 2205."""
    prefix = f"{SUSPENSE}."
    booked = {
        account.removeprefix(prefix): credits_ - debits
        for account, debits, credits_ in ledger
        if account.startswith(prefix)
    }
    for participant in items.keys() | booked.keys():
        mine, theirs = items.get(participant, 0), booked.get(participant, 0)
        line.look(mine == theirs, f"participants/{participant}: {mine} fen open, {theirs} fen on 2205")


def _prove_positions(stored: dict[tuple[Any, ...], tuple[int, int, int]], found: _Sums, line: Line) -> None:
    """Stored sums of records that took their keys against the recomputed ones, both ways."""
    taken = {key: sums for parts, sums in stored.items() if (key := PositionKey(*parts)).taken}
    for key in taken.keys() | found.positions.keys():
        mine, theirs = tuple(found.positions.get(key, (0, 0, 0))), taken.get(key, (0, 0, 0))
        line.look(mine == theirs, f"{key}: stored {theirs}, recomputed {mine}")
