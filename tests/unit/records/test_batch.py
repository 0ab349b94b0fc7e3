"""Batch files: what is damaged, cut, or wrong is refused with its file code; the rest comes back as it was."""

import hashlib
import io
import mmap
import pickle
import zlib
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.records import otr
from libs.records.batch import (
    BatchRefused,
    BatchWriter,
    FileCode,
    FileType,
    Header,
    VersionExtension,
    decode_batch,
    decode_header,
    encode_batch,
)
from libs.records.bcd import LOCAL_TIME
from libs.records.errors import RecordMalformed
from libs.records.fare_record import FARE
from libs.records.header import BatchNotWritable
from libs.records.parameter import Parameter, encode_parameters
from libs.records.result import extension_for, make_results

CREATED = datetime(2025, 1, 2, 23, 30, tzinfo=LOCAL_TIME)
DAY = date(2025, 1, 2)
FIELDS: dict[str, Any] = {
    "sender": "11139901",
    "receiver": "00009901",
    "batch_number": 7,
    "created": CREATED,
    "business_date": DAY,
}


def some_records(count: int = 3, amount_fen: int = 200) -> np.ndarray:
    records = otr.new_records(count)
    records["kind"] = 1
    records["terminal_seq"] = np.arange(count)
    records["amount_fen"] = amount_fen
    return otr.seal(records)


def a_file(count: int = 3) -> bytearray:
    return bytearray(encode_batch(FileType.TX, some_records(count), **FIELDS))


def results(codes: list[int], settled_fen: list[int]) -> np.ndarray:
    return make_results(
        np.arange(len(codes)), np.zeros((len(codes), 6), np.uint8), np.arange(len(codes)), codes, settled_fen, DAY, 0
    )


def reseal_header(file: bytearray) -> bytearray:
    file[124:128] = zlib.crc32(file[:124]).to_bytes(4, "big")
    return file


def reseal_trailer(file: bytearray, *, digest: bool = True) -> bytearray:
    if digest:
        file[-112:-80] = hashlib.sha256(file[:-128]).digest()
    file[-4:] = zlib.crc32(file[-128:-4]).to_bytes(4, "big")
    return file


def refusal(file: bytes | bytearray, **options: Any) -> BatchRefused:
    with pytest.raises(BatchRefused) as refused:
        decode_batch(file, **options)
    return refused.value


