"""The reading RPCs: one transaction each, nothing decided."""

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np

from libs.records.batch import FileType, decode_batch
from services.clearing.application.judge_files import verdict_counts
from services.clearing.application.messages import Verdicts, window_name
from services.clearing.application.ports import Gateway, RegistryCounts, StoredFile, StoredRecord, UnitOfWork, WindowRow
from services.clearing.domain.errors import (
    FileUnknown,
    ParticipantUnknown,
    RecordUnknown,
    StatementUnknown,
    WindowUnknown,
)
from services.clearing.domain.judgement import PAID_CODES
from services.clearing.domain.participant import Participant
from services.clearing.domain.statement import Statement, verdicts_of

WindowSums = tuple[int, int, int, int]
"""Records taken, list price, amount paid, amount in suspense; money in fen."""


class Queries:
    """Reads for the API."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], gateway: Gateway) -> None:
        self._unit_of_work = unit_of_work
        self._gateway = gateway

    async def participant(self, participant: str) -> Participant:
        """One participant.

        Raises:
            ParticipantUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            found: Participant | None = await uow.participants.find(participant)
        if found is None:
            raise ParticipantUnknown(participant=participant)
        return found

    async def participants(self, after: str | None, size: int) -> list[Participant]:
        """Participants by id."""
        async with self._unit_of_work() as uow:
            return list(await uow.participants.page(after, size))

    async def registry_counts(self) -> RegistryCounts:
        """What clearing has heard of."""
        async with self._unit_of_work() as uow:
            counts: RegistryCounts = await uow.registries.counts()
        return counts

    async def file(self, participant: str, sha256: bytes) -> tuple[StoredFile, Verdicts]:
        """One file; its verdicts with the amounts that its upload says.

        Raises:
            FileUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            file: StoredFile | None = await uow.files.find(participant, sha256)
        if file is None:
            raise FileUnknown(file=f"participants/{participant}/files/{sha256.hex()}")
        if not file.codes:
            return file, ()
        batch = decode_batch(await self._gateway.read(participant, sha256), FileType.TX)
        return file, verdict_counts(file.codes, batch.records["amount_fen"][: len(file.codes)])

    async def files(
        self, participant: str | None, state: int, after: tuple[str, int] | None, size: int
    ) -> list[tuple[StoredFile, Verdicts]]:
        """Files by moment of acceptance; their verdicts as counts, without amounts."""
        async with self._unit_of_work() as uow:
            files = await uow.files.page(participant, state, after, size)
        return [(file, verdict_counts(file.codes, np.zeros(len(file.codes), np.int64))) for file in files]

    async def record(self, terminal_number: int, terminal_seq: int) -> StoredRecord:
        """One record that took its keys.

        Raises:
            RecordUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            found: StoredRecord | None = await uow.records.find(terminal_number, terminal_seq)
        if found is None:
            raise RecordUnknown(record=f"records/{terminal_number:012d}-{terminal_seq}")
        return found

    async def records(
        self, participant: str, day: date | None, codes: Sequence[int], after: tuple[int, int] | None, size: int
    ) -> list[StoredRecord]:
        """Records of a participant by key."""
        async with self._unit_of_work() as uow:
            return list(await uow.records.page(participant, day, codes, after, size))

    async def window(self, participant: str, day: date) -> tuple[WindowRow, Verdicts, WindowSums]:
        """One window with its sums.

        Raises:
            WindowUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            window: WindowRow | None = await uow.windows.find(participant, day)
            if window is None:
                raise WindowUnknown(window=window_name(participant, day))
            return await self._with_sums(uow, window)

    async def windows(
        self, participant: str | None, state: int, after: tuple[str, str] | None, size: int
    ) -> list[tuple[WindowRow, Verdicts, WindowSums]]:
        """Windows by participant and date."""
        async with self._unit_of_work() as uow:
            page = await uow.windows.page(participant, state, after, size)
            return [await self._with_sums(uow, window) for window in page]

    async def statement(self, participant: str, day: date) -> Statement:
        """One statement.

        Raises:
            StatementUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            found: Statement | None = await uow.windows.statement(participant, day)
        if found is None:
            raise StatementUnknown(statement=f"participants/{participant}/statements/{day:%Y%m%d}")
        return found

    async def statements(self, participant: str | None, after: tuple[str, str] | None, size: int) -> list[Statement]:
        """Statements by participant and date."""
        async with self._unit_of_work() as uow:
            return list(await uow.windows.statements(participant, after, size))

    async def _with_sums(self, uow: UnitOfWork, window: WindowRow) -> tuple[WindowRow, Verdicts, WindowSums]:
        participant = await uow.participants.find(window.participant)
        assert participant is not None, "a window belongs to a participant"
        positions = await uow.windows.positions(participant.number, window.settlement_date)
        taken = [one for one in positions if one.key.taken]
        sums = (
            sum(one.record_count for one in taken),
            sum(one.list_price_fen for one in taken if one.key.paid),
            sum(one.amount_fen for one in taken if one.key.paid),
            sum(one.amount_fen for one in taken if one.key.code not in PAID_CODES),
        )
        return window, verdicts_of(positions), sums
