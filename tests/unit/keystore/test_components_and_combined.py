"""Dual control and stores side by side: what two people type in, and who holds which key."""

from pathlib import Path

import pytest

from libs.keystore import (
    CheckValueWrong,
    CombinedKeyStore,
    Component,
    ComponentMalformed,
    KeyExists,
    KeyFileUnreadable,
    KeyHandle,
    KeyKind,
    KeyUnknown,
    PublicKeyRefused,
    SealedKeyStore,
    Secret,
    SoftKeyStore,
    add_key,
    combine,
    seal,
)
from libs.keystore.components import key_check_value
from libs.purse.scheme import CardIdentity, Scheme

ISSUER = bytes.fromhex("01019901FFFFFFFF")
ONE, TWO = Component.from_text("0F1E2D3C 4B5A6978 8796A5B4 C3D2E1F0"), Component(bytes(range(3, 19)))
KEY = bytes(a ^ b for a, b in zip(ONE.value, TWO.value, strict=True))
TAC = KeyHandle(Scheme.CJ, ISSUER, KeyKind.TAC, 1, 0)
LOAD = KeyHandle(Scheme.CJ, ISSUER, KeyKind.LOAD, 1, 0)
UNLOCK = Secret(bytes(range(32)))


@pytest.mark.parametrize("text", ["", "00", "0F1E2D3C4B5A69788796A5B4C3D2E1F", "zz" * 16, "00" * 17])
def test_what_is_no_component_is_not_repeated_in_the_error(text: str) -> None:
    with pytest.raises(ComponentMalformed) as refused:
        Component.from_text(text)
    assert text == "" or text not in str(refused.value)


@pytest.mark.parametrize("algorithm_id", [0, 4])
def test_two_components_make_the_key_that_was_announced(algorithm_id: int) -> None:
    announced = key_check_value(KEY, algorithm_id)
    assert combine([ONE, TWO], algorithm_id, announced) == KEY
    assert combine([TWO, ONE], algorithm_id, announced) == KEY
    assert len(announced) == len(ONE.check_value(algorithm_id)) == 3


def test_a_mistyped_component_is_noticed_and_no_key_is_shown() -> None:
    mistyped = Component(bytes((TWO.value[0] ^ 2,)) + TWO.value[1:])
    with pytest.raises(CheckValueWrong) as wrong:
        combine([ONE, mistyped], 0, key_check_value(KEY, 0))
    assert KEY.hex() not in str(wrong.value).lower()


def test_one_person_is_not_enough_and_twice_the_same_is_no_key() -> None:
    with pytest.raises(ComponentMalformed):
        combine([ONE], 0, ONE.check_value(0))
    with pytest.raises(ComponentMalformed):
        combine([ONE, ONE], 0, key_check_value(bytes(16), 0))


def test_three_people_may_share_a_key() -> None:
    third = Component(bytes(range(50, 66)))
    whole = bytes(a ^ b for a, b in zip(KEY, third.value, strict=True))
    assert combine([ONE, TWO, third], 0, key_check_value(whole, 0)) == whole


def test_a_component_does_not_show_itself() -> None:
    assert ONE.value.hex() not in repr(ONE).lower()
    assert repr(ONE.value) not in repr(ONE)


def test_a_key_is_added_to_a_sealed_file_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    add_key(path, UNLOCK, TAC, KEY)
    add_key(path, UNLOCK, LOAD, KEY[::-1])
    store = SealedKeyStore.open(path, UNLOCK)
    assert store.handles() == tuple(sorted((TAC, LOAD)))
    assert store.check_value(TAC) == key_check_value(KEY, 0)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_replaced_in_a_sealed_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    add_key(path, UNLOCK, TAC, KEY)
    with pytest.raises(KeyExists):
        add_key(path, UNLOCK, TAC, KEY[::-1])
    assert SealedKeyStore.open(path, UNLOCK).check_value(TAC) == key_check_value(KEY, 0)


def test_adding_needs_what_opens_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    add_key(path, UNLOCK, TAC, KEY)
    before = path.read_bytes()
    with pytest.raises(KeyFileUnreadable):
        add_key(path, Secret(bytes(32)), LOAD, KEY)
    assert path.read_bytes() == before


def test_a_public_key_is_added_to_test_files_only(tmp_path: Path) -> None:
    public = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    with pytest.raises(PublicKeyRefused):
        add_key(tmp_path / "keys", UNLOCK, TAC, public)
    seal(tmp_path / "test", UNLOCK, {}, test=True)
    add_key(tmp_path / "test", UNLOCK, TAC, public)
    assert SealedKeyStore.open(tmp_path / "test", UNLOCK, deployment="test").handles() == (TAC,)


def test_the_first_store_that_holds_a_key_uses_it() -> None:
    card = CardIdentity(Scheme.CJ, ISSUER, bytes.fromhex("00009901000000012345"))
    first, second = SoftKeyStore({TAC: KEY}), SoftKeyStore({TAC: KEY[::-1], LOAD: KEY})
    both = CombinedKeyStore([first, second])
    assert both.handles() == tuple(sorted((TAC, LOAD)))
    assert both.tac(TAC, card, b"x") == first.tac(TAC, card, b"x") != second.tac(TAC, card, b"x")
    assert both.session_mac(LOAD, card, bytes(8), b"x") == second.session_mac(LOAD, card, bytes(8), b"x")
    assert both.check_value(TAC) == first.check_value(TAC)
    assert both.derive(LOAD, card) == second.derive(LOAD, card)


def test_a_key_that_no_store_holds_is_unknown() -> None:
    both = CombinedKeyStore([SoftKeyStore({TAC: KEY})])
    with pytest.raises(KeyUnknown):
        both.find(Scheme.CJ, ISSUER, KeyKind.LOAD, 1, 0)
    with pytest.raises(KeyUnknown):
        both.check_value(LOAD)