def test_every_single_flipped_bit_is_refused() -> None:
    good = bytes(a_file(2))
    for position in range(len(good) * 8):
        damaged = bytearray(good)
        damaged[position // 8] ^= 1 << position % 8
        refused = refusal(damaged)
        in_records = 128 <= position // 8 < len(good) - 128
        assert refused.file_code is (FileCode.DIGEST_MISMATCH if in_records else FileCode.MALFORMED)


def test_a_file_cut_at_any_length_is_refused() -> None:
    good = bytes(a_file(2))
    for length in range(len(good)):
        refused = refusal(good[:length])
        assert refused.file_code is FileCode.MALFORMED
        assert refused.facts["found"] == str(length)


def test_a_file_with_anything_behind_it_is_refused() -> None:
    assert refusal(a_file() + b"\0").fault == "LENGTH"
    assert refusal(a_file() + bytes(128)).fault == "LENGTH"


@given(st.binary(max_size=600))
def test_random_bytes_are_refused_by_name(junk: bytes) -> None:
    assert refusal(junk).file_code is FileCode.MALFORMED


@given(st.integers(0, 639), st.binary(min_size=1, max_size=8))
def test_a_file_that_was_written_over_is_refused_or_the_same(offset: int, junk: bytes) -> None:
    good = bytes(a_file(3))
    changed = (good[:offset] + junk + good[offset + len(junk) :])[: len(good)]
    if changed == good:
        assert decode_batch(changed).records.tobytes() == good[128:-128]
    else:
        refusal(changed)


@pytest.mark.parametrize(
    ("offset", "replacement", "fault"),
    [
        (0, "594B5458", "HEADER_MAGIC"),
        (4, "5858", "HEADER_TYPE"),
        (6, "02", "HEADER_VERSION"),
        (7, "02", "HEADER_ENCODING"),
        (8, "FFFFFFFFFFFFFFFF", "HEADER_SENDER"),
        (16, "A1", "HEADER_RECEIVER"),
        (24, "00000000", "HEADER_BATCH_NUMBER"),
        (24, "000F4240", "HEADER_BATCH_NUMBER"),
        (28, "20251301", "HEADER_CREATED"),
        (35, "20250230", "HEADER_BUSINESS_DATE"),
        (39, "0040", "HEADER_RECORD_LENGTH"),
        (53, "01", "HEADER_RESERVED"),
        (57, "01", "HEADER_COMPRESSION"),
        (123, "01", "HEADER_EXTENSION_RESERVED"),
    ],
)
def test_a_sealed_header_with_a_wrong_field_is_refused_at_its_offset(offset: int, replacement: str, fault: str) -> None:
    file = a_file()
    new = bytes.fromhex(replacement)
    file[offset : offset + len(new)] = new
    refused = refusal(reseal_trailer(reseal_header(file)))
    assert (refused.file_code, refused.fault) == (FileCode.MALFORMED, fault)
    assert 0 <= offset - int(refused.facts["offset"]) <= 66


def test_another_count_in_the_header_is_a_count_mismatch() -> None:
    file = a_file()
    file[41:45] = (2).to_bytes(4, "big")
    refused = refusal(reseal_trailer(reseal_header(file)))
    assert (refused.file_code, refused.facts["expected"], refused.facts["found"]) == (
        FileCode.COUNT_MISMATCH,
        "3",
        "2",
    )


def test_another_count_in_the_trailer_is_a_count_mismatch() -> None:
    file = a_file()
    file[-124:-120] = (4).to_bytes(4, "big")
    assert refusal(reseal_trailer(file)).file_code is FileCode.COUNT_MISMATCH


def test_another_total_in_the_trailer_is_a_sum_mismatch() -> None:
    file = a_file()
    file[-120:-112] = (601).to_bytes(8, "big")
    assert refusal(reseal_trailer(file)).file_code is FileCode.SUM_MISMATCH


def test_a_total_that_the_records_do_not_add_up_to_is_a_sum_mismatch() -> None:
    file = a_file()
    file[45:53] = file[-120:-112] = (601).to_bytes(8, "big")
    refused = refusal(reseal_trailer(reseal_header(file)))
    assert (refused.file_code, refused.fault, refused.facts["expected"]) == (FileCode.SUM_MISMATCH, "TOTAL", "600")


def test_a_record_changed_under_a_fresh_trailer_checksum_is_a_digest_mismatch() -> None:
    file = a_file()
    file[200] ^= 1
    assert refusal(reseal_trailer(file, digest=False)).file_code is FileCode.DIGEST_MISMATCH


def test_another_batch_number_or_padding_in_the_trailer_is_malformed() -> None:
    file = a_file()
    file[-80:-76] = (8).to_bytes(4, "big")
    assert refusal(reseal_trailer(file)).fault == "TRAILER_BATCH_NUMBER"
    file = a_file()
    file[-5] = 1
    assert refusal(reseal_trailer(file)).fault == "TRAILER_RESERVED"


def test_a_file_of_another_type_than_expected_is_refused() -> None:
    assert refusal(a_file(), expect=FileType.RS).fault == "HEADER_TYPE"


def test_a_bad_transaction_record_does_not_refuse_its_file() -> None:
    records = some_records()
    records["crc"][1] += 1
    batch = decode_batch(encode_batch(FileType.TX, records, **FIELDS))
    assert np.flatnonzero(otr.check_format(batch.records) == otr.FormatFault.CRC).tolist() == [1]


def test_a_bad_record_of_another_type_refuses_its_file_with_its_place() -> None:
    rows = encode_parameters([Parameter(name, 1, CREATED) for name in ("A", "B")])
    file = bytearray(encode_batch(FileType.PM, rows, **FIELDS, extension=VersionExtension(4)))
    file[128 + 32 + 31] = 1
    refused = refusal(reseal_trailer(file))
    assert (refused.file_code, refused.fault) == (FileCode.MALFORMED, "RECORD")
    assert (refused.facts["record_fault"], refused.facts["offset"]) == ("RESERVED", str(128 + 32 + 31))


def test_result_counts_that_the_records_do_not_give_refuse_the_file() -> None:
    rows = results([0, 1, 50, 12], [200, 0, 0, 0])
    extension = extension_for(rows, FileCode.PROCESSED, 7, "11139901")
    assert (extension.accepted, extension.rejected, extension.pending) == (1, 2, 1)
    file = bytearray(encode_batch(FileType.RS, rows, **FIELDS, extension=extension))
    file[75] = 2
    refused = refusal(reseal_trailer(reseal_header(file)))
    assert (refused.facts["record_fault"], refused.facts["offset"]) == ("COUNTS", "58")


def test_a_result_code_that_nobody_knows_refuses_the_file_even_beyond_the_table() -> None:
    for code in (3, 99, 100, 65535):
        rows = results([0], [0])
        file = bytearray(
            encode_batch(FileType.RS, rows, **FIELDS, extension=extension_for(rows, FileCode.PROCESSED, 7, "11139901"))
        )
        file[128 + 14 : 128 + 16] = code.to_bytes(2, "big")
        file[128 + 28 : 128 + 32] = zlib.crc32(file[128 : 128 + 28]).to_bytes(4, "big")
        assert refusal(reseal_trailer(file)).facts["record_fault"] == "RESULT_CODE"


def test_the_answer_to_a_refused_file_holds_no_records() -> None:
    none = results([], [])
    extension = extension_for(none, FileCode.DIGEST_MISMATCH, 7, "11139901")
    batch = decode_batch(encode_batch(FileType.RS, none, **FIELDS, extension=extension))
    assert (batch.header.extension, len(batch.records)) == (extension, 0)


def test_a_file_without_records_is_a_file() -> None:
    batch = decode_batch(encode_batch(FileType.TX, otr.new_records(0), **FIELDS))
    assert (len(batch.records), batch.header.total_fen) == (0, 0)


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 2**32 - 1), max_size=8),
    st.integers(1, 999_999),
    st.from_regex(r"[0-9]{1,16}", fullmatch=True),
    st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2090, 1, 1)),  # noqa: DTZ001
)
def test_a_file_comes_back_as_it_was_made(
    amounts: list[int], batch_number: int, sender: str, created: datetime
) -> None:
    at = created.replace(microsecond=0, tzinfo=LOCAL_TIME)
    records = some_records(len(amounts))
    records["amount_fen"] = amounts
    otr.seal(records)
    made = encode_batch(
        FileType.TX,
        records,
        sender=sender,
        receiver="00009901",
        batch_number=batch_number,
        created=at,
        business_date=at.date(),
    )
    batch = decode_batch(made)
    assert batch.header == Header(
        FileType.TX, sender, "00009901", batch_number, at, at.date(), len(amounts), sum(amounts)
    )
    assert batch.records.tobytes() == records.tobytes()
    assert batch.sha256 == hashlib.sha256(made).hexdigest()


