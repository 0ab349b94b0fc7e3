"""Every purse vector of vectors.json; each carries its own origin."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libs.purse import crypto
from libs.purse.algorithms import SM4, TRIPLE_DES, Algorithm
from libs.purse.card import CJ, CardKeys, issue_card
from libs.purse.sam import SamKey, SamKind, VirtualSam
from libs.purse.scheme import luhn_digit
from libs.purse.secure_messaging import enciphered, protected_command
from libs.purse.sequence import MemorySequence
from libs.purse.transactions import (
    load_mac1_data,
    load_mac2_data,
    load_tac_data,
    m1_tac_data,
    offline_session_input,
    online_session_input,
    purchase_mac1_data,
    purchase_tac_data,
)

Vector = dict[str, Any]
_VECTORS: list[Vector] = json.loads((Path(__file__).parent / "vectors.json").read_text())["vectors"]


def of_kind(*kinds: str) -> Any:
    found = [vector for vector in _VECTORS if vector["kind"] in kinds]
    assert found, f"vectors.json holds no {kinds}"
    return pytest.mark.parametrize("vector", found, ids=[vector["id"] for vector in found])


def raw(vector: Vector) -> dict[str, bytes]:
    return {name: bytes.fromhex(value) for name, value in vector["inputs"].items() if isinstance(value, str)}


def expect(vector: Vector, **outputs: bytes) -> None:
    """Every output of the vector must be among `outputs`, and equal."""
    assert {name: outputs[name].hex().upper() for name in vector["outputs"]} == vector["outputs"]


def family(vector: Vector) -> Algorithm:
    return SM4 if vector["kind"].endswith("sm4") else TRIPLE_DES


@of_kind("des_ecb", "tdes_ecb")
def test_des_enciphers_one_block_as_published(vector: Vector) -> None:
    given = raw(vector)
    expect(vector, ciphertext=crypto.des_encrypt(given["key"], given["data"]))
    assert crypto.des_decrypt(given["key"], crypto.des_encrypt(given["key"], given["data"])) == given["data"]


@of_kind("sm4_ecb")
def test_sm4_enciphers_one_block_as_published(vector: Vector) -> None:
    given = raw(vector)
    expect(vector, ciphertext=crypto.sm4_encrypt(given["key"], given["data"]))
    assert crypto.sm4_decrypt(given["key"], crypto.sm4_encrypt(given["key"], given["data"])) == given["data"]


@of_kind("des_mac")
def test_mac8_pads_data_that_is_a_multiple_already(vector: Vector) -> None:
    given = raw(vector)
    expect(vector, mac=crypto.mac8(given["key"], given["data"], given["iv"]))


@of_kind("diversify_3des", "diversify_sm4")
def test_a_card_key_follows_from_master_key_and_factors(vector: Vector) -> None:
    master = bytes.fromhex(vector["inputs"]["master_key"])
    factors = [bytes.fromhex(factor) for factor in vector["inputs"]["factors"]]
    cipher = family(vector)
    expect(vector, key=cipher.diversify(master, factors), level1=cipher.diversify(master, factors[:1]))


@of_kind("load", "load_sm4")
def test_a_load_is_signed_as_published(vector: Vector) -> None:
    given, cipher = raw(vector), family(vector)
    tti, counter = given["tti"][0], given["online_counter"]
    session = cipher.session_key(given["load_key"], online_session_input(given["random"], counter))
    stamp = given["date"] + given["time"]
    balance = int.from_bytes(given["old_balance"], "big") + int.from_bytes(given["amount"], "big")
    new_balance = balance.to_bytes(4, "big")
    outputs = {
        "session_key": session,
        "mac1": cipher.mac(session, load_mac1_data(given["old_balance"], given["amount"], tti, given["terminal"])),
        "mac2": cipher.mac(session, load_mac2_data(given["amount"], tti, given["terminal"], stamp)),
        "new_balance": new_balance,
    }
    signed = load_tac_data(new_balance, counter, given["amount"], tti, given["terminal"], stamp)
    if "tac" in vector["outputs"]:
        outputs |= tac_of(vector, signed)
    if "log_record" in vector["outputs"]:
        logged = (int.from_bytes(counter, "big") + 1).to_bytes(2, "big")
        outputs["log_record"] = logged + bytes(3) + given["amount"] + given["tti"] + given["terminal"] + stamp
    expect(vector, **outputs)


@of_kind("purchase", "capp_purchase", "purchase_sm4")
def test_a_purchase_is_signed_as_published(vector: Vector) -> None:
    given, cipher = raw(vector), family(vector)
    tti, sequence, stamp = given["tti"][0], given["terminal_seq"], given["date"] + given["time"]
    session_input = offline_session_input(given["random"], given["offline_counter"], sequence)
    session = cipher.session_key(given["purchase_key"], session_input)
    mac2 = cipher.mac(session, given["amount"])
    tacs = tac_of(vector, purchase_tac_data(given["amount"], tti, given["terminal"], sequence, stamp))
    expect(
        vector,
        session_key=session,
        mac1=cipher.mac(session, purchase_mac1_data(given["amount"], tti, given["terminal"], stamp)),
        mac2=mac2,
        debit_response=tacs["tac"] + mac2,
        **tacs,
    )


def tac_of(vector: Vector, signed: bytes) -> dict[str, bytes]:
    """TAC and its 8-byte key; where only that key was published it is used directly."""
    given, cipher = raw(vector), family(vector)
    if "tac_session_key" in given:
        key = given["tac_session_key"]
        return {"tac": crypto.mac8(key, signed), "tac_session_key": key}
    halves = crypto.xor8(given["tac_key"][:8], given["tac_key"][8:])
    return {"tac": cipher.tac(given["tac_key"], signed), "tac_session_key": halves}


@of_kind("unload")
def test_an_unload_is_signed_by_the_stated_convention(vector: Vector) -> None:
    given = raw(vector)
    session_input = online_session_input(given["random"], given["online_counter"])
    session = TRIPLE_DES.session_key(given["unload_key"], session_input)
    stamp = given["date"] + given["time"]
    left = int.from_bytes(given["old_balance"], "big") - int.from_bytes(given["amount"], "big")
    new_balance = left.to_bytes(4, "big")
    mac1 = load_mac1_data(given["old_balance"], given["amount"], 0x03, given["terminal"])
    mac2 = TRIPLE_DES.mac(session, load_mac2_data(given["amount"], 0x03, given["terminal"], stamp))
    mac3 = load_tac_data(new_balance, given["online_counter"], given["amount"], 0x03, given["terminal"], stamp)
    expect(
        vector,
        session_key=session,
        mac1=TRIPLE_DES.mac(session, mac1),
        mac2=mac2,
        mac3=TRIPLE_DES.mac(session, mac3),
        new_balance=new_balance,
        init_command=bytes.fromhex("805005010B01") + given["amount"] + given["terminal"] + b"\x10",
        unload_command=bytes.fromhex("805403000B") + stamp + mac2 + b"\x04",
    )


@of_kind("command_mac")
def test_a_command_to_the_card_carries_its_mac(vector: Vector) -> None:
    given = raw(vector)
    message = given["header_and_data"]
    mac = TRIPLE_DES.command_mac(given["key"], given["challenge"], message)
    command = protected_command(TRIPLE_DES, given["key"], given["challenge"], message[:4], message[5:])
    expect(vector, mac=mac, command=command)


@of_kind("command_encrypt_mac")
def test_an_enciphered_command_pads_only_when_needed(vector: Vector) -> None:
    given = raw(vector)
    plain = given["plain_block"]
    data = plain[1 : 1 + plain[0]]
    cipher_text = enciphered(TRIPLE_DES, given["key"], data)
    command = protected_command(TRIPLE_DES, given["key"], given["challenge"], given["header"][:4], data, encrypt=True)
    expect(vector, ciphertext=cipher_text, mac=command[-4:], command=command)


@of_kind("pin_reload")
def test_pin_reload_signs_the_new_pin_only(vector: Vector) -> None:
    given = raw(vector)
    mac = TRIPLE_DES.reload_mac(given["reload_key"], given["pin"])
    halves = crypto.xor8(given["reload_key"][:8], given["reload_key"][8:])
    expect(vector, mac_key=halves, mac=mac, command=bytes.fromhex("805E000007") + given["pin"] + mac)


@of_kind("m1_tac")
def test_a_psam_signs_for_an_m1_card(vector: Vector) -> None:
    given = raw(vector)
    message = m1_tac_data(
        sam_number=given["sam_no"],
        sequence=given["terminal_seq"],
        city=given["city"],
        issue_serial=given["card_issue_serial"],
        card_type=given["card_type"][0],
        balance_before_fen=int.from_bytes(given["balance_before_le"], "little"),
        amount_fen=int.from_bytes(given["amount_le"], "little"),
        stamp=given["datetime"],
        counter=int.from_bytes(given["card_counter"], "big"),
    )
    init = bytes.fromhex("801A240108") + given["factor"]
    crypt = bytes.fromhex("80FA050028") + bytes(8) + crypto.pad(message)
    key = TRIPLE_DES.diversify(given["tac_master_key"], [given["factor"]])
    expect(
        vector,
        message=message,
        key=key,
        tac=crypto.mac16(key, message),
        psam_init=init,
        psam_crypt=crypt,
    )
    sam = VirtualSam(
        terminal=bytes(6),
        keys=[SamKey(SamKind.TAC, given["tac_master_key"], levels=1)],
        sequence=MemorySequence(),
    )
    assert sam.transmit(init) == b"\x90\x00"
    assert sam.transmit(crypt).hex().upper() == vector["outputs"]["tac"] + "9000"


@of_kind("luhn")
def test_a_jt_number_ends_in_its_luhn_digit(vector: Vector) -> None:
    body = vector["inputs"]["body"]
    digit = luhn_digit(body)
    number = body + digit
    assert vector["outputs"] == {"check_digit": digit, "card_number": number, "application_serial_10": "0" + number}


def session_of(vector_id: str) -> Vector:
    return next(vector for vector in _VECTORS if vector["id"] == vector_id)


def test_the_virtual_card_answers_the_recorded_session_byte_for_byte() -> None:
    vector = session_of("cmp-session-card")
    card = vector["inputs"]["card"]
    assert bytes.fromhex(card["aid"]) == CJ.aid
    randoms: Iterator[bytes] = iter([bytes.fromhex(value) for value in card["random_sequence"]])
    keys = CardKeys(
        purchase=bytes.fromhex(card["dpk"]),
        load=bytes.fromhex(card["dlk"]),
        tac=bytes.fromhex(card["dtk"]),
        maintenance=bytes(range(16)),
    )
    virtual = issue_card(
        CJ, bytes.fromhex(card["file_0015"]), keys, pin=bytes.fromhex(card["pin"]), random=lambda _: next(randoms)
    )
    for exchange in vector["outputs"]["exchanges"]:
        assert virtual.transmit(bytes.fromhex(exchange["c"])).hex().upper() == exchange["r"], exchange["note"]


def test_the_virtual_psam_answers_the_recorded_session_byte_for_byte() -> None:
    vector = session_of("cmp-session-psam")
    psam = vector["inputs"]["psam"]
    sam = VirtualSam(
        terminal=bytes.fromhex(psam["terminal_no"]),
        keys=[SamKey(SamKind.PURCHASE, bytes.fromhex(psam["gmpk"]), levels=2)],
        sequence=MemorySequence(int(psam["next_terminal_seq"], 16)),
    )
    for exchange in vector["outputs"]["exchanges"]:
        assert sam.transmit(bytes.fromhex(exchange["c"])).hex().upper() == exchange["r"], exchange["note"]
