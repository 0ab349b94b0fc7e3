"""Prove (证明): recompute verdict counts, positions and statements from the stored uploads. Reads only."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from libs.records import otr
from libs.records.batch import BatchRefused, FileType, decode_batch
from services.clearing.application.ports import Gateway, StoredFile, UnitOfWork
from services.clearing.application.prepare import digest_rows
from services.clearing.domain.judgement import TAKING_CODES, Judgement, needs_tac
from services.clearing.domain.late import rest_column
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import Position, PositionKey, positions_of
from services.clearing.domain.statement import FIRST_LINK, make_statement
from services.clearing.domain.suspense import SUSPENSE


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
class _Found:
    """Positions recomputed from the bytes of the uploads, and how many records they hold."""

    positions: dict[PositionKey, list[int]] = field(default_factory=dict)
    records: int = 0
    rests: dict[int, dict[int, int]] = field(default_factory=dict)

    def add(self, position: Position) -> None:
        sums = self.positions.setdefault(position.key, [0, 0, 0])
        for place, value in enumerate((position.record_count, position.amount_fen, position.list_price_fen)):
            sums[place] += value


class Prove:
    """Reads every stored upload again and compares."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], gateway: Gateway, *, centre_institution_id: str) -> None:
        self._unit_of_work = unit_of_work
        self._gateway = gateway
        self._centre = centre_institution_id

    async def __call__(self) -> Proof:
        """The proof; a broken invariant is a line of it, never an exception."""
        counts = Line("I2", "every record of every judged file has exactly one verdict")
        kept = Line("I2", "every record that took its keys is stored with the bytes of its upload")
        once = Line("I3", "(terminal, sequence) is stored once; stored records = records found in the uploads")
        balance = Line("I1", "lines of the book = movements of the cards, batch by batch")
        positions = Line("I6", "positions = sums recomputed from the uploads")
        statements = Line("I12", "statements recomputed from the uploads equal the stored ones, byte for byte")
        chain = Line("I7", "statements of each participant are numbered without a gap and linked by their hashes")
        shared = Line("I9", "apportioned shares = fares paid, by participant and day that rules hold for")
        suspended = Line("B4", "open suspense items that debited cards = balances of 2205")
        folded = Line("I10", "every batch was folded by the ledger")
        async with self._unit_of_work() as uow:
            await uow.proofs.snapshot()
            participants = {one.number: one for one in await uow.participants.all()}
            sums = await uow.proofs.sums()
            found = _Found(rests=await uow.suspense.rests())
            async for file in uow.proofs.judged_files():
                await self._prove_file(uow, file, counts, kept, found)
            once.look(found.records == sums.records, f"{sums.records} stored, {found.records} found", sums.records)
            balance.look(sums.unbalanced_batches == 0, f"{sums.unbalanced_batches} batches", sums.batches)
            folded.look(sums.unfolded_batches == 0, f"{sums.unfolded_batches} batches", sums.batches)
            _prove_suspense(await uow.suspense.debited_sums(), sums.ledger, suspended)
            stored = await uow.proofs.position_sums()
            _prove_positions(stored, found, positions)
            _prove_shares(stored, await uow.apportionment.share_sums(), shared)
            await self._prove_statements(uow, participants, found, statements, chain)
        return Proof(
            lines=(balance, counts, kept, once, positions, shared, suspended, chain, folded, statements),
            file_count=sums.files,
            record_count=sums.records_in_files,
            movement_count=sums.movements,
            movement_total_fen=sums.movements_fen,
            batch_count=sums.batches,
            ledger=sums.ledger,
        )

    async def _prove_file(self, uow: UnitOfWork, file: StoredFile, counts: Line, kept: Line, found: _Found) -> None:
        content = await self._gateway.read(file.participant, file.sha256)
        try:
            batch = await asyncio.to_thread(decode_batch, content, FileType.TX)
        except BatchRefused as refused:
            counts.look(False, f"{file.name}: the upload is no batch file any more ({refused.fault})")
            return
        records = batch.records
        whole = bytes.fromhex(batch.sha256) == file.sha256
        counts.look(
            whole and len(file.codes) == file.judged_count <= len(records) == file.record_count,
            f"{file.name}: {len(file.codes)} verdicts on {len(records)} records", len(records),
        )  # fmt: skip
        rows = await uow.proofs.records_of(file.id)
        found.records += len(rows)
        indexes = rows["file_index"].astype(np.int64)
        if len(indexes) and indexes.max() >= len(records):
            kept.look(False, f"{file.name}: record {indexes.max()} is not in the upload")
            return
        digests = await asyncio.to_thread(digest_rows, records)
        wrong = _wrong_rows(records, digests, rows, indexes)
        for index in wrong:
            kept.look(False, f"{file.name}: record {index} differs from its upload", 0)
        kept.checked += len(rows)
        # The other way round: no first verdict that takes keys without its stored record.
        codes = np.frombuffer(file.codes, np.uint8)
        judged = records[: len(codes)]
        should = np.flatnonzero(np.isin(codes, TAKING_CODES) & needs_tac(judged))
        for index in np.setdiff1d(should, indexes):
            kept.look(False, f"{file.name}: record {index} took its keys but is not stored", 0)
        stored = records[indexes]
        verdict = rows["code"].astype(np.uint8)
        everything = np.ones(len(rows), np.bool_)
        judgement = Judgement(verdict, everything, ~everything)
        for position in positions_of(
            stored, judgement, rows["participant"].astype(np.int64), rows["settlement_day"].astype(np.int64),
            rest_column(indexes, found.rests.get(file.id, {})),
        ):  # fmt: skip
            found.add(position)

    async def _prove_statements(
        self, uow: UnitOfWork, participants: dict[int, Participant], found: _Found, statements: Line, chain: Line
    ) -> None:
        numbers = {one.id: one.number for one in participants.values()}
        link: dict[str, tuple[int, bytes]] = {}
        for statement, fee_rate_bp in await uow.proofs.statements():
            participant = participants[numbers[statement.participant]]
            number, previous = link.get(statement.participant, (0, FIRST_LINK))
            what = f"participants/{statement.participant}/statements/{statement.settlement_date:%Y%m%d}"
            mine = [
                Position(key, *sums)
                for key, sums in found.positions.items()
                if (key.participant, key.settlement_date) == (participant.number, statement.settlement_date)
            ]
            again = make_statement(
                replace(participant, fee_rate_bp=fee_rate_bp),
                statement.settlement_date,
                mine,
                number=number + 1,
                centre=self._centre,
                records_digest=await uow.windows.records_digest(participant.number, statement.settlement_date),
                previous_link=previous,
                terms=await uow.windows.terms(participant.number, statement.settlement_date),
            )
            chain.look(statement.number == number + 1 and statement.chain_hash == again.chain_hash, what)
            statements.look(again == statement, what)
            link[statement.participant] = (statement.number, statement.chain_hash)


def _wrong_rows(
    records: otr.Records, digests: npt.NDArray[np.void], rows: npt.NDArray[np.void], indexes: npt.NDArray[np.int64]
) -> npt.NDArray[Any]:
    """Indexes of stored rows that are not what the upload says."""
    of_upload = records[indexes]
    same = (
        (digests[indexes] == rows["digest"])
        & (of_upload["amount_fen"] == rows["amount_fen"])
        & (of_upload["list_price_fen"] == rows["list_price_fen"])
    )
    wrong: npt.NDArray[Any] = indexes[~same]
    return wrong


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


def _prove_positions(stored: dict[tuple[Any, ...], tuple[int, int, int]], found: _Found, line: Line) -> None:
    """Stored sums of records that took their keys against the recomputed ones, both ways."""
    taken = {key: sums for parts, sums in stored.items() if (key := PositionKey(*parts)).taken}
    for key in taken.keys() | found.positions.keys():
        mine, theirs = tuple(found.positions.get(key, (0, 0, 0))), taken.get(key, (0, 0, 0))
        line.look(mine == theirs, f"{key}: stored {theirs}, recomputed {mine}")
