"""Judge one set of records and post it: verdicts, records, positions, batch and event in the caller's transaction."""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
from citycard.clearing.v1 import events_pb2 as events

from libs.clock import Clock
from libs.keystore.port import KeyStore
from libs.records import otr
from services.clearing.application.apportion_set import apportion_set, sharers_of
from services.clearing.application.hits import hits_of
from services.clearing.application.messages import timestamp
from services.clearing.application.ports import StoredFile, UnitOfWork
from services.clearing.application.prepare import Prepared, joined, verify
from services.clearing.application.suspend import suspend
from services.clearing.domain.apportion import Apportioned, moved
from services.clearing.domain.audit import audit
from services.clearing.domain.judgement import I64, Judgement, Known, judge, needs_tac
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import Position, positions_of, posting_lines

_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Slice:
    """Records of one file that are judged together.

    Attributes:
        facts: Of some of the file's records.
        indexes: (n,) place of each in the file.
        accepted_at: The instant that decides the settlement date; storing for a first verdict, now for a later one.
    """

    file: StoredFile
    facts: Prepared
    indexes: I64
    accepted_at: datetime


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of a set.

    Attributes:
        repeated: Share of records whose bytes were taken before, 0 to 1.
        codes: Verdicts of each slice.
        settlement_dates: For each slice, the day on which records of each participant (surrogate) settled.
    """

    repeated: float
    codes: list[npt.NDArray[np.uint8]]
    settlement_dates: list[dict[int, date]]


class PostSet:
    """Judges and posts.

    Args:
        keys: Verifies TACs.
        clock: Stamps what is posted; no verdict depends on it.
        production: Refuse test records.
    """

    def __init__(self, keys: KeyStore, clock: Clock, *, production: bool) -> None:
        self._keys = keys
        self._clock = clock
        self._production = production

    async def __call__(
        self, uow: UnitOfWork, slices: Sequence[Slice], participants: Mapping[str, Participant], *, first: bool = True
    ) -> Posted:
        """Judge the records in the order of the slices and post them; the caller commits.

        Args:
            uow: The transaction.
            slices: At least one.
            participants: Every participant by its id.
            first: Whether these are first verdicts; a later decision counts only the records that it lets in.
        """
        now = self._clock.now()
        senders = [participants[one.file.participant] for one in slices]
        lengths = [len(one.indexes) for one in slices]
        facts = joined([one.facts for one in slices])
        records, digests, times_s = facts.records, facts.digests, facts.times_s
        sender_of = np.repeat(np.arange(len(slices)), lengths)
        received_s = np.array([int(one.file.stored_at.timestamp()) for one in slices], np.int64)[sender_of]
        known = await uow.postings.look_up(records, digests, times_s, received_s, senders, sender_of, first=first)
        judgement = await asyncio.to_thread(self._judge, facts, known)
        # A record of an unknown acquirer is counted with the participant that sent it.
        sender_numbers = np.array([sender.number for sender in senders], np.int64)[sender_of]
        counted_for = np.where(known.participant >= 0, known.participant, sender_numbers)
        by_number = {one.number: one for one in participants.values()}
        rules = await uow.apportionment.rules()
        sharers = sharers_of(rules, participants)
        days = await self._settlement_days(uow, slices, counted_for, sender_of, by_number, sharers)
        settlement_day = np.zeros(len(records), np.int64)
        for place, of_slice in enumerate(days):
            for number, settles in of_slice.items():
                settlement_day[(sender_of == place) & (counted_for == number)] = (settles - _EPOCH).days
        file_ids = np.array([one.file.id for one in slices], np.int64)[sender_of]
        indexes = np.concatenate([one.indexes for one in slices])
        await uow.postings.add_records(
            records, digests, times_s, known, judgement, file_ids, indexes, counted_for, settlement_day, now
        )
        rest = await suspend(
            uow, records, digests, known, judgement, file_ids, indexes, counted_for, settlement_day, now, first=first
        )
        packs = await uow.audits.packs()
        if packs:
            found = audit(records, times_s, counted_for, judgement.takes, packs)
            await uow.audits.add_deviations(records, found, known.card, counted_for, settlement_day)
        names = {number: one.id for number, one in by_number.items()}
        files = sorted({one.file.name for one in slices})
        positions = positions_of(records, judgement, counted_for, settlement_day, rest)
        # Invariant I2 is asserted where the money moves: what does not add up is never committed.
        assert sum(position.record_count for position in positions) == len(records), "counts in = counts out"
        if not first:
            positions = [position for position in positions if position.key.taken]
        made = apportion_set(
            records, judgement, counted_for, settlement_day, rest, rules, names, days, sender_of, sharers
        )
        await self._post_money(uow, records, times_s, known, judgement, positions, names, files, made)
        await uow.outbox.add(hits_of(records, times_s, known, judgement, now))
        ends = np.cumsum(lengths)[:-1]
        return Posted(float(known.same_taken.mean()) if len(records) else 0.0, np.split(judgement.codes, ends), days)

    async def _settlement_days(
        self, uow: UnitOfWork, slices: Sequence[Slice], counted_for: I64, sender_of: I64,
        by_number: Mapping[int, Participant], sharers: Sequence[int],
    ) -> list[dict[int, date]]:  # fmt: skip
        """The window of every participant in every slice: by its calendar, or the next that is open."""
        wanted = [
            {int(number): by_number[int(number)].settlement_date(one.accepted_at)
             for number in (*np.unique(counted_for[sender_of == place]), *sharers)}
            for place, one in enumerate(slices)
        ]  # fmt: skip
        windows: dict[tuple[int, date], date] = {}
        # Sorted: two sets at once take their windows in one order.
        for number, first in sorted({pair for of_slice in wanted for pair in of_slice.items()}):
            windows[number, first] = await uow.postings.open_window(number, first)
        return [{number: windows[number, first] for number, first in of_slice.items()} for of_slice in wanted]

    async def _post_money(
        self, uow: UnitOfWork, records: otr.Records, times_s: I64, known: Known, judgement: Judgement,
        positions: Sequence[Position], names: Mapping[int, str], files: Sequence[str], made: Apportioned,
    ) -> None:  # fmt: skip
        """Positions, the lines of the book, and the event that the ledger folds in."""
        lines = moved(posting_lines(positions, names), made.shares, names)
        rows = np.flatnonzero(judgement.takes)
        amounts = records["amount_fen"][rows].astype(np.int64)
        total = int(amounts.sum())
        # I1, likewise.
        assert sum(line.amount_fen for line in lines) == total, "lines of the book = movements of the cards"
        batch_id = uuid.uuid4()
        await uow.postings.add_batch(batch_id, positions, lines, len(rows), total, self._clock.now())
        await uow.apportionment.add(batch_id, made)
        if not len(rows):
            return
        event = events.RecordsPosted(
            batch_id=str(batch_id),
            lines=[
                events.PostingLine(
                    debit_account=line.debit_account,
                    credit_account=line.credit_account,
                    amount_fen=line.amount_fen,
                    record_count=line.record_count,
                )
                for line in lines
            ],
            movement_total_fen=total,
            card_numbers=records["card_number"][rows].tobytes(),
            schemes=(records["card_class"][rows] == 0x07).astype(np.uint8).tobytes(),
            generations=known.generation[rows].tolist(),
            counters=records["card_counter"][rows].tolist(),
            amounts_fen=amounts.tolist(),
            balances_before_fen=records["balance_before_fen"][rows].tolist(),
            times_s=times_s[rows].tolist(),
            files=files,
            post_time=timestamp(self._clock.now()),
        )
        await uow.outbox.add([event])

    def _judge(self, facts: Prepared, known: Known) -> Judgement:
        records = facts.records
        wanted = needs_tac(records) & known.own_issuer & known.key & (known.card > 0)
        held, tac = (facts.key_held, facts.tac) if facts.checked else verify(self._keys, records, wanted)
        known.key[wanted & ~held] = False
        known.tac[:] = wanted & tac
        return judge(
            records, facts.digests, facts.times_s, known, production=self._production, malformed=facts.malformed
        )
