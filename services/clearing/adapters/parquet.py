"""Uploads in Parquet: one row per record, one row group per upload, header and trailer beside them.

Anybody's Parquet reader sees the records with their verdicts; an upload is put together again byte for byte, so that a
proof or a replay reads the archive as it reads the gateway. Needs the extra `archive` (pyarrow).
"""

import json
import os
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from libs.errors import DependencyUnavailable
from libs.records import otr
from libs.records.batch import FileType, decode_batch
from libs.records.header import HEADER_LENGTH, TRAILER_LENGTH
from services.clearing.application.ports import StoredFile, Upload

if TYPE_CHECKING:
    import pyarrow as pa

_FORMAT = "citycard-uploads-1"
_FORMAT_KEY, _FILES_KEY = b"citycard.format", b"citycard.files"
_OPEN_ARCHIVES = 8


class ParquetArchives:
    """Archives in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = lru_cache(maxsize=_OPEN_ARCHIVES)(_Archive)

    def names(self) -> list[str]:
        """Every archive of the folder, the oldest files first."""
        return sorted(path.name for path in self._folder.glob("uploads-*.parquet"))

    def write(self, name: str, files: Iterable[tuple[StoredFile, Upload, bytes]]) -> int:
        """Write one archive, whole or not at all, replacing one of this name; its size in bytes."""
        import pyarrow.parquet as pq

        files = list(files)
        schema = _schema([_facts(file, upload, content) for file, upload, content in files])
        target = self._folder / name
        partial = target.with_suffix(".partial")
        self._folder.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            # Card numbers and TACs do not compress as dictionaries; what is the same in every row does anyway.
            with pq.ParquetWriter(stream, schema, compression="zstd", use_dictionary=False) as writer:
                for place, (file, _, content) in enumerate(files):
                    table = _table(schema, place, file, content)
                    writer.write_table(table, row_group_size=max(table.num_rows, 1))
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            # The name must survive a power cut as well as the bytes.
            os.fsync(folder)
        finally:
            os.close(folder)
        self._open.cache_clear()
        return target.stat().st_size

    def read(self, name: str, participant: str, sha256: bytes) -> bytes:
        """One upload of an archive, byte for byte.

        Raises:
            KeyError: It is not in there.
            ValueError: The file is no archive of this format.
        """
        return self._open(self._folder / name).upload(participant, sha256)

    def uploads(self, name: str) -> list[Upload]:
        """What an archive holds, in its order."""
        return self._open(self._folder / name).uploads()


class ArchiveGateway:
    """Stored uploads out of archives: a `Gateway` for proofs and replays when the gateway's own are gone.

    Args:
        archives: Where they lie.
    """

    def __init__(self, archives: ParquetArchives) -> None:
        self._archives = archives
        self._where: dict[tuple[str, bytes], str] = {}
        self._uploads: dict[int, Upload] = {}
        for name in archives.names():
            for upload in archives.uploads(name):
                self._where[upload.participant, upload.sha256] = name
                self._uploads[upload.sequence] = upload

    async def read(self, participant: str, sha256: bytes) -> bytes:
        """The whole file.

        Raises:
            DependencyUnavailable: No archive holds it.
        """
        name = self._where.get((participant, sha256))
        if name is None:
            raise DependencyUnavailable(dependency="archive", status="NOT_FOUND")
        return self._archives.read(name, participant, sha256)

    async def uploads_from(self, sequence: int) -> AsyncIterator[Upload]:
        """Archived uploads from a position of the gateway's journal on, in its order."""
        for one in sorted(self._uploads):
            if one >= sequence:
                yield self._uploads[one]


