"""Acceptance test 1 as columns, checked against a slow reading of the page, and the helpers of columns."""

import zlib
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.records import bcd, otr
from libs.records.errors import LengthInvalid
from libs.records.otr import FormatFault

GOOD = bytes.fromhex(
    "01010300010101019901FFFFFFFF000099010000000123459901010011139901FFFFFFFF99010000000000119901000000019901"
    "00000000000000010000002A00000600002710000000C8000000C820250102080910A091746200000BB900000001000001010200"
    "00000058000000000C000300000000000000000013E6294C"
)


def sealed(record: bytes) -> bytes:
    return record[:124] + zlib.crc32(record[:124]).to_bytes(4, "big")


def with_bytes(offset: int, replacement: str) -> bytes:
    body = bytearray(GOOD)
    new = bytes.fromhex(replacement)
    body[offset : offset + len(new)] = new
    return sealed(bytes(body))


def fault_of(record: bytes) -> FormatFault:
    return FormatFault(int(otr.check_format(otr.read_records(record))[0]))


def plain_institution(packed: bytes) -> bool:
    digits = packed.hex().rstrip("f")
    return bool(digits) and digits.isdecimal()


def plain_fault(record: bytes) -> FormatFault:
    """The page read aloud, one record at a time: the oracle."""
    digits = record[14:26] + record[36:38] + record[44:60] + record[98:101]
    text = record[79:86].hex()
    try:
        datetime(*(int(text[a:b]) for a, b in ((0, 4), (4, 6), (6, 8), (8, 10), (10, 12), (12, 14))))  # noqa: DTZ001
        real = text.isdecimal()
    except ValueError:
        real = False
    tests = (
        (FormatFault.CRC, zlib.crc32(record[:124]) == int.from_bytes(record[124:], "big")),
        (FormatFault.FORMAT, record[0] == 1),
        (FormatFault.KIND, 1 <= record[1] <= 10),
        (FormatFault.CARD_CLASS, record[2] in (1, 3, 7) or (record[1] == 10 and record[2] == 0)),
        (FormatFault.DIGITS, digits.hex().isdecimal()),
        (FormatFault.INSTITUTION, plain_institution(record[6:14]) and plain_institution(record[28:36])),
        (FormatFault.TIME, real),
        (FormatFault.RESERVED, record[115:124] == bytes(9)),
        (FormatFault.FLAGS, record[110] < 64),
    )
    return next((fault for fault, passed in tests if not passed), FormatFault.NONE)


@pytest.mark.parametrize(
    ("offset", "replacement", "fault"),
    [
        (0, "02", FormatFault.FORMAT),
        (0, "00", FormatFault.FORMAT),
        (1, "00", FormatFault.KIND),
        (1, "0B", FormatFault.KIND),
        (2, "00", FormatFault.CARD_CLASS),
        (2, "02", FormatFault.CARD_CLASS),
        (14, "A0", FormatFault.DIGITS),
        (23, "4F", FormatFault.DIGITS),
        (25, "0A", FormatFault.DIGITS),
        (36, "9F", FormatFault.DIGITS),
        (44, "B9", FormatFault.DIGITS),
        (59, "0C", FormatFault.DIGITS),
        (100, "1D", FormatFault.DIGITS),
        (6, "FFFFFFFFFFFFFFFF", FormatFault.INSTITUTION),
        (6, "0101F901FFFFFFFF", FormatFault.INSTITUTION),
        (6, "011F9901FFFFFFFF", FormatFault.INSTITUTION),
        (28, "1113990AFFFFFFFF", FormatFault.INSTITUTION),
        (28, "11139901FFFFFFF0", FormatFault.INSTITUTION),
        (79, "20250229", FormatFault.TIME),
        (79, "20251301", FormatFault.TIME),
        (79, "20250100", FormatFault.TIME),
        (79, "00000101", FormatFault.TIME),
        (79, "20250102240000", FormatFault.TIME),
        (79, "20250102236000", FormatFault.TIME),
        (79, "20250102235960", FormatFault.TIME),
        (79, "2025010223595A", FormatFault.TIME),
        (79, "19000229", FormatFault.TIME),
        (115, "01", FormatFault.RESERVED),
        (123, "80", FormatFault.RESERVED),
        (110, "40", FormatFault.FLAGS),
        (110, "80", FormatFault.FLAGS),
    ],
)
def test_each_broken_rule_is_told_by_name(offset: int, replacement: str, fault: FormatFault) -> None:
    assert fault_of(with_bytes(offset, replacement)) is fault is plain_fault(with_bytes(offset, replacement))


@pytest.mark.parametrize(
    ("offset", "replacement"),
    [
        (1, "0A00"),  # a meter belongs to no card
        (6, "0113112100000000"),
        (6, "1FFFFFFFFFFFFFFF"),
        (79, "20240229235959"),
        (79, "20000229"),
        (110, "3F"),
        (110, "00"),
    ],
)
def test_what_the_page_allows_passes(offset: int, replacement: str) -> None:
    record = with_bytes(offset, replacement)
    assert fault_of(record) is FormatFault.NONE is plain_fault(record)


def test_a_record_broken_twice_is_told_by_the_first_rule() -> None:
    record = bytearray(with_bytes(79, "20251301"))
    record[110] = 0xFF
    assert fault_of(sealed(bytes(record))) is FormatFault.TIME
    assert fault_of(bytes(record)) is FormatFault.CRC


