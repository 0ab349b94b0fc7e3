"""One changed bit anywhere in what MAC1, MAC2 or TAC cover is noticed by the side that checks it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.keystore import KeyUnknown
from libs.purse import host, inspect, outlet
from libs.purse.algorithms import SM4, TRIPLE_DES, Algorithm, algorithm
from libs.purse.apdu import build
from libs.purse.bulk_des import des_cbc_mac
from libs.purse.bulk_sm4 import sm4_cbc_mac
from libs.purse.card import CJ, VirtualCard
from libs.purse.crypto import pad
from libs.purse.fields import amount_bytes, stamp_bytes
from libs.purse.host import AnswerA, LoadTerms
from libs.purse.transactions import (
    offline_session_input,
    online_session_input,
    overdraft_mac1_data,
    overdraft_mac2_data,
    overdraft_tac_data,
)
from libs.purse.transceiver import demand

ALGORITHM_IDS = st.sampled_from([0, 4])


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


def a_card(city: Any, algorithm_id: int, balance_fen: int = 1000) -> VirtualCard:
    card: VirtualCard = city.card(algorithm_id=algorithm_id, balance_fen=balance_fen)
    inspect.select(card, CJ.aid)
    return card


@given(ALGORITHM_IDS, st.integers(0, 8 * 16 - 1))
def test_a_changed_answer_of_the_card_is_no_answer_of_it(city: Any, algorithm_id: int, bit: int) -> None:
    """Balance, counter, random and MAC1; version and algorithm choose the key, and another key makes another MAC."""
    card = a_card(city, algorithm_id)
    raw = flipped(outlet.initialise_load(card, 100, terminal=city.terminal), bit)
    with pytest.raises((host.Mac1Wrong, KeyUnknown)):
        host.check_load_mac1(city.store, city.identity(), AnswerA.parse(raw), LoadTerms(100, city.terminal))


@given(ALGORITHM_IDS, st.integers(0, 8 * 10 - 1))
def test_a_changed_amount_or_terminal_is_not_what_the_card_signed(city: Any, algorithm_id: int, bit: int) -> None:
    card = a_card(city, algorithm_id)
    answer = AnswerA.parse(outlet.initialise_load(card, 100, terminal=city.terminal))
    said = flipped(amount_bytes(100) + city.terminal, bit)
    with pytest.raises(host.Mac1Wrong):
        host.check_load_mac1(city.store, city.identity(), answer, LoadTerms(int.from_bytes(said[:4], "big"), said[4:]))


@given(ALGORITHM_IDS, st.integers(0, 8 * 11 - 1))
def test_a_changed_credit_is_refused_by_the_card(city: Any, algorithm_id: int, bit: int) -> None:
    """Date, time and MAC2."""
    card = a_card(city, algorithm_id)
    answer = AnswerA.parse(outlet.initialise_load(card, 100, terminal=city.terminal))
    mac2 = host.make_load_mac2(city.store, city.identity(), answer, LoadTerms(100, city.terminal), city.at)
    body = flipped(stamp_bytes(city.at) + mac2, bit)
    assert card.transmit(build(b"\x80\x52\x00\x00", body, 4)).hex() == "9302"
    assert card.application(CJ.aid).purse.balance_fen == 1000


@given(ALGORITHM_IDS, st.integers(0, 8 * 4 - 1))
def test_a_changed_tac_of_a_load_proves_nothing(city: Any, algorithm_id: int, bit: int) -> None:
    card = a_card(city, algorithm_id)
    terms = LoadTerms(100, city.terminal)
    answer = AnswerA.parse(outlet.initialise_load(card, 100, terminal=city.terminal))
    mac2 = host.make_load_mac2(city.store, city.identity(), answer, terms, city.at)
    tac = outlet.credit_for_load(card, city.at, mac2)
    with pytest.raises(host.TacWrong):
        host.check_load_tac(city.store, city.identity(), answer, terms, city.at, flipped(tac, bit))


def session_with_sam(city: Any, card: VirtualCard, bit: int | None) -> tuple[bytes, bytes, bytes]:
    """Answer B, the PSAM's answer to it (one bit of the request flipped), and the stamp; amount 200."""
    answer = demand(card, build(b"\x80\x50\x01\x02", b"\x01" + amount_bytes(200) + city.terminal, 15))
    stamp = stamp_bytes(city.at)
    factors = city.identity().serial + bytes.fromhex("9901FF0000000000")
    said = answer[11:15] + answer[4:6] + amount_bytes(200) + b"\x06" + stamp + answer[9:11] + factors
    sam = city.sam()
    response = sam.transmit(build(b"\x80\x70\x00\x00", said if bit is None else flipped(said, bit), 8))
    return answer, response, stamp


@given(ALGORITHM_IDS, st.integers(0, 8 * 36 - 1))
def test_whatever_the_module_was_told_wrongly_the_card_does_not_pay(city: Any, algorithm_id: int, bit: int) -> None:
    """Random, counter, amount, type, stamp, version, algorithm, factors: all 36 bytes of INIT SAM FOR PURCHASE."""
    card = a_card(city, algorithm_id)
    _, made, stamp = session_with_sam(city, card, bit)
    if made.endswith(b"\x90\x00"):
        assert card.transmit(build(b"\x80\x54\x01\x00", made[:4] + stamp + made[4:8], 8)).hex() == "9302"
    assert card.application(CJ.aid).purse.balance_fen == 1000