def test_the_writer_makes_the_same_file_from_pieces(tmp_path: Path) -> None:
    records = some_records(1000)
    whole = encode_batch(FileType.TX, records, **FIELDS)
    with (tmp_path / "batch.ykt").open("w+b") as target:
        writer = BatchWriter(target, Header(FileType.TX, **FIELDS))
        for start in range(0, 1000, 300):
            writer.write(records[start : start + 300])
        sha256 = writer.finish()
    assert (tmp_path / "batch.ykt").read_bytes() == whole
    assert sha256 == hashlib.sha256(whole).hexdigest()
    assert writer.header.record_count == 1000


def test_the_writer_takes_counts_that_are_known_only_at_the_end() -> None:
    rows = results([0, 50], [200, 0])
    extension = extension_for(rows, FileCode.PROCESSED, 7, "11139901")
    target = io.BytesIO()
    writer = BatchWriter(
        target, Header(FileType.RS, **FIELDS, extension=extension_for(rows[:0], FileCode.PROCESSED, 7, "1"))
    )
    writer.write(rows).finish(extension)
    assert target.getvalue() == encode_batch(FileType.RS, rows, **FIELDS, extension=extension)


def test_a_file_is_decoded_out_of_a_memory_map(tmp_path: Path) -> None:
    path = tmp_path / "batch.ykt"
    path.write_bytes(a_file(5))
    with path.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        batch = decode_batch(memoryview(mapped))
        assert int(batch.records["amount_fen"].sum()) == batch.header.total_fen == 1000
        del batch


def test_the_header_alone_tells_whom_to_answer() -> None:
    file = a_file()
    assert decode_header(file[:200]).sender == "11139901"


@pytest.mark.parametrize(
    ("field", "value"),
    [("batch_number", 0), ("batch_number", 1_000_000), ("record_count", 2**32), ("total_fen", 2**64)],
)
def test_a_header_that_cannot_be_written_says_which_field(field: str, value: int) -> None:
    with pytest.raises(BatchNotWritable) as refused:
        Header(FileType.TX, **(FIELDS | {field: value})).pack()
    assert refused.value.facts["field"] == field


def test_a_refusal_keeps_its_facts_through_a_process_pool() -> None:
    refused = refusal(a_file()[:130])
    again = pickle.loads(pickle.dumps(refused))
    assert (again.file_code, again.fault, again.facts) == (refused.file_code, refused.fault, refused.facts)


def test_fares_of_a_file_must_have_days_in_order() -> None:
    row = np.zeros(1, dtype=FARE)
    row["first_day"] = np.frombuffer(bytes.fromhex("20250102"), np.uint8)
    row["last_day"] = np.frombuffer(bytes.fromhex("20250101"), np.uint8)
    row["crc"] = zlib.crc32(row.tobytes()[:28])
    with pytest.raises(RecordMalformed, match="DATE_ORDER"):
        encode_batch(FileType.FT, row, **FIELDS, extension=VersionExtension(1))
