"""RS, BL, BI, PM, ST and DS records: strict both ways."""

import contextlib
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.records.batch import ListExtension
from libs.records.bcd import LOCAL_TIME
from libs.records.blacklist_file import LIST_ENTRY, check_entries, listed_card, make_entries
from libs.records.dispute import (
    DISPUTE,
    Dispute,
    DisputeReason,
    DisputeRequest,
    decode_disputes,
    encode_disputes,
)
from libs.records.errors import FileCode, NumberInvalid, RecordMalformed
from libs.records.fare_record import FARE, check_fares
from libs.records.parameter import PARAMETER, Parameter, decode_parameters, encode_parameters
from libs.records.result import RESULT, check_results, extension_for, make_results
from libs.records.rows import exact_sum
from libs.records.statement import STATEMENT_LINE, StatementLine, decode_statement, encode_statement

DAY = date(2025, 1, 3)
AT = datetime(2025, 1, 3, 4, 5, 6, tzinfo=LOCAL_TIME)
LINE = StatementLine(DAY, "01019901", "11139901", 17, 1, 0, 0, 3, 600, 10, 3, -700, DAY, 1)
DISPUTE_CASE = Dispute(
    index=0,
    terminal_number="990100000001",
    terminal_seq=42,
    card_number=bytes.fromhex("00009901000000012345"),
    claimed_fen=200,
    reason=DisputeReason.GREY_CLAIM,
    request=DisputeRequest.GIVE_BACK_TO_CARD,
    time=AT,
    settlement_date=DAY,
    dispute_number=2**63,
)


def entries(*numbers: str) -> np.ndarray:
    packed = np.array([list(bytes.fromhex(number)) for number in numbers], dtype=np.uint8)
    return make_entries(packed, 1, 1, np.frombuffer(bytes.fromhex("20250105000000"), np.uint8), 1)


def refusal_of(check: Callable[[], object]) -> dict[str, str]:
    with pytest.raises(RecordMalformed) as refused:
        check()
    return refused.value.facts


def test_list_entries_are_sorted_and_numbered() -> None:
    rows = entries("03109901000000012340", "00009901000000012345")
    assert rows["sequence"].tolist() == [1, 2]
    assert [listed_card(row["card_number"].tobytes()) for row in rows] == [
        "cj-00009901000000012345",
        "jt-03109901000000012340",
    ]
    check_entries(rows, ListExtension(1, 0), full=True)


def test_a_card_listed_twice_is_refused() -> None:
    rows = entries("00009901000000012345", "00009901000000012345")
    assert refusal_of(lambda: check_entries(rows, ListExtension(1, 0), full=True))["fault"] == "ORDER"


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("action", 0, "ACTION"),
        ("action", 3, "ACTION"),
        ("reason", 0, "REASON"),
        ("reason", 9, "REASON"),
        ("mode", 0, "MODE"),
        ("mode", 3, "MODE"),
        ("sequence", 2, "SEQUENCE"),
        ("effective", 0x99, "TIME"),
        ("card_number", 0xA0, "DIGITS"),
    ],
)
def test_a_wrong_field_of_a_list_entry_is_named(field: str, value: int, fault: str) -> None:
    rows = entries("00009901000000012345")
    rows[field] = value
    facts = refusal_of(lambda: check_entries(rows, ListExtension(2, 1), full=False))
    assert (facts["fault"], facts["field"], facts["index"]) == (fault, field, "0")


def test_a_full_list_deletes_nothing_and_an_increment_may() -> None:
    rows = entries("00009901000000012345")
    rows["action"] = 2
    check_entries(rows, ListExtension(2, 1), full=False)
    assert refusal_of(lambda: check_entries(rows, ListExtension(2, 0), full=True))["fault"] == "ACTION"


@pytest.mark.parametrize(("version", "base", "full"), [(2, 1, True), (2, 2, False), (2, 3, False)])
def test_list_versions_must_go_forward(version: int, base: int, full: bool) -> None:
    rows = entries("00009901000000012345")
    assert refusal_of(lambda: check_entries(rows, ListExtension(version, base), full=full))["fault"] == "VERSION"


@pytest.mark.parametrize("number", ["10009901000000012345", "03009901000000012345", "0000990100000001234A"])
def test_a_listed_number_of_neither_scheme_is_refused(number: str) -> None:
    with pytest.raises(NumberInvalid):
        listed_card(bytes.fromhex(number))


@pytest.mark.parametrize("name", ["", "SEVENTEEN_LETTERS", "WITH BLANK", "限额", "NUL\0INSIDE"])
def test_a_parameter_name_that_cannot_be_written_is_refused(name: str) -> None:
    assert refusal_of(lambda: encode_parameters([Parameter(name, 1, AT)]))["fault"] == "NAME"


def test_a_parameter_value_beyond_eight_bytes_is_refused() -> None:
    for value in (-1, 2**64):
        assert refusal_of(lambda: encode_parameters([Parameter("A", value, AT)]))["fault"] == "RANGE"  # noqa: B023


