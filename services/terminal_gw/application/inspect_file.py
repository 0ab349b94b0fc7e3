"""Looking at a whole file before it is taken: its digest, then its structure (record-formats.md, sections 2 and 3)."""

import hashlib

from libs.records.batch import BatchRefused, FileType, decode_batch
from libs.records.numbers import institution_bytes
from services.terminal_gw.domain.errors import UploadDigest, UploadMalformed
from services.terminal_gw.domain.serials import FileSerials, serials_of
from services.terminal_gw.domain.upload import HeaderFacts


def inspect_file(data: bytes | bytearray, sha256: bytes) -> tuple[HeaderFacts, FileSerials]:
    """Let pass a TX file of this digest and tell what its header says and which serials it holds.

    The records themselves are not judged: a bad one gets its verdict from clearing.

    Args:
        data: The whole file.
        sha256: Announced digest, 32 bytes.

    Raises:
        UploadDigest: The bytes are others.
        UploadMalformed: Header, trailer, counts, total or digest inside the file are wrong, or it is no TX file.
    """
    if hashlib.sha256(data).digest() != sha256:
        raise UploadDigest
    try:
        batch = decode_batch(data, FileType.TX)
    except BatchRefused as refused:
        raise UploadMalformed(file_code=f"{refused.file_code:02d}", detail=_detail(refused)) from refused
    header, serials = batch.header, serials_of(batch.records)
    facts = HeaderFacts(
        sender_institution=institution_bytes(header.sender).hex().upper(),
        batch_number=header.batch_number,
        record_count=header.record_count,
        total_fen=header.total_fen,
        terminal_count=serials.terminal_count,
        device_seq_first=serials.device_seq_first,
        device_seq_last=serials.device_seq_last,
    )
    return facts, serials


def _detail(refused: BatchRefused) -> str:
    facts = [f"{name} {refused.facts[name]}" for name in ("offset", "expected", "found") if name in refused.facts]
    return " ".join([refused.fault, ", ".join(facts)]).strip()