@given(ALGORITHM_IDS, st.integers(0, 8 * 15 - 1))
def test_a_changed_debit_is_refused_by_the_card(city: Any, algorithm_id: int, bit: int) -> None:
    """Terminal seq, date, time and MAC1; of the seq all four bytes count in the TAC, its low two in the session key."""
    card = a_card(city, algorithm_id)
    _, made, stamp = session_with_sam(city, card, None)
    body = flipped(made[:4] + stamp + made[4:8], bit)
    answer = card.transmit(build(b"\x80\x54\x01\x00", body, 8))
    if bit < 16:
        # The high half of the seq is in no MAC1 (purse-crypto.md, section 3): the TAC is what binds it.
        with pytest.raises(host.TacWrong):
            check_tac(city, algorithm_id, int.from_bytes(made[:4], "big"), stamp, answer[:4])
    else:
        assert answer.hex() == "9302"


def check_tac(city: Any, algorithm_id: int, sequence: int, stamp: bytes, tac: bytes) -> None:
    host.check_purchase_tac(
        city.store,
        city.identity(),
        key_version=1,
        algorithm_id=algorithm_id,
        amount_fen=200,
        tti=6,
        terminal=city.terminal,
        sequence=sequence,
        stamp=stamp,
        tac=tac,
    )


@given(ALGORITHM_IDS, st.integers(0, 8 * 4 - 1))
def test_a_changed_mac2_of_the_card_is_not_believed(city: Any, algorithm_id: int, bit: int) -> None:
    card = a_card(city, algorithm_id)
    answer = demand(card, build(b"\x80\x50\x01\x02", b"\x01" + amount_bytes(200) + city.terminal, 15))
    stamp, sam = stamp_bytes(city.at), city.sam()
    factors = city.identity().serial + bytes.fromhex("9901FF0000000000")
    said = answer[11:15] + answer[4:6] + amount_bytes(200) + b"\x06" + stamp + answer[9:11] + factors
    made = demand(sam, build(b"\x80\x70\x00\x00", said, 8))
    proof = demand(card, build(b"\x80\x54\x01\x00", made[:4] + stamp + made[4:], 8))
    assert sam.transmit(build(b"\x80\x72\x00\x00", flipped(proof[4:], bit))).hex() == "9302"


@given(ALGORITHM_IDS, st.integers(0, 8 * 22 - 1))
def test_a_changed_byte_of_what_a_tac_covers_is_noticed(city: Any, algorithm_id: int, bit: int) -> None:
    cipher = algorithm(algorithm_id)
    key, data = bytes(range(16)), bytes(range(22))
    assert cipher.tac(key, flipped(data, bit)) != cipher.tac(key, data)


# Two computations of what has no published vector: the ciphers of OpenSSL, and those in NumPy columns, which share
# no line of code with them.


def mac_in_columns(cipher: Algorithm, key: bytes, data: bytes) -> bytes:
    rows = np.frombuffer(pad(data, cipher.block_size), np.uint8).reshape(1, -1)
    keys = np.frombuffer(key, np.uint8).reshape(1, -1)
    made = des_cbc_mac(keys, rows) if cipher is TRIPLE_DES else sm4_cbc_mac(keys, rows)
    return made.tobytes()[:4]


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=60))
def test_both_ways_make_the_same_macs(key: bytes, data: bytes) -> None:
    assert TRIPLE_DES.mac(key[:8], data) == mac_in_columns(TRIPLE_DES, key[:8], data)
    halves = bytes(a ^ b for a, b in zip(key[:8], key[8:], strict=True))
    assert TRIPLE_DES.tac(key, data) == mac_in_columns(TRIPLE_DES, halves, data)
    assert TRIPLE_DES.reload_mac(key, data) == mac_in_columns(TRIPLE_DES, halves, data)
    assert SM4.mac(key, data) == SM4.tac(key, data) == SM4.reload_mac(key, data) == mac_in_columns(SM4, key, data)


@pytest.mark.parametrize("cipher", [TRIPLE_DES, SM4], ids=lambda cipher: cipher.name)
def test_an_overdraft_change_is_signed_the_same_in_both_ways(cipher: Algorithm) -> None:
    key, terminal, stamp = bytes(range(16)), bytes.fromhex("990100000001"), bytes.fromhex("20250102081000")
    session = cipher.session_key(key, online_session_input(b"\x01\x02\x03\x04", b"\x00\x05"))
    for data, size in (
        (overdraft_mac1_data(bytes(4), b"\x00\x13\x88", terminal), 14),
        (overdraft_mac2_data(b"\x00\x27\x10", terminal, stamp), 17),
    ):
        assert len(data) == size, "purse-crypto.md, section 3"
        assert cipher.mac(session, data) == mac_in_columns(cipher, session, data)
    assert len(overdraft_tac_data(bytes(4), b"\x00\x05", b"\x00\x27\x10", terminal, stamp)) == 23


def test_an_sm4_session_key_is_one_block_of_the_padded_input() -> None:
    key = bytes(range(16))
    session_input = offline_session_input(b"\x01\x02\x03\x04", b"\x00\x05", bytes(4))
    block = np.frombuffer(session_input + b"\x80" + bytes(7), np.uint8)
    made = sm4_cbc_mac(np.frombuffer(key, np.uint8).reshape(1, -1), block.reshape(1, -1)).tobytes()
    assert SM4.session_key(key, session_input) == made
