"""Batch files for the tests of the gateway."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np

from libs.records.batch import FileType, encode_batch
from libs.records.crc32c import crc32c
from libs.records.numbers import institution_bytes, terminal_bytes
from libs.records.otr import OTR, Records, new_records, seal

SENDER = "11139901"


def a_file(record_count: int = 10, batch_number: int = 1, amount_fen: int = 200) -> bytes:
    """A TX file that the gateway takes; its records are for clearing to judge."""
    records = np.zeros(record_count, dtype=OTR)
    records["amount_fen"] = amount_fen
    # Different bytes everywhere, so that a mixed-up part is noticed.
    records["terminal_seq"] = np.arange(record_count) + batch_number * 1_000_000
    return encode_batch(
        FileType.TX,
        records,
        sender=SENDER,
        receiver="00009901",
        batch_number=batch_number,
        created=datetime(2018, 9, 1, 4, 0, tzinfo=UTC),
        business_date=datetime(2018, 9, 1, tzinfo=UTC).date(),
    )


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def chunks_of(data: bytes, chunk_bytes: int, offset: int = 0) -> Iterator[tuple[int, bytes, int]]:
    """Offset, bytes and CRC-32C of chunk after chunk."""
    for start in range(offset, len(data), chunk_bytes):
        piece = data[start : start + chunk_bytes]
        yield start, piece, crc32c(piece)


def device_records(
    device_seqs: Sequence[int], *, terminal: str = "020100000000", device: int = 0, amount_fen: int = 200
) -> Records:
    """Records that are records: right checksum and form, one a serial."""
    records = new_records(len(device_seqs))
    records["kind"], records["card_class"] = 1, 3
    records["issuer"] = np.frombuffer(institution_bytes("01019901"), np.uint8)
    records["acquirer"] = np.frombuffer(institution_bytes(SENDER), np.uint8)
    records["terminal_number"] = np.frombuffer(terminal_bytes(terminal), np.uint8)
    records["terminal_seq"] = records["device_seq"] = device_seqs
    records["device_number"] = device
    records["amount_fen"] = amount_fen
    records["time"] = np.frombuffer(bytes.fromhex("20180901120000"), np.uint8)
    return seal(records)


def a_file_of(records: Records, batch_number: int = 1) -> bytes:
    """A TX file of these records."""
    return encode_batch(
        FileType.TX,
        records,
        sender=SENDER,
        receiver="00009901",
        batch_number=batch_number,
        created=datetime(2018, 9, 1, 4, 0, tzinfo=UTC),
        business_date=datetime(2018, 9, 1, tzinfo=UTC).date(),
    )


def device_file(
    device_seqs: Sequence[int],
    batch_number: int = 1,
    *,
    terminal: str = "020100000000",
    device: int = 0,
    amount_fen: int = 200,
) -> bytes:
    """A TX file of one device."""
    records = device_records(device_seqs, terminal=terminal, device=device, amount_fen=amount_fen)
    return a_file_of(records, batch_number)