class _Archive:
    """One archive, opened."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(path)
        metadata = self._file.schema_arrow.metadata or {}
        if metadata.get(_FORMAT_KEY) != _FORMAT.encode():
            raise ValueError(f"{path.name} is no archive of uploads ({_FORMAT})")
        self._facts: list[dict[str, Any]] = json.loads(metadata[_FILES_KEY])
        self._places = {(one["participant"], bytes.fromhex(one["sha256"])): place
                        for place, one in enumerate(self._facts)}  # fmt: skip

    def upload(self, participant: str, sha256: bytes) -> bytes:
        place = self._places[participant, sha256]
        facts = self._facts[place]
        records = b""
        if facts["record_count"]:
            column = self._file.read_row_group(facts["row_group"], columns=["otr"]).column("otr").combine_chunks()
            chunk = column.chunk(0) if hasattr(column, "chunk") else column
            start = chunk.offset * otr.OTR_LENGTH
            records = chunk.buffers()[1].to_pybytes()[start : start + len(chunk) * otr.OTR_LENGTH]
        return bytes.fromhex(facts["header"]) + records + bytes.fromhex(facts["trailer"])

    def uploads(self) -> list[Upload]:
        return [
            Upload(
                one["participant"], bytes.fromhex(one["sha256"]), one["sequence"], one["size_bytes"],
                datetime.fromisoformat(one["stored_at"]), one["sender_institution"], one["batch_number"],
                one["record_count"], one["total_fen"],
            )
            for one in self._facts
        ]  # fmt: skip


def _facts(file: StoredFile, upload: Upload, content: bytes) -> dict[str, Any]:
    return {
        "participant": upload.participant, "sha256": upload.sha256.hex(), "sequence": upload.sequence,
        "size_bytes": len(content), "stored_at": upload.stored_at.isoformat(),
        "sender_institution": upload.sender_institution, "batch_number": upload.batch_number,
        "record_count": upload.record_count, "total_fen": upload.total_fen,
        "business_date": file.business_date.isoformat() if file.business_date else None,
        "settlement_dates": {str(number): day.isoformat() for number, day in sorted(file.settlement_dates.items())},
        "reference_first": file.reference_first, "header": content[:HEADER_LENGTH].hex(),
        "trailer": content[-TRAILER_LENGTH:].hex(),
    }  # fmt: skip


def _schema(facts: list[dict[str, Any]]) -> "pa.Schema":
    import pyarrow as pa

    # An empty upload has no rows and no row group: what follows moves up.
    group = 0
    for one in facts:
        one["row_group"] = group
        group += bool(one["record_count"])
    return pa.schema(
        [
            pa.field("file", pa.int32(), nullable=False), pa.field("file_index", pa.int32(), nullable=False),
            pa.field("code", pa.uint8(), nullable=False), pa.field("terminal_number", pa.int64(), nullable=False),
            pa.field("terminal_seq", pa.int64(), nullable=False), pa.field("card_counter", pa.int32(), nullable=False),
            pa.field("kind", pa.uint8(), nullable=False), pa.field("industry", pa.int32(), nullable=False),
            pa.field("operator", pa.int64(), nullable=False), pa.field("amount_fen", pa.int64(), nullable=False),
            pa.field("list_price_fen", pa.int64(), nullable=False),
            pa.field("balance_before_fen", pa.int64(), nullable=False),
            pa.field("transaction_s", pa.int64(), nullable=False),
            pa.field("otr", pa.binary(otr.OTR_LENGTH), nullable=False),
        ],
        metadata={_FORMAT_KEY: _FORMAT.encode(), _FILES_KEY: json.dumps(facts, sort_keys=True).encode()},
    )  # fmt: skip


def _table(schema: "pa.Schema", place: int, file: StoredFile, content: bytes) -> "pa.Table":
    import pyarrow as pa

    records = decode_batch(content, FileType.TX).records
    count = len(records)
    columns: dict[str, Any] = {
        "file": np.full(count, place, np.int32),
        "file_index": np.arange(count, dtype=np.int32),
        "code": np.frombuffer(file.codes, np.uint8),
        "terminal_number": otr.terminal_numbers(records).astype(np.int64),
        "transaction_s": otr.times_epoch_s(records),
    }
    for name in ("terminal_seq", "card_counter", "kind", "industry", "operator", "amount_fen", "list_price_fen",
                 "balance_before_fen"):  # fmt: skip
        columns[name] = records[name].astype(schema.field(name).type.to_pandas_dtype())
    arrays = [pa.array(columns[field.name], field.type) for field in schema if field.name != "otr"]
    raw = pa.py_buffer(np.ascontiguousarray(records).tobytes())
    arrays.append(pa.Array.from_buffers(pa.binary(otr.OTR_LENGTH), count, [None, raw]))
    return pa.Table.from_arrays(arrays, schema=schema)
