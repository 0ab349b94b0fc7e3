"""The known answers of vectors.json for records and files, byte for byte, both ways."""

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from libs.records import bcd, otr
from libs.records.batch import (
    FileCode,
    FileType,
    ListExtension,
    decode_batch,
    encode_batch,
    file_name,
)
from libs.records.blacklist_file import Action, ListReason, Mode, listed_card, make_entries
from libs.records.codes import Kind
from libs.records.fare_record import FARE, check_fares, seal_fares
from libs.records.numbers import institution_bytes, luhn_digit, make_jt_number
from libs.records.parameter import PARAMETER, Parameter, decode_parameters, encode_parameters
from libs.records.result import extension_for, make_results
from libs.records.statement import STATEMENT_LINE, StatementLine, decode_statement, encode_statement

VECTORS = {
    vector["id"]: vector
    for vector in json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))["vectors"]
}


def outputs(name: str) -> dict[str, Any]:
    return VECTORS[name]["outputs"]


def inputs(name: str) -> dict[str, Any]:
    return VECTORS[name]["inputs"]


def packed(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), dtype=np.uint8)


def when(digits: str) -> datetime:
    return bcd.time_of(bytes.fromhex(digits))


def day(digits: str) -> date:
    return bcd.date_of(bytes.fromhex(digits))


def the_records() -> np.ndarray:
    return otr.read_records(b"".join(bytes.fromhex(outputs(f"cmp-otr-{n}")["record"]) for n in (1, 2, 3)))


def whole_file(name: str) -> bytes:
    out = outputs(name)
    records = out.get("records") or [outputs(f"cmp-otr-{n}")["record"] for n in (1, 2, 3)]
    return bytes.fromhex(out["header"] + "".join(records) + out["trailer"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cmp-otr-1", Kind.PURCHASE),
        ("cmp-otr-2", Kind.ENTRY),
        ("cmp-otr-3", Kind.EXIT),
    ],
)
def test_a_record_is_built_from_its_fields(name: str, kind: Kind) -> None:
    source = inputs(VECTORS[name]["inputs"]["from"])
    record = otr.new_records(1)
    record["kind"] = kind
    record["card_class"] = 3
    record["key_version"] = record["key_index"] = record["card_main_type"] = 1
    record["issuer"] = packed("01019901FFFFFFFF")
    record["acquirer"] = packed("11139901FFFFFFFF")
    record["card_number"] = packed("00009901000000012345")
    record["card_city"] = record["accepting_city"] = packed("9901")
    record["operator"] = 0x11
    record["terminal_number"] = packed(source["terminal"])
    record["psam_number"] = packed("99010000000000000001")
    record["terminal_seq"] = int(source["terminal_seq"], 16)
    record["card_counter"] = int(source["offline_counter"], 16)
    record["tti"] = int(source["tti"], 16)
    record["balance_before_fen"] = int(source["old_balance"], 16)
    record["amount_fen"] = record["list_price_fen"] = int(source["amount"], 16)
    record["time"] = packed(source["date"] + source["time"])
    record["tac"] = packed(outputs(source_id(name))["tac"])
    record["device_number"] = 0xBB9
    record["device_seq"] = int(name[-1])
    record["line"] = packed("000001")
    record["station"] = 0x102
    record["staff_number"] = 0x58
    record["blacklist_version"] = 12
    record["parameter_version"] = 3
    assert otr.write_records(otr.seal(record)).hex().upper() == outputs(name)["record"]


def source_id(name: str) -> str:
    return str(VECTORS[name]["inputs"]["from"])


@pytest.mark.parametrize("name", ["cmp-otr-1", "cmp-otr-2", "cmp-otr-3"])
def test_a_record_passes_and_keeps_its_checksum(name: str) -> None:
    original = bytes.fromhex(outputs(name)["record"])
    records = otr.read_records(original)
    assert otr.check_format(records).tolist() == [otr.FormatFault.NONE]
    unsealed = records.copy()
    unsealed["crc"] = 0
    assert otr.write_records(otr.seal(unsealed)) == original


@pytest.mark.parametrize("name", ["cmp-otr-1", "cmp-otr-2", "cmp-otr-3"])
def test_the_tac_input_is_what_the_card_signed(name: str) -> None:
    record = otr.read_records(bytes.fromhex(outputs(name)["record"]))
    key = bytes.fromhex(outputs(source_id(name))["tac_session_key"])
    padded = otr.tac_data(record)[0].tobytes() + b"\x80\x00"
    encryptor = Cipher(TripleDES(key * 3), modes.CBC(bytes(8))).encryptor()
    assert (encryptor.update(padded) + encryptor.finalize())[-8:-4] == record["tac"].tobytes()


def test_the_transaction_file_comes_out_byte_for_byte() -> None:
    out = outputs("cmp-batch-tx")
    made = encode_batch(
        FileType.TX,
        the_records(),
        sender="11139901",
        receiver="00009901",
        batch_number=1,
        created=when("20250102233000"),
        business_date=date(2025, 1, 2),
    )
    assert made == whole_file("cmp-batch-tx")
    batch = decode_batch(made)
    assert (batch.sha256, len(made), file_name(batch.header)) == (
        out["sha256_of_file"],
        out["length"],
        out["file_name"],
    )
    assert batch.records.tobytes() == the_records().tobytes()


