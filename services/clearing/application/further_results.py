"""Further result files (RS): what was decided after the first one, only the records decided (record-formats.md, 2)."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from libs.clock import Clock
from libs.records import bcd, result
from libs.records.batch import FileCode, FileType, encode_batch
from libs.records.numbers import institution_text, terminal_bytes
from services.clearing.application.ports import StoredFile, UnitOfWork
from services.clearing.domain.errors import ParticipantUnknown
from services.clearing.domain.errors_settlement import ResultUnknown


@dataclass(frozen=True, slots=True)
class DecidedRecord:
    """One record of a file that was decided later.

    Attributes:
        final_code: Result code that stands.
        settled_fen: Paid with this answer.
    """

    item_id: int
    index: int
    terminal_number: int
    terminal_seq: int
    final_code: int
    settled_fen: int
    settled_on: bytes


@dataclass(frozen=True, slots=True)
class FurtherResult:
    """A further result file.

    Attributes:
        number: Within the centre; the header carries it within six digits.
        file: `participants/…/files/…` that it answers.
    """

    participant: str
    number: int
    file: str
    record_count: int
    settled_fen: int
    sha256: bytes
    made_at: datetime


class MakeFurtherResults:
    """Tells a participant what was decided since."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock, *, centre_institution_id: str) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._centre = institution_text(bytes.fromhex(centre_institution_id))

    async def __call__(self, participant: str) -> list[FurtherResult]:
        """Make the files of all decisions that no file has told; none when there are none.

        Raises:
            ParticipantUnknown: There is none.
        """
        made = []
        async with self._unit_of_work() as uow:
            found = await uow.participants.find(participant)
            if found is None:
                raise ParticipantUnknown(participant=participant)
            await uow.suspense.sweep(self._clock.now())
            for file, records in await uow.further_results.untold(found.number):
                made.append(await self._make(uow, found.number, file, records))
            await uow.commit()
        return made

    async def _make(
        self, uow: UnitOfWork, participant: int, file: StoredFile, records: Sequence[DecidedRecord]
    ) -> FurtherResult:
        number = await uow.further_results.next_number()
        now = self._clock.now()
        terminals = [terminal_bytes(f"{one.terminal_number:012d}") for one in records]
        rows = result.make_results(
            index=np.array([one.index for one in records]),
            terminal_number=np.frombuffer(b"".join(terminals), np.uint8).reshape(-1, 6),
            terminal_seq=np.array([one.terminal_seq for one in records]),
            code=np.array([one.final_code for one in records]),
            settled_fen=np.array([one.settled_fen for one in records]),
            settlement_date=np.frombuffer(b"".join(one.settled_on for one in records), np.uint8).reshape(-1, 4),
            clearing_reference=np.array([(file.reference_first + one.index) & 0xFFFFFFFF for one in records]),
        )
        sender = institution_text(bytes.fromhex(file.sender_institution))
        content = encode_batch(
            FileType.RS,
            rows,
            sender=self._centre,
            receiver=sender,
            # Further results have a count of their own, which goes round within six digits like that of the first ones.
            batch_number=(number - 1) % 999_999 + 1,
            created=now.replace(microsecond=0),
            business_date=now.astimezone(bcd.LOCAL_TIME).date(),
            extension=result.extension_for(rows, FileCode.PROCESSED, file.batch_number, sender),
        )
        made = FurtherResult(
            file.participant, number, file.name, len(records), sum(one.settled_fen for one in records),
            hashlib.sha256(content).digest(), now,
        )  # fmt: skip
        await uow.further_results.add(participant, file.id, made, content, [one.item_id for one in records])
        return made


class FurtherResults:
    """Reads of further result files."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def page(self, participant: str, after: int, size: int) -> list[FurtherResult]:
        """Files by number."""
        async with self._unit_of_work() as uow:
            return list(await uow.further_results.page(participant, after, size))

    async def content(self, participant: str, number: int) -> bytes:
        """One file.

        Raises:
            ResultUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            found: bytes | None = await uow.further_results.content(participant, number)
        if found is None:
            raise ResultUnknown(result=f"participants/{participant}/furtherResults/{number}")
        return found
