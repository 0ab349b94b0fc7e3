"""Numbers of cards, institutions, terminals and PSAMs, and the tables of codes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.records import codes, numbers
from libs.records.errors import FileCode, NumberInvalid
from libs.records.numbers import Role, Scheme

digits16 = st.from_regex(r"[0-9]{16}", fullmatch=True)


@given(digits16)
def test_a_cj_number_survives_all_its_forms(digits: str) -> None:
    serial = bytes.fromhex(digits)
    text = numbers.card_from_cj(serial)
    assert text == f"cj-0000{digits}"
    assert numbers.cj_serial(text) == serial
    assert numbers.card_text(*numbers.card_bytes(text)) == text


@given(st.integers(0, 10**11 - 1), st.integers(0, 9))
def test_an_own_jt_number_passes_and_any_changed_digit_is_seen(serial: int, card_class: int) -> None:
    text = numbers.make_jt_number("9901", serial, card_class)
    assert numbers.check_own_jt_number(text) == text
    for place in range(6, 23):
        changed = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]
        with pytest.raises(NumberInvalid):
            numbers.check_own_jt_number(changed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jt-",
        "jt-0310990100000001234",
        "jt-031099010000000123400",
        "xx-03109901000000012340",
        "JT-03109901000000012340",
        "jt-0310990100000001234a",
        "jt-0310990100000001234०",
        "jt-03109901000000012340\n",
        " jt-03109901000000012340",
    ],
)
def test_what_is_no_card_number_is_refused(text: str) -> None:
    with pytest.raises(NumberInvalid) as refused:
        numbers.card_bytes(text)
    assert refused.value.facts["number"] == text


def test_a_jt_number_must_start_with_31_and_a_cj_number_must_be_short() -> None:
    with pytest.raises(NumberInvalid):
        numbers.card_from_jt("3010990100000001234")
    with pytest.raises(NumberInvalid):
        numbers.cj_serial("cj-00010000000000000000")
    with pytest.raises(NumberInvalid):
        numbers.cj_serial("jt-00000000000000000000")
    with pytest.raises(NumberInvalid):
        numbers.check_own_jt_number("jt-03009901000000012340")


@pytest.mark.parametrize(
    ("city", "serial", "card_class"), [("990", 1, 0), ("9901", -1, 0), ("9901", 10**11, 0), ("9901", 1, 10)]
)
def test_a_part_of_a_jt_number_out_of_range_is_refused(city: str, serial: int, card_class: int) -> None:
    with pytest.raises(NumberInvalid):
        numbers.make_jt_number(city, serial, card_class)


def test_a_cj_number_is_made_of_city_industry_and_serial() -> None:
    assert numbers.make_cj_number("9901", "0000", 12345) == "cj-00009901000000012345"
    with pytest.raises(NumberInvalid):
        numbers.make_cj_number("9901", "0000", 10**8)


@given(st.from_regex(r"[0-9]{1,16}", fullmatch=True))
def test_an_institution_survives_its_eight_bytes(digits: str) -> None:
    packed = numbers.institution_bytes(digits)
    assert len(packed) == 8
    assert numbers.institution_text(packed) == digits


def test_an_institution_may_be_written_with_its_padding() -> None:
    assert numbers.institution_bytes("11139901FFFFFFFF") == numbers.institution_bytes("11139901")
    assert numbers.institution_id(Role.ACQUIRER, "13", "9901") == "11139901"


@pytest.mark.parametrize("packed", ["FFFFFFFFFFFFFFFF", "1FF1FFFFFFFFFFFF", "11139901FFFFFFFA", "11139901FFFFFF", ""])
def test_what_is_no_institution_is_refused(packed: str) -> None:
    with pytest.raises(NumberInvalid):
        numbers.institution_text(bytes.fromhex(packed))


@pytest.mark.parametrize("text", ["", "1111FFFF", "11139901ffffffff", "1" * 17, "१२"])
def test_what_is_no_institution_text_is_refused(text: str) -> None:
    with pytest.raises(NumberInvalid):
        numbers.institution_bytes(text)


def test_terminals_and_psams_survive_their_bytes() -> None:
    assert numbers.terminal_text(numbers.terminal_bytes("990100000001")) == "990100000001"
    assert numbers.psam_text(numbers.psam_bytes("99010000000000000001")) == "99010000000000000001"
    for wrong in (b"\xab" + bytes(5), bytes(5), bytes(7)):
        with pytest.raises(NumberInvalid):
            numbers.terminal_text(wrong)


def test_every_class_of_card_has_its_scheme() -> None:
    assert [each.scheme for each in numbers.CardClass] == [Scheme.CJ, Scheme.CJ, Scheme.JT]


def test_the_codes_are_those_of_the_page() -> None:
    texts = " ".join(row.text for row in codes.RESULT_CODES.values())
    assert texts == "00 01 02 10 11 12 13 20 21 22 23 24 25 26 27 28 30 31 32 33 50 90"
    assert set(codes.RESULT_CODES) == set(codes.ResultCode)
    assert set(codes.FILE_CODES) == set(FileCode)
    assert set(codes.KINDS) == set(codes.Kind)
    assert sorted(codes.ACCEPTED_CODES) == [0, 24, 25, 26]
    assert sorted(codes.PENDING_CODES) == [2, 11, 13, 20, 21, 22, 23, 27, 28, 31, 32, 50, 90]


def test_every_code_that_debits_the_card_pays_or_holds_the_money() -> None:
    debits = np.flatnonzero(codes.DEBITS_CARD).tolist()
    assert debits == [0, 20, 21, 22, 23, 24, 25, 26, 27, 28, 32]
    assert all(codes.ResultCode(code).facts.acquirer is not codes.AcquirerEffect.NONE for code in debits)
    assert np.flatnonzero(codes.IS_ACCEPTED).tolist() == sorted(codes.ACCEPTED_CODES)