def test_the_result_file_comes_out_byte_for_byte() -> None:
    out, records = outputs("cmp-batch-rs"), the_records()
    rows = make_results(
        index=range(3),
        terminal_number=records["terminal_number"],
        terminal_seq=records["terminal_seq"],
        code=np.zeros(3),
        settled_fen=records["amount_fen"],
        settlement_date=date(2025, 1, 3),
        clearing_reference=np.arange(1001, 1004),
    )
    made = encode_batch(
        FileType.RS,
        rows,
        sender="00009901",
        receiver="11139901",
        batch_number=1,
        created=when("20250103001500"),
        business_date=date(2025, 1, 3),
        extension=extension_for(rows, FileCode.PROCESSED, 1, "11139901"),
    )
    assert made == whole_file("cmp-batch-rs")
    batch = decode_batch(made, expect=FileType.RS)
    assert (batch.sha256, file_name(batch.header)) == (out["sha256_of_file"], out["file_name"])
    assert batch.header.extension == extension_for(batch.records, FileCode.PROCESSED, 1, "11139901")


def test_the_blacklist_increment_comes_out_byte_for_byte() -> None:
    out = outputs("cmp-batch-bi")
    rows = make_entries(
        packed("00009901000000012345")[None],
        Action.ADD,
        ListReason.LOST,
        packed("20250105000000")[None],
        Mode.LOCK,
    )
    made = encode_batch(
        FileType.BI,
        rows,
        sender="00009901",
        receiver="11139901",
        batch_number=1,
        created=when("20250104020000"),
        business_date=date(2025, 1, 4),
        extension=ListExtension(version=13, base_version=12),
    )
    assert made == whole_file("cmp-batch-bi")
    batch = decode_batch(made)
    assert (batch.sha256, file_name(batch.header)) == (out["sha256_of_file"], out["file_name"])
    assert listed_card(batch.records[0]["card_number"].tobytes()) == "cj-00009901000000012345"


def test_a_fare_record_comes_out_byte_for_byte() -> None:
    asked = inputs("cmp-fare-record")
    row = np.zeros(1, dtype=FARE)
    row["line"] = packed(asked["line"])
    row["from_stop"], row["to_stop"] = asked["from"], asked["to"]
    row["card_main_type"], row["fare_fen"] = asked["main_type"], asked["fare"]
    row["discount_rule"], row["trip_minutes_max"] = asked["rule_id"], asked["max_minutes"]
    row["first_day"], row["last_day"] = packed(asked["start"]), packed(asked["end"])
    made = seal_fares(row).tobytes()
    assert made.hex().upper() == outputs("cmp-fare-record")["record"]
    check_fares(np.frombuffer(made, dtype=FARE))


def test_a_parameter_record_comes_out_byte_for_byte() -> None:
    asked = inputs("cmp-param-record")
    parameter = Parameter(asked["name"], asked["value"], when(asked["effective"]))
    made = encode_parameters([parameter]).tobytes()
    assert made.hex().upper() == outputs("cmp-param-record")["record"]
    assert decode_parameters(np.frombuffer(made, dtype=PARAMETER)) == [parameter]


def test_a_statement_record_comes_out_byte_for_byte() -> None:
    asked = inputs("cmp-statement-record")
    line = StatementLine(
        settlement_date=day(asked["settlement_date"]),
        issuer=asked["issuer"][:8],
        acquirer=asked["acquirer"][:8],
        operator=asked["operator"],
        industry=int(asked["industry"], 16),
        kind=asked["kind"],
        card_main_type=asked["card_type"],
        count=asked["count"],
        gross_fen=asked["gross"],
        subsidy_fen=asked["subsidy"],
        fee_fen=asked["fee"],
        adjustment_fen=asked["adjustment"],
        payout_date=day(asked["payout_date"]),
        statement_number=asked["statement_no"],
    )
    made = encode_statement([line]).tobytes()
    assert made.hex().upper() == outputs("cmp-statement-record")["record"]
    assert decode_statement(np.frombuffer(made, dtype=STATEMENT_LINE)) == [line]
    assert line.net_fen == asked["net"]


def test_the_acceptance_cases_fail_the_format_test_exactly_where_code_10_is_expected() -> None:
    cases = outputs("cmp-acceptance")["cases"]
    records = otr.read_records(bytes.fromhex("".join(case["record"] for case in cases)))
    refused = [case["name"] for case, fault in zip(cases, otr.check_format(records), strict=True) if fault]
    assert refused == [case["name"] for case in cases if case["code"] == "10"] != []


def test_the_luhn_digit_and_the_number_of_an_own_card() -> None:
    asked, out = inputs("cmp-luhn"), outputs("cmp-luhn")
    assert luhn_digit(asked["body"]) == out["check_digit"]
    assert make_jt_number("9901", 1234) == f"jt-{out['application_serial_10']}"
    assert institution_bytes("11139901").hex().upper() == "11139901FFFFFFFF"