@given(st.from_regex(r"[!-~]{1,16}", fullmatch=True), st.integers(0, 2**64 - 1))
def test_parameters_come_back(name: str, value: int) -> None:
    parameter = Parameter(name, value, AT)
    assert decode_parameters(encode_parameters([parameter])) == [parameter]


amounts = st.integers(-(2**59), 2**59)


@given(st.integers(0, 2**59), amounts, amounts, amounts)
def test_statement_lines_come_back(gross: int, subsidy: int, fee: int, adjustment: int) -> None:
    line = replace(LINE, gross_fen=gross, subsidy_fen=subsidy, fee_fen=fee, adjustment_fen=adjustment)
    assert decode_statement(encode_statement([line, LINE])) == [line, LINE]
    assert line.net_fen == gross + subsidy - fee + adjustment


@pytest.mark.parametrize(
    ("field", "value"),
    [("gross_fen", 2**60), ("gross_fen", -1), ("fee_fen", -(2**60)), ("count", 2**32), ("kind", 11), ("industry", -1)],
)
def test_a_statement_amount_out_of_range_is_refused(field: str, value: int) -> None:
    facts = refusal_of(lambda: encode_statement([replace(LINE, **{field: value})]))
    assert facts["field"] == field


def test_a_statement_line_whose_net_is_not_the_sum_is_refused() -> None:
    rows = encode_statement([LINE, LINE])
    rows["net_fen"][1] += 1
    for row in range(2):
        rows["crc"][row] = zlib.crc32(rows[row].tobytes()[:92])
    facts = refusal_of(lambda: decode_statement(rows))
    assert (facts["fault"], facts["index"]) == ("NET", "1")


def test_disputes_come_back_with_and_without_a_settlement_date() -> None:
    cases = [DISPUTE_CASE, replace(DISPUTE_CASE, index=1, settlement_date=None, reason=DisputeReason.RECORD_MISSING)]
    assert decode_disputes(encode_disputes(cases)) == cases


@pytest.mark.parametrize(
    "wrong",
    [{"claimed_fen": 2**32}, {"claimed_fen": -1}, {"card_number": bytes(9)}, {"card_number": b"\xaa" * 10}],
)
def test_a_dispute_that_cannot_be_written_is_refused(wrong: dict[str, object]) -> None:
    refusal_of(lambda: encode_disputes([replace(DISPUTE_CASE, **wrong)]))


def test_results_that_pay_without_a_day_or_pay_a_duplicate_are_refused() -> None:
    undated = make_results([0], np.zeros((1, 6), np.uint8), [1], [0], [200], np.zeros((1, 4), np.uint8), [1])
    extension = extension_for(undated, FileCode.PROCESSED, 1, "1")
    assert refusal_of(lambda: check_results(undated, extension))["fault"] == "PAID_WITHOUT_DATE"
    doubled = make_results([0], np.zeros((1, 6), np.uint8), [1], [1], [200], DAY, [1])
    extension = extension_for(doubled, FileCode.PROCESSED, 1, "1")
    assert refusal_of(lambda: check_results(doubled, extension))["fault"] == "PAID_DUPLICATE"


def test_results_out_of_order_are_refused() -> None:
    rows = make_results([1, 1], np.zeros((2, 6), np.uint8), [1, 2], [0, 0], [1, 1], DAY, [1, 2])
    extension = extension_for(rows, FileCode.PROCESSED, 1, "1")
    assert refusal_of(lambda: check_results(rows, extension))["fault"] == "ORDER"


def test_results_that_settle_nothing_carry_no_day() -> None:
    rows = make_results([0, 1, 2], np.zeros((3, 6), np.uint8), [1, 2, 3], [0, 12, 20], [0, 0, 0], DAY, [1, 2, 3])
    assert [row.tobytes().hex() for row in rows["settlement_date"]] == ["20250103", "00000000", "00000000"]


def test_a_sum_beyond_64_bits_is_exact() -> None:
    assert exact_sum(np.array([2**64 - 1] * 3, dtype=">u8")) == 3 * (2**64 - 1)


CHECKS: list[tuple[np.dtype, Callable[[np.ndarray], object]]] = [
    (RESULT, lambda rows: check_results(rows, extension_for(rows[:0], FileCode.PROCESSED, 1, "1"))),
    (LIST_ENTRY, lambda rows: check_entries(rows, ListExtension(2, 1), full=False)),
    (PARAMETER, decode_parameters),
    (FARE, check_fares),
    (STATEMENT_LINE, decode_statement),
    (DISPUTE, decode_disputes),
]


@pytest.mark.parametrize("place", range(len(CHECKS)))
@given(junk=st.binary(min_size=96 * 2, max_size=96 * 2), seal=st.booleans())
def test_junk_is_refused_by_name_or_decodes(place: int, junk: bytes, seal: bool) -> None:
    dtype, check = CHECKS[place]
    rows = np.frombuffer(bytearray(junk[: dtype.itemsize * 2]), dtype=dtype)
    if seal and "crc" in (dtype.names or ()):
        for row in range(2):
            rows["crc"][row] = zlib.crc32(rows[row].tobytes()[:-4])
    # Any other exception, a wrong index or an overflow, fails the test.
    with contextlib.suppress(RecordMalformed):
        check(rows)