def test_every_single_flipped_bit_of_a_record_is_a_wrong_checksum() -> None:
    rows = np.frombuffer(GOOD, dtype=np.uint8)[None].repeat(1024, axis=0)
    rows[np.arange(1024), np.arange(1024) // 8] ^= (1 << np.arange(1024) % 8).astype(np.uint8)
    assert set(otr.check_format(otr.read_records(rows.tobytes())).tolist()) == {FormatFault.CRC}


@given(
    st.lists(
        st.tuples(st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255)), max_size=3), st.booleans()),
        min_size=1,
        max_size=20,
    )
)
def test_the_columns_agree_with_the_page_read_aloud(changes: list[tuple[list[tuple[int, int]], bool]]) -> None:
    records = []
    for edits, seal in changes:
        record = bytearray(GOOD)
        for offset, value in edits:
            record[offset] = value
        records.append(sealed(bytes(record)) if seal else bytes(record))
    found = otr.check_format(otr.read_records(b"".join(records))).tolist()
    assert found == [plain_fault(record) for record in records]


@given(st.binary(max_size=1000))
def test_random_bytes_become_records_or_a_named_error(junk: bytes) -> None:
    if len(junk) % 128:
        with pytest.raises(LengthInvalid) as refused:
            otr.read_records(junk)
        assert refused.value.facts == {"length": str(len(junk)), "record_length": "128"}
        return
    records = otr.read_records(junk)
    assert otr.write_records(records) == junk
    assert otr.check_format(records).tolist() == [
        plain_fault(junk[start : start + 128]) for start in range(0, len(junk), 128)
    ]
    # The helpers may give nonsense for nonsense; they must not fail.
    for helper in (otr.times_epoch_s, otr.terminal_numbers, otr.terminal_keys, otr.card_keys, otr.card_texts):
        assert len(helper(records)) == len(records)


def test_reading_copies_nothing() -> None:
    buffer = bytearray(GOOD * 2)
    records = otr.read_records(buffer)
    records["amount_fen"][1] = 777
    assert int.from_bytes(buffer[128 + 71 : 128 + 75], "big") == 777


def test_faults_are_found_beyond_one_block_of_rows() -> None:
    rows = np.frombuffer(GOOD * 10_000, dtype=otr.OTR).copy()
    rows["kind"][[0, 4095, 4096, 9999]] = 0x0B
    otr.seal(rows)
    assert np.flatnonzero(otr.check_format(rows)).tolist() == [0, 4095, 4096, 9999]


def test_a_signed_balance_keeps_its_sign() -> None:
    record = otr.read_records(bytearray(GOOD))
    record["balance_before_fen"] = -800
    assert otr.write_records(record)[67:71] == b"\xff\xff\xfc\xe0"


def test_cards_are_keyed_by_scheme_and_number() -> None:
    records = np.concatenate([otr.read_records(GOOD)] * 4)
    records["card_class"] = [1, 3, 7, 3]
    records["card_number"][3, 9] = 0x46
    keys = otr.card_keys(records)
    assert keys[0] == keys[1]
    assert len(np.unique(keys)) == 3
    assert otr.card_texts(records).astype("U").tolist() == [
        "cj-00009901000000012345",
        "cj-00009901000000012345",
        "jt-00009901000000012345",
        "cj-00009901000000012346",
    ]
    high, low = otr.card_numbers(records)
    assert (high[3], low[3]) == (0, 9901000000012346)


def test_keys_that_differ_only_in_trailing_zeros_stay_different() -> None:
    records = np.concatenate([otr.read_records(GOOD)] * 2)
    records["terminal_seq"] = [0, 256]
    assert len(np.unique(otr.terminal_keys(records))) == 2
    assert otr.terminal_numbers(records).tolist() == [990100000001] * 2


@settings(max_examples=200)
@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))  # noqa: DTZ001
def test_times_survive_the_way_into_columns_and_back(moment: datetime) -> None:
    at = moment.replace(tzinfo=bcd.LOCAL_TIME, microsecond=0)
    column = np.frombuffer(bcd.bcd_time(at), dtype=np.uint8)[None]
    seconds, good = bcd.times_checked(column)
    assert good.all()
    assert seconds[0] == int((at - datetime(1970, 1, 1, tzinfo=bcd.LOCAL_TIME)).total_seconds()) - 8 * 3600
    assert bcd.epoch_s_to_times(seconds).tobytes() == column.tobytes()
    assert bcd.time_of(column.tobytes()) == at


@given(st.lists(st.integers(0, 10**12 - 1), max_size=20))
def test_digits_survive_the_way_into_columns_and_back(values: list[int]) -> None:
    column = bcd.uint_to_bcd(np.array(values, dtype=np.uint64), 6)
    assert bcd.bcd_to_uint(column).tolist() == values
    assert bcd.hex_texts(column).tolist() == [f"{value:012d}".encode() for value in values]
    assert bcd.is_bcd(column).all()


@given(st.binary(min_size=7, max_size=7))
def test_any_seven_bytes_are_a_time_or_not_alike_for_one_and_for_columns(packed: bytes) -> None:
    column = np.frombuffer(packed, dtype=np.uint8)[None]
    try:
        at = bcd.time_of(packed)
    except bcd.TimeInvalid:
        assert not bcd.times_checked(column)[1].any()
    else:
        assert bcd.times_to_epoch_s(column)[0] == at.timestamp()
