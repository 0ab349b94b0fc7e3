"""Stored uploads are judged, oldest first, set by set; each set is one transaction."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from citycard.clearing.v1 import events_pb2 as events

from libs.clock import Clock
from libs.errors import DataLost
from libs.keystore.port import KeyStore
from libs.records.batch import Batch, BatchRefused, FileCode, FileType, decode_batch
from libs.records.numbers import institution_bytes
from services.clearing.application.messages import file_to_pb
from services.clearing.application.ports import WHOLE, Gateway, Share, StoredFile, UnitOfWork
from services.clearing.application.post_set import PostSet, Slice
from services.clearing.application.prepare import Prepared, prepare
from services.clearing.domain.participant import Participant

# Most files of one set: small batches are posted together, a thousand at a time would only lock longer.
_FILES_MAX = 200
# The set at work and the one after it.
_SETS_AHEAD = 2
_MOSTLY = 0.5


class UploadBytesDiffer(DataLost):
    """The gateway gave bytes of another digest than it stored; nothing is judged by them."""

    reason = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one round did."""

    files_seen: int
    records_judged: int


class JudgeFiles:
    """One round: take the oldest open files, up to a set's size, and admit those that are new, or judge and post them.

    While the database works on one set, the next one's files are fetched and looked through.

    Args:
        unit_of_work: Makes a transaction.
        gateway: Gives the stored bytes.
        post_set: Judges and posts.
        keys: Verifies TACs.
        clock: Stamps what is decided.
        set_records_max: Most records of one transaction.
        share: Whose files this worker takes; all of them unless told.
    """

    def __init__(
        self,
        unit_of_work: Callable[[], UnitOfWork],
        gateway: Gateway,
        post_set: PostSet,
        keys: KeyStore,
        clock: Clock,
        *,
        set_records_max: int,
        share: Share = WHOLE,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._post_set = post_set
        self._clock = clock
        self._set_records_max = set_records_max
        self._share = share
        self._ahead = _Ahead(gateway, keys)

    def forget(self) -> None:
        """Drop what was fetched ahead; nothing of it is anywhere else."""
        self._ahead.keep([])

    async def __call__(self) -> Outcome:
        """Run one round; nothing to do gives an outcome of zeros.

        Raises:
            DependencyUnavailable: The gateway does not answer; nothing was changed.
            UploadBytesDiffer: The gateway lost what it stored; nothing was changed.
        """
        async with self._unit_of_work() as uow:
            files = await uow.files.next_open(_FILES_MAX, self._share)
            if not files:
                self.forget()
                return Outcome(0, 0)
            pieces = _pieces(files, self._set_records_max)
            self._ahead.keep(pieces)
            participants = {one.id: one for one in await uow.participants.all()}
            at_hand = _of_one_set(pieces, self._set_records_max)
            fresh = [piece for piece in at_hand if not piece.file.reference_first]
            if fresh:
                await self._admit(uow, fresh, participants)
                await uow.commit()
                return Outcome(len(files), 0)
            slices = []
            for piece in at_hand:
                _, facts = await self._ahead.get(piece)
                indexes = np.arange(piece.start, piece.start + len(facts.records), dtype=np.int64)
                slices.append(Slice(piece.file, facts, indexes, piece.file.stored_at))
            await self._post(uow, slices, participants)
            await uow.commit()
        return Outcome(len(files), sum(len(one.indexes) for one in slices))

    async def _admit(self, uow: UnitOfWork, fresh: Sequence["_Piece"], participants: Mapping[str, Participant]) -> None:
        """The tests of whole files (record-formats.md, section 3), and numbers for those that pass.

        A transaction of its own: numbers without gaps are handed out under one lock for all workers, which must not be
        held while a set is posted.
        """
        headers = {}
        for piece in fresh:
            try:
                headers[piece.file.id] = (await self._ahead.get(piece))[0].header
            except BatchRefused as refused:
                await self._refuse(uow, piece.file, int(refused.file_code))
        for piece in fresh:
            file = piece.file
            if file.id not in headers:
                continue
            header, sender = headers[file.id], participants.get(file.participant)
            if sender is None or institution_bytes(header.sender).hex().upper() != sender.institution_id:
                await self._refuse(uow, file, FileCode.SENDER_UNKNOWN)
            elif await uow.files.batch_number_holder(file) is not None:
                await self._refuse(uow, file, FileCode.BATCH_NUMBER_REUSED)
            else:
                await uow.files.begin(file, header.business_date)

    async def _refuse(self, uow: UnitOfWork, file: StoredFile, code: int) -> None:
        refused = await uow.files.refuse(file, code, self._clock.now())
        await uow.outbox.add([events.FileJudged(file=file_to_pb(refused, ()))])

    async def _post(self, uow: UnitOfWork, slices: list[Slice], participants: Mapping[str, Participant]) -> None:
        posted = await self._post_set(uow, slices, participants)
        self._ahead.repeated = posted.repeated
        for one, codes, days in zip(slices, posted.codes, posted.settlement_dates, strict=True):
            file = await uow.files.add_codes(one.file, codes.tobytes(), days, self._clock.now())
            if file.judged_at is not None:
                amounts = (await self._ahead.batch(one.file)).records["amount_fen"]
                await uow.outbox.add([events.FileJudged(file=file_to_pb(file, verdict_counts(file.codes, amounts)))])


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some records of a file that will be judged in one set."""

    file: StoredFile
    start: int
    count: int

    @property
    def key(self) -> tuple[int, int, int]:
        return self.file.id, self.start, self.count


def _pieces(files: Sequence[StoredFile], set_records_max: int) -> list[_Piece]:
    """What this set and the next will judge, by what the files say of themselves."""
    pieces = []
    room = _SETS_AHEAD * set_records_max
    for file in files:
        start = file.judged_count
        # A set ends where its room ends, so a piece may not reach across the border.
        while room > 0:
            count = min(file.record_count - start, (room - 1) % set_records_max + 1)
            pieces.append(_Piece(file, start, count))
            room -= count
            start += count
            if start >= file.record_count:
                break
    return pieces


def _of_one_set(pieces: Sequence[_Piece], set_records_max: int) -> list[_Piece]:
    """The first pieces, as many as one transaction takes."""
    chosen, room = [], set_records_max
    for piece in pieces:
        if piece.count > room:
            break
        chosen.append(piece)
        room -= piece.count
    return chosen


class _Ahead:
    """Files at work, and the pieces of them that are fetched and looked through before their turn.

    Attributes:
        repeated: Share of repetitions in the last set: where most are, TACs are left until it is known who needs one.
    """

    def __init__(self, gateway: Gateway, keys: KeyStore) -> None:
        self._gateway = gateway
        self._keys = keys
        self._batches: dict[int, asyncio.Task[Batch]] = {}
        self._facts: dict[tuple[int, int, int], asyncio.Task[tuple[Batch, Prepared]]] = {}
        self.repeated = 0.0

    def keep(self, pieces: Sequence[_Piece]) -> None:
        """Begin with these, and forget all others."""
        wanted = {piece.key: piece for piece in pieces}
        files = {piece.file.id for piece in pieces}
        for key in self._facts.keys() - wanted.keys():
            self._facts.pop(key).cancel()
        for file_id in self._batches.keys() - files:
            self._batches.pop(file_id).cancel()
        for key, piece in wanted.items():
            if key not in self._facts:
                task = asyncio.create_task(self._prepare(piece))
                # Somebody else may take the file: a failure that nobody waits for is no news.
                task.add_done_callback(_seen)
                self._facts[key] = task

    async def get(self, piece: _Piece) -> tuple[Batch, Prepared]:
        """The file of a piece and its facts.

        Raises:
            BatchRefused: The file is none.
            DependencyUnavailable, UploadBytesDiffer: As the gateway says.
        """
        task = self._facts[piece.key]
        try:
            return await asyncio.shield(task)
        finally:
            if task.done() and (task.cancelled() or task.exception() is not None):
                # Asked again, it is tried again.
                self._facts.pop(piece.key, None)
                self._batches.pop(piece.file.id, None)

    async def batch(self, file: StoredFile) -> Batch:
        """The file, fetched once."""
        task = self._batches.get(file.id)
        if task is None:
            task = asyncio.create_task(self._fetch(file))
            task.add_done_callback(_seen)
            self._batches[file.id] = task
        return await asyncio.shield(task)

    async def _fetch(self, file: StoredFile) -> Batch:
        content = await self._gateway.read(file.participant, file.sha256)
        batch = await asyncio.to_thread(decode_batch, content, FileType.TX)
        if bytes.fromhex(batch.sha256) != file.sha256:
            raise UploadBytesDiffer(file=file.name)
        return batch

    async def _prepare(self, piece: _Piece) -> tuple[Batch, Prepared]:
        batch = await self.batch(piece.file)
        keys = None if self.repeated > _MOSTLY else self._keys
        records = batch.records[piece.start : piece.start + piece.count]
        return batch, await asyncio.to_thread(prepare, records, keys)


def _seen(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()


def verdict_counts(codes: bytes, amounts: npt.NDArray[Any]) -> list[tuple[int, int, int]]:
    """(code, record count, amount in fen) of the records of a file, by code."""
    column = np.frombuffer(codes, np.uint8)
    return [
        (int(code), int((column == code).sum()), int(amounts[column == code].astype(np.int64).sum()))
        for code in np.unique(column)
    ]
