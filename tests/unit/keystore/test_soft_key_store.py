"""Keys by handle: which uses a kind allows, and which factors a rule applies."""

from typing import Any

import pytest

from libs.keystore import DerivationRules, Factor, KeyHandle, KeyKind, KeyUnknown, KeyUseForbidden, SoftKeyStore
from libs.purse.algorithms import TRIPLE_DES, AlgorithmUnknown
from libs.purse.scheme import CardIdentity, Scheme

ISSUER = bytes.fromhex("01019901FFFFFFFF")
MASTER = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
CJ_CARD = CardIdentity(Scheme.CJ, ISSUER, bytes.fromhex("00009901000000012345"))
JT_CARD = CardIdentity(Scheme.JT, ISSUER, bytes.fromhex("03109901000000012340"))


def a_handle(kind: KeyKind, scheme: Scheme = Scheme.CJ, version: int = 1, algorithm_id: int = 0) -> KeyHandle:
    return KeyHandle(scheme, ISSUER, kind, version, algorithm_id)


def a_store(kind: KeyKind, scheme: Scheme = Scheme.CJ, rules: DerivationRules | None = None) -> SoftKeyStore:
    return SoftKeyStore({a_handle(kind, scheme): MASTER}, rules)


def test_each_scheme_derives_purchase_keys_by_its_own_factors() -> None:
    # Results are those of the vectors cmp-div-cj-purchase and cmp-div-jt-purchase.
    cj, jt = a_store(KeyKind.PURCHASE), a_store(KeyKind.PURCHASE, Scheme.JT)
    assert cj.derive(a_handle(KeyKind.PURCHASE), CJ_CARD).hex() == "a9b9fdc27b970cfc5318b57bcce97de6"
    assert jt.derive(a_handle(KeyKind.PURCHASE, Scheme.JT), JT_CARD).hex() == "ed7d6fefc0e51c83496b572d75f680b6"


def test_an_issuer_may_derive_one_version_in_its_own_way() -> None:
    rules = DerivationRules({(Scheme.CJ, ISSUER, KeyKind.TAC, 1): (Factor.CITY, Factor.ISSUER, Factor.SERIAL)})
    own, usual = a_store(KeyKind.TAC, rules=rules), a_store(KeyKind.TAC)
    handle = a_handle(KeyKind.TAC)
    factors = [bytes.fromhex("9901FF0000000000"), ISSUER, CJ_CARD.serial]
    assert own.derive(handle, CJ_CARD) == TRIPLE_DES.diversify(MASTER, factors)
    assert own.derive(handle, CJ_CARD) != usual.derive(handle, CJ_CARD)
    assert (own.levels(handle), usual.levels(handle)) == (3, 1)


@pytest.mark.parametrize(
    ("version", "algorithm_id", "kind", "scheme"),
    [
        (2, 0, KeyKind.TAC, Scheme.CJ),
        (1, 4, KeyKind.TAC, Scheme.CJ),
        (1, 0, KeyKind.LOAD, Scheme.CJ),
        (1, 0, KeyKind.TAC, Scheme.JT),
    ],
)
def test_a_key_that_is_not_held_is_unknown(version: int, algorithm_id: int, kind: KeyKind, scheme: Scheme) -> None:
    with pytest.raises(KeyUnknown) as unknown:
        a_store(KeyKind.TAC).find(scheme, ISSUER, kind, version, algorithm_id)
    assert unknown.value.facts["key_version"] == str(version)
    assert unknown.value.facts["algorithm_id"] == f"{algorithm_id:02X}"


def operations(store: SoftKeyStore, handle: KeyHandle) -> dict[str, Any]:
    return {
        "session_mac": lambda: store.session_mac(handle, CJ_CARD, bytes(8), b"x"),
        "tac": lambda: store.tac(handle, CJ_CARD, b"x"),
        "command_mac": lambda: store.command_mac(handle, CJ_CARD, bytes(4), b"x"),
        "encipher": lambda: store.encipher(handle, CJ_CARD, b"x"),
        "cryptogram": lambda: store.cryptogram(handle, CJ_CARD, bytes(4)),
        "reload_mac": lambda: store.reload_mac(handle, CJ_CARD, b"x"),
    }


ALLOWED = {
    KeyKind.PURCHASE: {"session_mac"},
    KeyKind.LOAD: {"session_mac"},
    KeyKind.UNLOAD: {"session_mac"},
    KeyKind.TAC: {"tac"},
    KeyKind.MAINTENANCE: {"command_mac", "encipher"},
    KeyKind.LOCK: {"command_mac", "encipher"},
    KeyKind.PIN_UNBLOCK: {"command_mac", "encipher"},
    KeyKind.PIN_RELOAD: {"reload_mac"},
    KeyKind.OVERDRAFT: {"session_mac"},
    KeyKind.EXTERNAL: {"cryptogram"},
    KeyKind.INTERNAL: {"cryptogram"},
    KeyKind.MESSAGE: {"command_mac"},
}


@pytest.mark.parametrize("kind", list(KeyKind))
def test_a_key_does_only_what_its_kind_allows(kind: KeyKind) -> None:
    for name, operation in operations(a_store(kind), a_handle(kind)).items():
        if name in ALLOWED[kind]:
            assert operation()
        else:
            with pytest.raises(KeyUseForbidden):
                operation()


def test_a_key_of_an_unknown_algorithm_is_not_taken() -> None:
    with pytest.raises(AlgorithmUnknown):
        SoftKeyStore({a_handle(KeyKind.TAC, algorithm_id=9): MASTER})


def test_a_check_value_is_three_bytes_and_tells_keys_apart() -> None:
    store = SoftKeyStore({a_handle(KeyKind.TAC): MASTER, a_handle(KeyKind.LOAD): MASTER[::-1]})
    values = {store.check_value(handle) for handle in store.handles()}
    assert len(values) == 2
    assert all(len(value) == 3 for value in values)


def test_a_label_survives_the_way_there_and_back() -> None:
    handle = a_handle(KeyKind.PIN_RELOAD, Scheme.JT, version=0xAB, algorithm_id=4)
    assert handle.label == "jt.01019901ffffffff.pin-reload.ab.04"
    assert KeyHandle.from_label(handle.label) == handle
    with pytest.raises(ValueError):
        KeyHandle.from_label("cj.tac")
