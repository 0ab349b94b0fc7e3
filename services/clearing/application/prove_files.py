"""What a proof finds in some stored uploads: columns against columns, in a thread, nothing awaited."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from libs.keystore.port import KeyStore
from libs.records import otr
from libs.records.batch import BatchRefused, FileType, decode_batch
from libs.records.codes import Kind, ResultCode
from services.clearing.application.ports import StoredFile
from services.clearing.application.prepare import digest_rows, verify
from services.clearing.domain.judgement import (
    ORDER_DEPENDENT_CODES,
    TAKING_CODES,
    Judgement,
    needs_tac,
    rows_of,
)
from services.clearing.domain.late import rest_column
from services.clearing.domain.positions import Position, positions_of

COUNTS, KEPT, TAC, CONFLICTS = "counts", "kept", "tac", "conflicts"
_SLICE = 100_000
_PROBLEMS_MAX = 20


@dataclass(frozen=True, slots=True)
class Settled:
    """Records that took their keys, as a statement's digest wants them; columns of equal length.

    Attributes:
        participant: Surrogate.
        day: Settlement day, days since 1970.
        terminal_number: Terminal.
        terminal_seq: Its sequence.
        code: Settled code: warnings that depend on the order of arrival are 00.
        digest: `V16`.
    """

    participant: npt.NDArray[np.int64]
    day: npt.NDArray[np.int64]
    terminal_number: npt.NDArray[np.int64]
    terminal_seq: npt.NDArray[np.int64]
    code: npt.NDArray[np.int64]
    digest: npt.NDArray[np.void]


@dataclass(slots=True)
class Found:
    """What some uploads say.

    Attributes:
        checked: Things looked at, by line.
        broken: How many of them do not hold, by line.
        problems: The first of those, by line.
        positions: Sums of the records that took their keys.
        settled: These records.
        record_count: How many they are.
        conflicts: Digests of records that were refused because another had their key.
        conflict_contents: The 128 bytes of each.
    """

    checked: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)
    positions: list[Position] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    record_count: int = 0
    conflicts: list[npt.NDArray[np.void]] = field(default_factory=list)
    conflict_contents: list[npt.NDArray[np.void]] = field(default_factory=list)

    def look(self, line: str, count: int, broken: int = 0, what: Sequence[str] = ()) -> None:
        """Count things looked at, and those that do not hold."""
        self.checked[line] = self.checked.get(line, 0) + count
        self.broken[line] = self.broken.get(line, 0) + broken
        known = self.problems.setdefault(line, [])
        known += what[: _PROBLEMS_MAX - len(known)]


def look_through(
    files: Sequence[StoredFile],
    contents: Sequence[bytes],
    rows: npt.NDArray[np.void],
    rests: Mapping[int, Mapping[int, int]],
    keys: KeyStore | None,
) -> Found:
    """Compare stored records with the bytes of the uploads that brought them.

    Args:
        files: In the order of their surrogates.
        contents: The bytes of each.
        rows: Stored records of these files, in any order (`Proofs.records_of`).
        rests: What of their late records is not paid, in fen, by file and index in it.
        keys: Verifies TACs; None leaves them unchecked.
    """
    found = Found()
    rows = rows[np.lexsort((rows["file_index"], rows["file_id"]))]
    begins = np.searchsorted(rows["file_id"], [file.id for file in files])
    ends = np.searchsorted(rows["file_id"], [file.id for file in files], side="right")
    for file, content, begin, end in zip(files, contents, begins.tolist(), ends.tolist(), strict=True):
        _look_at_file(found, file, content, rows[begin:end], rests.get(file.id, {}), keys)
    return found


def _look_at_file(
    found: Found, file: StoredFile, content: bytes, rows: npt.NDArray[np.void], rests: Mapping[int, int],
    keys: KeyStore | None,
) -> None:  # fmt: skip
    found.record_count += len(rows)
    try:
        batch = decode_batch(content, FileType.TX)
    except BatchRefused as refused:
        found.look(COUNTS, 1, 1, [f"{file.name}: the upload is no batch file any more ({refused.fault})"])
        return
    records = batch.records
    whole = bytes.fromhex(batch.sha256) == file.sha256
    complete = whole and len(file.codes) == file.judged_count <= len(records) == file.record_count
    found.look(COUNTS, len(records), 0 if complete else 1,
               [] if complete else [f"{file.name}: {len(file.codes)} verdicts on {len(records)} records"])  # fmt: skip
    indexes = rows["file_index"].astype(np.int64)
    if len(indexes) and indexes.max() >= len(records):
        found.look(KEPT, len(rows), 1, [f"{file.name}: record {indexes.max()} is not in the upload"])
        return
    rest_fen = rest_column(indexes, rests)
    codes = np.frombuffer(file.codes, np.uint8)[: len(records)]
    for start in range(0, len(records), _SLICE):
        # Of a very long file only a slice at a time is taken apart.
        low, high = np.searchsorted(indexes, [start, start + _SLICE])
        part = records[start : start + _SLICE]
        _look_at_slice(
            found, file.name, start, part, codes[start : start + _SLICE], rows[low:high], rest_fen[low:high], keys
        )


def _look_at_slice(
    found: Found, name: str, start: int, records: otr.Records, codes: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.void], rest_fen: npt.NDArray[np.int64], keys: KeyStore | None,
) -> None:  # fmt: skip
    digests = digest_rows(records)
    indexes = rows["file_index"].astype(np.int64) - start
    stored = rows_of(records, indexes)
    columns: Mapping[str, npt.NDArray[Any]] = {
        "digest": digests[indexes],
        "terminal_number": otr.terminal_numbers(stored).astype(np.int64),
        "terminal_seq": stored["terminal_seq"],
        "card_counter": stored["card_counter"],
        "amount_fen": stored["amount_fen"],
        "list_price_fen": stored["list_price_fen"],
    }
    same = np.ones(len(rows), np.bool_)
    for column, values in columns.items():
        same &= rows[column] == values
    wrong = [f"{name}: record {start + index} differs from its upload" for index in indexes[~same].tolist()]
    found.look(KEPT, len(rows), len(wrong), wrong)
    # The other way round: no first verdict that takes keys without its stored record.
    should = np.flatnonzero(np.isin(codes, TAKING_CODES) & needs_tac(records[: len(codes)]))
    missing = np.setdiff1d(should, indexes).tolist()
    found.look(KEPT, 0, len(missing), [f"{name}: record {start + index} took its keys but is not stored"
                                       for index in missing])  # fmt: skip
    if keys is not None:
        # A grey record has no TAC of its own: the card's next record vouched for it.
        wanted = needs_tac(stored) & (stored["kind"] != Kind.GREY)
        _, right = verify(keys, stored, wanted)
        bad = [f"{name}: record {start + index} has a wrong TAC" for index in indexes[wanted & ~right].tolist()]
        found.look(TAC, int(wanted.sum()), len(bad), bad)
    refused = np.flatnonzero(codes == ResultCode.CONFLICT)
    if len(refused):
        found.conflicts.append(digests[refused])
        found.conflict_contents.append(otr.raw(records)[refused].view(f"V{otr.OTR_LENGTH}")[:, 0])
    participant, day = rows["participant"].astype(np.int64), rows["settlement_day"].astype(np.int64)
    verdict = rows["code"].astype(np.uint8)
    everything = np.ones(len(rows), np.bool_)
    found.positions += positions_of(stored, Judgement(verdict, everything, ~everything), participant, day, rest_fen)
    settled_code = np.where(np.isin(verdict, ORDER_DEPENDENT_CODES), 0, verdict).astype(np.int64)
    found.settled.append(
        Settled(
            participant, day, columns["terminal_number"], columns["terminal_seq"].astype(np.int64), settled_code,
            columns["digest"],
        )
    )  # fmt: skip
