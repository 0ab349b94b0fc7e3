"""Prove: recompute what must hold inside this service."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from libs.records.batch import BatchRefused, decode_batch, decode_header
from services.terminal_gw.application.ports import StoredProof, UnitOfWork
from services.terminal_gw.domain.serials import FileSerials, serials_of
from services.terminal_gw.domain.upload import Upload

_UPLOADS_A_PAGE = 500


@dataclass(frozen=True, slots=True)
class ProofLine:
    """One invariant looked at; the fields of `citycard.common.v1.ProofLine`."""

    invariant: str
    statement: str
    checked_count: int
    broken_count: int
    first_broken: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found, and the totals."""

    lines: tuple[ProofLine, ...]
    stored: StoredProof


class Prove:
    """Reads every stored byte, an upload at a time; changes nothing."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self) -> Proof:
        """Recompute digests, headers, counts, serials and the journal's positions."""
        async with self._unit_of_work() as uow:
            stored = await uow.uploads.prove_stored()
            wrong_bytes: list[str] = []
            wrong_headers: list[str] = []
            wrong_serials: list[str] = []
            checked, after = 0, 0
            while page := await uow.uploads.list(None, after, _UPLOADS_A_PAGE, store_time_min=None):
                for upload in page:
                    bytes_fit, header_fits, serials_fit = await self._look(uow, upload)
                    wrong_bytes += [] if bytes_fit else [str(upload.key)]
                    wrong_headers += [] if header_fits else [str(upload.key)]
                    wrong_serials += [] if serials_fit else [str(upload.key)]
                checked, after = checked + len(page), page[-1].sequence
            covered_count, uncovered_count, first_uncovered = await uow.collection.prove_serials()
        lines = (
            _line("I11", "the stored bytes of every acknowledged upload have its digest and size", checked,
                  wrong_bytes),
            _line("I2", "count, total, sender and number kept of every upload are those of its header", checked,
                  wrong_headers),
            ProofLine("I11", "the journal's positions have no hole and no repetition and follow time",
                      stored.sequence_last, stored.hole_count,
                      f"{stored.hole_count} positions" if stored.hole_count else ""),
            _line("I2", "the serials noted of every upload are those of its records", checked, wrong_serials),
            ProofLine("I2", "what counts as covered is the sum of what the uploads hold", covered_count,
                      uncovered_count, first_uncovered),
        )  # fmt: skip
        return Proof(lines, stored)

    async def _look(self, uow: UnitOfWork, upload: Upload) -> tuple[bool, bool, bool]:
        data = bytearray()
        while part := await uow.uploads.part(upload.key, len(data)):
            data += part
        noted = await uow.collection.serials_of_upload(upload.key)
        digest, serials = await asyncio.to_thread(_read, data)
        found = [
            (run.terminal_number, run.device_number, run.record_count, run.device_seqs, run.terminal_seqs)
            for run in serials.runs
        ]
        # None: stored by a version that did not look; the gateway is about to.
        serials_fit = upload.header is None or upload.header.terminal_count is None or list(noted) == found
        bytes_fit = digest == upload.key.sha256 and len(data) == upload.size_bytes
        return bytes_fit, _header_fits(bytes(data[:128]), upload), serials_fit


def _read(data: bytearray) -> tuple[bytes, FileSerials]:
    digest = hashlib.sha256(data).digest()
    try:
        return digest, serials_of(decode_batch(data).records)
    except BatchRefused:
        # The line about bytes or headers tells it.
        return digest, FileSerials()


def _header_fits(head: bytes, upload: Upload) -> bool:
    facts = upload.header
    try:
        header = decode_header(head)
    except BatchRefused:
        return False
    return facts is not None and (
        header.record_count,
        header.total_fen,
        header.batch_number,
        header.sender.ljust(16, "F"),
    ) == (facts.record_count, facts.total_fen, facts.batch_number, facts.sender_institution)


def _line(invariant: str, statement: str, checked: int, wrong: list[str]) -> ProofLine:
    return ProofLine(invariant, statement, checked, len(wrong), wrong[0] if wrong else "")
