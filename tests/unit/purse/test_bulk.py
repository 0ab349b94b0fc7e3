"""Columns of TACs against the plain loop, which stays the oracle."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.keystore import KeyKind, KeyUnknown, SoftKeyStore
from libs.purse import bulk, crypto
from libs.purse.bulk_des import BLOCK_ROWS, des_cbc_mac
from libs.purse.bulk_sm4 import sm4_cbc_mac
from libs.purse.host import TacWrong, check_purchase_tac
from libs.purse.scheme import CardIdentity, Scheme

Bytes2D = npt.NDArray[np.uint8]


def rows(rng: np.random.Generator, count: int, width: int) -> Bytes2D:
    return rng.integers(0, 256, (count, width), dtype=np.uint8)


def a_day(rng: np.random.Generator, count: int, cards: int) -> tuple[Bytes2D, Bytes2D, Bytes2D, Bytes2D]:
    """Card numbers, key versions, algorithms and TAC data of some taps."""
    serials = rng.integers(0, 100_000_000, cards)
    numbers = np.array([list(bytes.fromhex(f"00009901{serial:012d}")) for serial in serials], np.uint8)
    of = rng.integers(0, cards, count)
    versions = rng.integers(1, 3, cards, dtype=np.uint8)[of]
    algorithms = rng.choice(np.array([0, 4], np.uint8), cards)[of]
    return numbers[of], versions, algorithms, rows(rng, count, 22)


@pytest.mark.parametrize("count", [0, 1, 2, 63, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1])
def test_des_columns_equal_single_macs_at_every_block_boundary(count: int) -> None:
    rng = np.random.default_rng(count)
    keys, blocks = rows(rng, count, 8), rows(rng, count, 24)
    got = des_cbc_mac(keys, blocks)
    assert got.shape == (count, 8)
    for row in {0, count // 2, count - 1} if count else ():
        chained = bytes(8)
        for at in range(0, 24, 8):
            chained = crypto.des_encrypt(keys[row].tobytes(), crypto.xor8(chained, blocks[row, at : at + 8].tobytes()))
        assert got[row].tobytes() == chained


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=40).filter(lambda data: len(data) % 8 == 0))
def test_any_des_key_and_message_gives_the_mac_of_the_library(key: bytes, padded: bytes) -> None:
    keys = np.frombuffer(key, np.uint8).reshape(1, 8)
    blocks = np.frombuffer(padded, np.uint8).reshape(1, -1)
    state = bytes(8)
    for at in range(0, len(padded), 8):
        state = crypto.des_encrypt(key, crypto.xor8(state, padded[at : at + 8]))
    assert des_cbc_mac(keys, blocks).tobytes() == state


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=16, max_size=16), st.binary(max_size=50))
def test_any_sm4_key_and_message_gives_the_mac_of_the_library(key: bytes, message: bytes) -> None:
    padded = np.frombuffer(crypto.pad(message, 16), np.uint8).reshape(1, -1)
    got = sm4_cbc_mac(np.frombuffer(key, np.uint8).reshape(1, 16), padded)
    assert got[:, :4].tobytes() == crypto.sm4_mac(key, message)


def test_a_mixed_day_is_judged_like_the_plain_loop(city: Any) -> None:
    rng = np.random.default_rng(7)
    count = 6000
    numbers, versions, algorithms, data = a_day(rng, count, cards=1200)
    tacs = bulk.bulk_tac(city.store, Scheme.CJ, city.issuer, numbers, versions, algorithms, data)
    wrong = rng.random(count) < 0.01
    tacs[wrong, rng.integers(0, 4)] ^= np.uint8(1 << int(rng.integers(0, 8)))
    verdict = bulk.verify_tacs(city.store, Scheme.CJ, city.issuer, numbers, versions, algorithms, data, tacs)
    assert (verdict == ~wrong).all()
    for row in range(count):
        identity = CardIdentity(Scheme.CJ, city.issuer, numbers[row].tobytes())
        signed = data[row].tobytes()
        try:
            check_purchase_tac(
                city.store,
                identity,
                key_version=int(versions[row]),
                algorithm_id=int(algorithms[row]),
                amount_fen=int.from_bytes(signed[:4], "big"),
                tti=signed[4],
                terminal=signed[5:11],
                sequence=int.from_bytes(signed[11:15], "big"),
                stamp=signed[15:],
                tac=tacs[row].tobytes(),
            )
            plain = True
        except TacWrong:
            plain = False
        assert verdict[row] == plain


@pytest.mark.parametrize("column", range(22))
def test_a_changed_bit_in_any_signed_byte_breaks_the_tac(city: Any, column: int) -> None:
    rng = np.random.default_rng(column)
    numbers, versions, algorithms, data = a_day(rng, 16, cards=16)
    args = (city.store, Scheme.CJ, city.issuer, numbers, versions, algorithms)
    tacs = bulk.bulk_tac(*args, data)
    data[:, column] ^= np.uint8(1) << np.arange(16, dtype=np.uint8) % 8
    assert not bulk.verify_tacs(*args, data, tacs).any()


def test_another_card_number_breaks_the_tac(city: Any) -> None:
    rng = np.random.default_rng(1)
    numbers, versions, algorithms, data = a_day(rng, 50, cards=50)
    tacs = bulk.bulk_tac(city.store, Scheme.CJ, city.issuer, numbers, versions, algorithms, data)
    numbers[:, 9] ^= 1
    verdict = bulk.verify_tacs(city.store, Scheme.CJ, city.issuer, numbers, versions, algorithms, data, tacs)
    assert not verdict.any()


def test_the_eight_byte_factor_serves_as_well_as_the_whole_number(city: Any) -> None:
    rng = np.random.default_rng(2)
    numbers, versions, algorithms, data = a_day(rng, 20, cards=20)
    whole = bulk.bulk_tac(city.store, Scheme.CJ, city.issuer, numbers, versions, algorithms, data)
    part = bulk.bulk_tac(city.store, Scheme.CJ, city.issuer, numbers[:, 2:], versions, algorithms, data)
    assert (whole == part).all()


def test_unknown_keys_are_told_from_wrong_tacs(city: Any) -> None:
    rng = np.random.default_rng(3)
    numbers, versions, algorithms, data = a_day(rng, 6, cards=6)
    tacs = bulk.bulk_tac(city.store, Scheme.CJ, city.issuer, numbers, versions, algorithms, data)
    versions[0], algorithms[1] = 9, 7
    known = bulk.keys_known(city.store, Scheme.CJ, city.issuer, versions, algorithms)
    assert known.tolist() == [False, False, True, True, True, True]
    verdict = bulk.verify_tacs(city.store, Scheme.CJ, city.issuer, numbers, versions, algorithms, data, tacs)
    assert (verdict == known).all()
    with pytest.raises(KeyUnknown):
        bulk.bulk_tac(city.store, Scheme.CJ, city.issuer, numbers, versions, algorithms, data)


def test_no_records_are_no_work(city: Any) -> None:
    empty = np.empty((0, 10), np.uint8)
    none = np.empty(0, np.uint8)
    data, tacs = np.empty((0, 22), np.uint8), np.empty((0, 4), np.uint8)
    assert bulk.bulk_tac(city.store, Scheme.JT, city.issuer, empty, none, none, data).shape == (0, 4)
    assert bulk.verify_tacs(city.store, Scheme.JT, city.issuer, empty, none, none, data, tacs).shape == (0,)


@pytest.mark.parametrize("scheme", list(Scheme))
@pytest.mark.parametrize("kind", [kind for kind in KeyKind if kind is not KeyKind.MESSAGE])
@pytest.mark.parametrize("algorithm_id", [0, 4])
def test_bulk_diversification_equals_single_derivation(
    city: Any, scheme: Scheme, kind: KeyKind, algorithm_id: int
) -> None:
    store: SoftKeyStore = city.store
    handle = store.find(scheme, city.issuer, kind, 1, algorithm_id)
    serials = [bytes.fromhex(text) for text in ("9901000000012345", "2000000000000001", "9901000000012346")]
    factors = np.frombuffer(b"".join(serials), np.uint8).reshape(-1, 8)
    single = [store.derive(handle, CardIdentity(scheme, city.issuer, bytes(2) + serial)) for serial in serials]
    assert store.bulk_diversify(handle, factors).tobytes() == b"".join(single)
