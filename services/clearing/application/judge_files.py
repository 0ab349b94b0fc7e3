"""Stored uploads are judged, oldest first, set by set; each set is one transaction."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from citycard.clearing.v1 import events_pb2 as events

from libs.clock import Clock
from libs.errors import DataLost
from libs.records.batch import Batch, BatchRefused, FileCode, FileType, decode_batch
from libs.records.numbers import institution_bytes
from services.clearing.application.messages import file_to_pb
from services.clearing.application.ports import Gateway, StoredFile, UnitOfWork
from services.clearing.application.post_set import PostSet, Slice
from services.clearing.domain.participant import Participant

# Most files of one set: small batches are posted together, a thousand at a time would only lock longer.
_FILES_MAX = 200


class UploadBytesDiffer(DataLost):
    """The gateway gave bytes of another digest than it stored; nothing is judged by them."""

    reason = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one round did."""

    files_seen: int
    records_judged: int


class JudgeFiles:
    """One round: take the oldest open files, up to a set's size, judge and post them.

    Args:
        unit_of_work: Makes a transaction.
        gateway: Gives the stored bytes.
        post_set: Judges and posts.
        clock: Stamps what is decided.
        set_records_max: Most records of one transaction.
    """

    def __init__(
        self,
        unit_of_work: Callable[[], UnitOfWork],
        gateway: Gateway,
        post_set: PostSet,
        clock: Clock,
        *,
        set_records_max: int,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._gateway = gateway
        self._post_set = post_set
        self._clock = clock
        self._set_records_max = set_records_max
        # Files at work, so that a long one is fetched and checked once, not once per set.
        self._open: dict[int, Batch] = {}

    async def __call__(self) -> Outcome:
        """Run one round; nothing to do gives an outcome of zeros.

        Raises:
            DependencyUnavailable: The gateway does not answer; nothing was changed.
            UploadBytesDiffer: The gateway lost what it stored; nothing was changed.
        """
        async with self._unit_of_work() as uow:
            files = await uow.files.next_open(_FILES_MAX)
            if not files:
                self._open.clear()
                return Outcome(0, 0)
            participants = {one.id: one for one in await uow.participants.all()}
            slices: list[Slice] = []
            room = self._set_records_max
            for file in files:
                if room <= 0:
                    break
                checked = await self._check(uow, file, participants)
                if checked is not None:
                    slices.append(_slice(*checked, room))
                    room -= len(slices[-1].records)
            if slices:
                await self._post(uow, slices, participants)
            await uow.commit()
        for one in slices:
            if one.file.judged_count + len(one.records) >= one.file.record_count:
                self._open.pop(one.file.id, None)
        return Outcome(len(files), sum(len(one.records) for one in slices))

    async def _check(
        self, uow: UnitOfWork, file: StoredFile, participants: Mapping[str, Participant]
    ) -> tuple[StoredFile, Batch] | None:
        """The tests of a whole file (record-formats.md, section 3); None when it is refused."""
        batch = self._open.get(file.id)
        if batch is None:
            content = await self._gateway.read(file.participant, file.sha256)
            try:
                batch = await asyncio.to_thread(decode_batch, content, FileType.TX)
            except BatchRefused as refused:
                await self._refuse(uow, file, int(refused.file_code))
                return None
            if bytes.fromhex(batch.sha256) != file.sha256:
                raise UploadBytesDiffer(file=file.name)
            self._open[file.id] = batch
        if file.reference_first:
            return file, batch
        sender = participants.get(file.participant)
        if sender is None or institution_bytes(batch.header.sender).hex().upper() != sender.institution_id:
            await self._refuse(uow, file, FileCode.SENDER_UNKNOWN)
            return None
        if await uow.files.batch_number_holder(file) is not None:
            await self._refuse(uow, file, FileCode.BATCH_NUMBER_REUSED)
            return None
        return await uow.files.begin(file, batch.header.business_date), batch

    async def _refuse(self, uow: UnitOfWork, file: StoredFile, code: int) -> None:
        self._open.pop(file.id, None)
        refused = await uow.files.refuse(file, code, self._clock.now())
        await uow.outbox.add([events.FileJudged(file=file_to_pb(refused, ()))])

    async def _post(self, uow: UnitOfWork, slices: list[Slice], participants: Mapping[str, Participant]) -> None:
        posted = await self._post_set(uow, slices, participants)
        for one, codes, days in zip(slices, posted.codes, posted.settlement_dates, strict=True):
            file = await uow.files.add_codes(one.file, codes.tobytes(), days, self._clock.now())
            if file.judged_at is not None:
                amounts = self._open[file.id].records["amount_fen"]
                await uow.outbox.add([events.FileJudged(file=file_to_pb(file, verdict_counts(file.codes, amounts)))])


def _slice(file: StoredFile, batch: Batch, room: int) -> Slice:
    records = batch.records[file.judged_count : file.judged_count + room]
    indexes = np.arange(file.judged_count, file.judged_count + len(records), dtype=np.int64)
    return Slice(file, records, indexes, file.stored_at)


def verdict_counts(codes: bytes, amounts: npt.NDArray[Any]) -> list[tuple[int, int, int]]:
    """(code, record count, amount in fen) of the records of a file, by code."""
    column = np.frombuffer(codes, np.uint8)
    return [
        (int(code), int((column == code).sum()), int(amounts[column == code].astype(np.int64).sum()))
        for code in np.unique(column)
    ]
