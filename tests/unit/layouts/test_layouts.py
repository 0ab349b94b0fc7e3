"""Card files field by field: odd bytes first, then what the standards print."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.purse.layouts import (
    BUS_TRIP,
    COMPLEX_RECORD,
    HOLDER_CJ,
    HOLDER_JT,
    ISSUING,
    LAYOUTS,
    LOG,
    MANAGEMENT_JT,
    PUBLIC_CJ,
    PUBLIC_JT,
    TRANSIT_LOG,
    Layout,
    decode,
    layout_of,
)
from libs.purse.layouts.fields import values
from libs.purse.scheme import Scheme

ALL = [ISSUING, *LAYOUTS.values()]
PUBLIC = bytes.fromhex("0001990100000000010199019901000000012345 20250101 20351231 0000")


@given(st.sampled_from(ALL), st.binary(max_size=160))
def test_every_byte_is_shown_once_whatever_it_is(layout: Layout, data: bytes) -> None:
    readings = decode(layout, data)
    assert b"".join(reading.raw for reading in readings) == data
    assert all(reading.text for reading in readings if reading.raw.strip(b"\x00\x20\xff"))


@pytest.mark.parametrize(
    ("layout", "size"),
    [
        (PUBLIC_CJ, 30),
        (PUBLIC_JT, 30),
        (ISSUING, 40),
        (HOLDER_CJ, 39),
        (HOLDER_JT, 55),
        (MANAGEMENT_JT, 60),
        (LOG, 23),
        (TRANSIT_LOG, 48),
        (BUS_TRIP, 128),
    ],
)
def test_sizes_are_those_of_the_standards(layout: Layout, size: int) -> None:
    assert layout.size == size


def test_bytes_that_no_standard_names_are_unknown_and_stay_bytes() -> None:
    readings = decode(PUBLIC_CJ, PUBLIC[:6] + b"\xab\xcd" + PUBLIC[8:28] + b"\x12\x34\x56")
    unknown = [reading for reading in readings if not reading.name]
    assert [(reading.offset, reading.raw.hex(), reading.en) for reading in unknown] == [
        (6, "abcd", "unknown"),
        (28, "123456", "unknown"),
    ]


def test_a_code_that_is_in_no_table_is_not_recognised() -> None:
    reading = next(each for each in decode(LOG, bytes(9) + b"\x77" + bytes(13)) if each.name == "tti")
    assert reading.value is None
    assert reading.text == "77 (无法识别 not recognised)"


@pytest.mark.parametrize("digits", ["20251301", "20250230", "00000000", "FFFFFFFF", "2025AB01"])
def test_a_date_that_is_none_is_shown_as_it_stands(digits: str) -> None:
    data = PUBLIC[:20] + bytes.fromhex(digits) + PUBLIC[24:]
    reading = next(each for each in decode(PUBLIC_CJ, data) if each.name == "start")
    assert (reading.value, reading.raw.hex().upper()) == (None, digits)
    assert digits in reading.text


def test_a_file_that_ends_early_keeps_what_it_has() -> None:
    assert set(values(PUBLIC_CJ, PUBLIC[:11])) == {"issuer_code", "city", "industry", "enabled", "version"}
    assert values(PUBLIC_CJ, b"") == {}


def test_the_public_data_of_a_city_card() -> None:
    assert values(PUBLIC_CJ, PUBLIC) == {
        "issuer_code": "0001",
        "city": "9901",
        "industry": "0000",
        "enabled": 1,
        "version": 1,
        "interconnection": "9901",
        "serial": "9901000000012345",
        "start": date(2025, 1, 1),
        "expiry": date(2035, 12, 31),
    }


def test_the_public_data_of_a_t_union_card() -> None:
    data = bytes.fromhex("01139901FFFFFFFF 02 01 03109901000000012340 20250101 20351231 0000")
    read = values(PUBLIC_JT, data)
    assert (read["issuer"], read["application_type"], read["serial"]) == ("01139901", 2, "03109901000000012340")


def test_a_log_record_of_the_vectors() -> None:
    data = bytes.fromhex("0004000000000000C80699010000000120250102080910")
    read = values(LOG, data)
    assert (read["counter"], read["amount_fen"], read["tti"], read["terminal"]) == (4, 200, 6, "990100000001")
    shown = {reading.name: reading.text for reading in decode(LOG, data)}
    assert shown["amount_fen"] == "2.00 元 yuan"
    assert shown["tti"] == "06 钱包消费 EP purchase"
    assert shown["at"] == "2025-01-02 08:09:10"


def test_a_transit_record() -> None:
    data = bytes.fromhex(
        "04 0000020000000001 01 00000101 050000 00000190 00002710 20250102081500 9901 11019901FFFFFFFF 000002BC 00B4"
    )
    read = values(TRANSIT_LOG, data)
    assert (read["type"], read["industry"], read["line"]) == (4, 1, "00000101")
    assert (read["amount_fen"], read["balance_fen"], read["fare_fen_max"], read["duration_min_max"]) == (
        400,
        10000,
        700,
        180,
    )
    assert read["institution"] == "11019901"


def test_a_bus_trip_with_boarding_only() -> None:
    data = bytearray(128)
    data[:15] = bytes.fromhex("27027D 01 01 00 0000000000000042 01")
    data[15:58] = bytes.fromhex(
        "9901 11019901FFFFFFFF 0007 0101 05" + b"B12345  ".hex() + "0000020000000001 20250102081500 00000190 01"
    )
    read = values(BUS_TRIP, bytes(data))
    assert (read["state"], read["boarding_vehicle"], read["boarding_stop"]) == (1, "B12345", 5)
    assert (read["boarding_fare_fen"], read["direction"], read["alighting_at"]) == (400, 1, None)
    assert len(bytes(data)) - 26 == 102, "the last 26 bytes are local"
    assert decode(BUS_TRIP, bytes(data))[-1].name == ""


def test_a_holder_has_a_chinese_name() -> None:
    data = b"\x02\x00" + "张三".encode("gb18030").ljust(20, b"\x00") + b"110101199001011234"[:16] + b"\x00"
    read = values(HOLDER_CJ, data)
    assert (read["main_type"], read["holder"], read["certificate_type"]) == (2, "张三", 0)


def test_a_complex_record_names_its_identifier_and_shows_the_rest() -> None:
    readings = decode(COMPLEX_RECORD, bytes.fromhex("022E00") + bytes(range(45)))
    assert readings[0].value == 2
    assert readings[-1].raw == bytes(range(45))


def test_files_are_found_by_scheme_and_short_identifier() -> None:
    assert layout_of(Scheme.CJ, 0x17) is COMPLEX_RECORD
    assert layout_of(Scheme.JT, 0x17) is MANAGEMENT_JT
    assert layout_of(Scheme.CJ, 0x1A) is None
