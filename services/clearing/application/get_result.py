"""GetResult: the RS file of a judged file, made from upload and stored verdicts; always the same bytes."""

import asyncio
from collections.abc import Callable, Mapping

import numpy as np

from libs.records import bcd, result
from libs.records.batch import Batch, FileCode, FileType, ResultExtension, decode_batch, encode_batch
from libs.records.numbers import institution_text
from libs.records.rows import Rows
from services.clearing.application.ports import JUDGED, RECEIVED, Gateway, StoredFile, UnitOfWork
from services.clearing.domain.errors import FileNotJudged, FileUnknown
from services.clearing.domain.judgement import PAID_CODES


class GetResult:
    """Answers a file record by record."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], gateway: Gateway, *, centre_institution_id: str) -> None:
        self._unit_of_work = unit_of_work
        self._gateway = gateway
        self._centre = institution_text(bytes.fromhex(centre_institution_id))

    async def __call__(self, participant: str, sha256: bytes) -> bytes:
        """The whole RS file.

        Raises:
            FileUnknown, FileNotJudged: In this order.
        """
        async with self._unit_of_work() as uow:
            file = await uow.files.find(participant, sha256)
            if file is None:
                raise FileUnknown(file=f"participants/{participant}/files/{sha256.hex()}")
            if file.state == RECEIVED:
                raise FileNotJudged(file=file.name)
            sender = await uow.participants.find(participant)
            rests = (await uow.suspense.rests(file.id, file.id)).get(file.id, {})
        if file.state == JUDGED:
            content = await self._gateway.read(participant, sha256)
            return await asyncio.to_thread(self._encode, file, decode_batch(content, FileType.TX), rests)
        # A refused file is answered without records. It has no number among result files of its own: 1 [convention].
        receiver = sender.institution_id if sender else file.sender_institution
        extension = result.extension_for(
            np.zeros(0, result.RESULT),
            FileCode(file.file_code),
            file.batch_number,
            institution_text(bytes.fromhex(receiver)),
        )
        return self._file(file, np.zeros(0, result.RESULT), extension, receiver)

    def _encode(self, file: StoredFile, batch: Batch, rests: Mapping[int, int]) -> bytes:
        records = batch.records
        codes = np.frombuffer(file.codes, np.uint8)
        paid = np.isin(codes, PAID_CODES) & (records["kind"] <= 4)
        settled = np.where(paid, records["amount_fen"], 0).astype(np.int64)
        for index, rest_fen in rests.items():
            settled[index] -= rest_fen
        assert file.settlement_date is not None, "a judged file has settled"
        rows = result.make_results(
            index=np.arange(len(records)),
            terminal_number=records["terminal_number"],
            terminal_seq=records["terminal_seq"],
            code=codes,
            settled_fen=settled,
            settlement_date=file.settlement_date,
            clearing_reference=(file.reference_first + np.arange(len(records))) & 0xFFFFFFFF,
        )
        extension = result.extension_for(rows, FileCode.PROCESSED, file.batch_number, batch.header.sender)
        return self._file(file, rows, extension, file.sender_institution)

    def _file(self, file: StoredFile, rows: Rows, extension: ResultExtension, receiver: str) -> bytes:
        assert file.judged_at is not None, "only judged and refused files are answered"
        local_day = file.settlement_date or file.judged_at.astimezone(bcd.LOCAL_TIME).date()
        return encode_batch(
            FileType.RS,
            rows,
            sender=self._centre,
            receiver=institution_text(bytes.fromhex(receiver)),
            # Result numbers go round within the six digits of a batch number.
            batch_number=(max(file.result_number, 1) - 1) % 999_999 + 1,
            created=file.judged_at.replace(microsecond=0),
            business_date=local_day,
            extension=extension,
        )
