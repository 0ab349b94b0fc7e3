"""Keys in SoftHSM2 against the same keys in memory: equal to the byte, and what must not come out does not."""

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from libs.keystore import (
    CombinedKeyStore,
    Component,
    DerivationRules,
    DeviceKeyStore,
    Factor,
    KeyAlgorithmUnsupported,
    KeyDeviceLocked,
    KeyDeviceUnavailable,
    KeyExists,
    KeyHandle,
    KeyKind,
    KeyUnknown,
    KeyUseForbidden,
    PublicKeyRefused,
    SoftKeyStore,
    combine,
)
from libs.keystore.components import key_check_value
from libs.keystore.dev import demo_keys
from libs.purse import bulk, host, inspect, outlet, terminal
from libs.purse.card import CJ, JT, PROFILES, card_keys, personalise
from libs.purse.sam import issue_sam
from libs.purse.scheme import CardIdentity, Scheme
from libs.purse.sequence import MemorySequence
from libs.purse.transactions import purchase_tac_data
from tests.integration.hsm.conftest import PIN, Token

ISSUER = bytes.fromhex("01019901FFFFFFFF")
TERMINAL = bytes.fromhex("990100000001")
AT = datetime(2025, 1, 2, 0, 9, 10, tzinfo=UTC)
CARDS = {
    Scheme.CJ: CardIdentity(Scheme.CJ, ISSUER, bytes.fromhex("00009901000000012345")),
    Scheme.JT: CardIdentity(Scheme.JT, ISSUER, bytes.fromhex("03109901000000012340")),
}
KEYS = demo_keys("hsm", [(scheme, ISSUER) for scheme in Scheme], algorithm_ids=(0,))
# Derived in three levels, two of them inside the device before the card's.
RULES = DerivationRules({(Scheme.CJ, ISSUER, KeyKind.LOAD, 1): (Factor.CITY, Factor.ISSUER, Factor.SERIAL)})
STAYS = KeyHandle(Scheme.CJ, ISSUER, KeyKind.PURCHASE, 9, 0)


@pytest.fixture(scope="module")
def soft() -> SoftKeyStore:
    return SoftKeyStore(KEYS, RULES, exportable=True)


@pytest.fixture(scope="module")
def device(token: Token) -> DeviceKeyStore:
    store = DeviceKeyStore(*token, rules=RULES, deployment="test")
    for handle, key in KEYS.items():
        store.load(handle, key, card_keys_leave=True)
    store.load(STAYS, bytes(range(16)))
    return store


def a_handle(kind: KeyKind, scheme: Scheme = Scheme.CJ) -> KeyHandle:
    return KeyHandle(scheme, ISSUER, kind, 1, 0)


def outcome(act: Any) -> object:
    try:
        return act()
    except KeyUseForbidden:
        return KeyUseForbidden


def operations(store: Any, handle: KeyHandle, card: CardIdentity) -> dict[str, object]:
    """Every operation of the port, also the forbidden ones; several lengths, one to four blocks."""
    data = bytes(range(60))
    return {
        "find": outcome(lambda: store.find(handle.scheme, ISSUER, handle.kind, 1, 0)),
        "check_value": outcome(lambda: store.check_value(handle)),
        **{
            f"{name} {size}": outcome(lambda act=act, size=size: act(data[:size]))
            for size in (1, 7, 8, 18, 24)
            for name, act in {
                "session_mac": lambda said: store.session_mac(handle, card, bytes(range(8)), said),
                "tac": lambda said: store.tac(handle, card, said),
                "encipher": lambda said: store.encipher(handle, card, said),
                "reload_mac": lambda said: store.reload_mac(handle, card, said),
            }.items()
        },
        "command_mac short": outcome(lambda: store.command_mac(handle, card, b"", data[:5])),
        "cryptogram 4": outcome(lambda: store.cryptogram(handle, card, data[:4])),
        "cryptogram 8": outcome(lambda: store.cryptogram(handle, card, data[:8])),
        "derive": outcome(lambda: store.derive(handle, card)),
    }


@pytest.mark.parametrize("scheme", list(Scheme))
@pytest.mark.parametrize("kind", list(KeyKind))
def test_the_device_answers_as_the_memory_does(
    device: DeviceKeyStore, soft: SoftKeyStore, kind: KeyKind, scheme: Scheme
) -> None:
    handle, card = a_handle(kind, scheme), CARDS[scheme]
    assert operations(device, handle, card) == operations(soft, handle, card)


@pytest.mark.parametrize("size", [1, 8, 16, 40])
@pytest.mark.parametrize("kind", [KeyKind.MAINTENANCE, KeyKind.LOCK, KeyKind.PIN_UNBLOCK])
def test_command_macs_of_any_length_are_equal(
    device: DeviceKeyStore, soft: SoftKeyStore, kind: KeyKind, size: int
) -> None:
    said = (a_handle(kind), CARDS[Scheme.CJ], bytes(range(4)), bytes(range(size)))
    assert device.command_mac(*said) == soft.command_mac(*said)


@pytest.mark.parametrize("kind", [KeyKind.TAC, KeyKind.PURCHASE, KeyKind.LOAD])
@pytest.mark.parametrize("scheme", list(Scheme))
def test_columns_of_card_keys_are_equal(
    device: DeviceKeyStore, soft: SoftKeyStore, kind: KeyKind, scheme: Scheme
) -> None:
    factors = np.random.default_rng(5).integers(0, 256, (5000, 8), np.uint8)
    factors[:, :2] = [[0x99, 0x01], [0x10, 0x00]] * 2500
    handle = a_handle(kind, scheme)
    assert np.array_equal(device.bulk_diversify(handle, factors), soft.bulk_diversify(handle, factors))


def test_clearing_verifies_tacs_with_the_device(device: DeviceKeyStore, soft: SoftKeyStore) -> None:
    rows = 200
    numbers = np.frombuffer(CARDS[Scheme.CJ].number * rows, np.uint8).reshape(rows, 10)
    stamp = bytes.fromhex("20250102080910")
    data = [purchase_tac_data(at.to_bytes(4, "big"), 6, TERMINAL, bytes(4), stamp) for at in range(rows)]
    tacs = np.array([list(soft.tac(a_handle(KeyKind.TAC), CARDS[Scheme.CJ], said)) for said in data], np.uint8)
    tacs[7, 0] ^= 1
    right = bulk.verify_tacs(
        device,
        Scheme.CJ,
        ISSUER,
        numbers,
        np.ones(rows, np.uint8),
        np.zeros(rows, np.uint8),
        np.array([list(said) for said in data], np.uint8),
        tacs,
    )
    assert np.flatnonzero(~right).tolist() == [7]


@pytest.mark.parametrize("scheme", list(Scheme))
def test_a_whole_load_and_purchase_with_the_centre_in_the_device(
    device: DeviceKeyStore, soft: SoftKeyStore, scheme: Scheme
) -> None:
    card, aid = CARDS[scheme], PROFILES[scheme].aid
    chip = personalise(PROFILES[scheme], card.number, card_keys(device, card), issuer=ISSUER)
    view = inspect.select(chip, aid)
    assert view is not None
    terms = host.LoadTerms(1000, TERMINAL)
    answer = host.AnswerA.parse(outlet.initialise_load(chip, 1000, terminal=TERMINAL))
    host.check_load_mac1(device, card, answer, terms)
    tac = outlet.credit_for_load(chip, AT, host.make_load_mac2(device, card, answer, terms, AT))
    host.check_load_tac(device, card, answer, terms, AT, tac)
    sam = issue_sam(soft, scheme, ISSUER, TERMINAL, MemorySequence())
    done = terminal.purchase(chip, sam, view, 200, terminal=TERMINAL, at=AT, journal=lambda _: None)
    assert done.sam_agreed
    host.check_purchase_tac(
        device,
        card,
        key_version=1,
        algorithm_id=0,
        amount_fen=200,
        tti=6,
        terminal=TERMINAL,
        sequence=done.sequence,
        stamp=done.stamp,
        tac=done.tac,
    )
    assert {CJ.aid, JT.aid} >= {aid}


def test_a_master_key_cannot_be_read(device: DeviceKeyStore, token: Token) -> None:
    import pkcs11

    library = pkcs11.lib(str(token.module))
    with library.get_token(token_label=token.label).open() as session:
        keys = list(session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY}))
        assert len(keys) == len(KEYS) + 1
        for key in keys:
            assert key[pkcs11.Attribute.SENSITIVE]
            assert not key[pkcs11.Attribute.EXTRACTABLE]
            with pytest.raises(pkcs11.exceptions.AttributeSensitive):
                key[pkcs11.Attribute.VALUE]


def test_derived_keys_do_not_stay_in_the_device(device: DeviceKeyStore, token: Token) -> None:
    import pkcs11

    for _ in range(3):
        device.session_mac(a_handle(KeyKind.LOAD), CARDS[Scheme.CJ], bytes(8), b"x")
        device.command_mac(a_handle(KeyKind.LOCK), CARDS[Scheme.CJ], bytes(4), bytes(30))
    library = pkcs11.lib(str(token.module))
    with library.get_token(token_label=token.label).open() as session:
        assert len(list(session.get_objects({}))) == len(KEYS) + 1


def test_card_keys_leave_only_where_the_master_was_loaded_for_it(device: DeviceKeyStore) -> None:
    assert len(device.session_mac(STAYS, CARDS[Scheme.CJ], bytes(8), b"x")) == 4
    with pytest.raises(KeyUseForbidden):
        device.derive(STAYS, CARDS[Scheme.CJ])
    with pytest.raises(KeyUseForbidden):
        device.bulk_diversify(STAYS, np.zeros((2, 8), np.uint8))


def test_keys_survive_logging_out(device: DeviceKeyStore) -> None:
    before = device.handles()
    device.close()
    assert device.handles() == before
    assert len(before) == len(KEYS) + 1


def test_a_second_store_sees_the_same_keys(device: DeviceKeyStore, token: Token) -> None:
    other = DeviceKeyStore(*token)
    assert other.handles() == device.handles()


def test_a_key_is_never_replaced(device: DeviceKeyStore) -> None:
    with pytest.raises(KeyExists):
        device.load(a_handle(KeyKind.TAC), bytes(range(1, 17)))


def test_an_unknown_key_is_named(device: DeviceKeyStore) -> None:
    with pytest.raises(KeyUnknown):
        device.find(Scheme.CJ, ISSUER, KeyKind.TAC, 77, 0)
    with pytest.raises(KeyUnknown):
        device.check_value(KeyHandle(Scheme.CJ, ISSUER, KeyKind.TAC, 77, 0))


def test_public_keys_are_refused_in_production(softhsm: Path) -> None:
    store = DeviceKeyStore(softhsm, "empty", PIN)
    handle = KeyHandle(Scheme.CJ, ISSUER, KeyKind.TAC, 1, 0)
    for key in (bytes(16), bytes.fromhex("00112233445566778899AABBCCDDEEFF")):
        with pytest.raises(PublicKeyRefused):
            store.load(handle, key)
    assert store.handles() == ()


def test_an_sm4_key_lives_in_a_file_beside_the_device(device: DeviceKeyStore) -> None:
    handle = KeyHandle(Scheme.CJ, ISSUER, KeyKind.TAC, 1, 4)
    with pytest.raises(KeyAlgorithmUnsupported):
        device.load(handle, bytes(range(16)))
    beside = SoftKeyStore({handle: bytes(range(16)), a_handle(KeyKind.TAC): bytes(16)})
    both = CombinedKeyStore([device, beside])
    card = CARDS[Scheme.CJ]
    assert both.tac(handle, card, b"x") == beside.tac(handle, card, b"x")
    assert both.tac(a_handle(KeyKind.TAC), card, b"x") == device.tac(a_handle(KeyKind.TAC), card, b"x")
    assert len(both.handles()) == len(device.handles()) + 1


def test_a_key_of_two_components_goes_into_the_device(softhsm: Path) -> None:
    store = DeviceKeyStore(softhsm, "shared", PIN)
    components = [Component(bytes(range(16))), Component(bytes(range(100, 116)))]
    key = bytes(a ^ b for a, b in zip(components[0].value, components[1].value, strict=True))
    handle = KeyHandle(Scheme.JT, ISSUER, KeyKind.LOAD, 1, 0)
    store.load(handle, combine(components, 0, key_check_value(key, 0)))
    assert store.check_value(handle) == key_check_value(key, 0)


def test_a_wrong_pin_opens_nothing(softhsm: Path) -> None:
    with pytest.raises(KeyDeviceLocked):
        DeviceKeyStore(softhsm, "wrong-pin", b"000000")


def test_a_token_that_is_not_there_is_unavailable(softhsm: Path) -> None:
    with pytest.raises(KeyDeviceUnavailable):
        DeviceKeyStore(softhsm, "no such token", PIN)


def test_a_library_that_is_none_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(KeyDeviceUnavailable):
        DeviceKeyStore(tmp_path / "no.so", "citycard", PIN)


def test_a_session_that_died_is_opened_anew(device: DeviceKeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    device.handles()
    device._session.close()
    with pytest.raises(KeyDeviceUnavailable):
        device.session_mac(a_handle(KeyKind.LOAD), CARDS[Scheme.CJ], bytes(8), b"x")
    assert len(device.session_mac(a_handle(KeyKind.LOAD), CARDS[Scheme.CJ], bytes(8), b"x")) == 4


def test_many_threads_share_one_session(device: DeviceKeyStore, soft: SoftKeyStore) -> None:
    expected = soft.session_mac(a_handle(KeyKind.LOAD), CARDS[Scheme.CJ], bytes(8), b"x")
    found: list[bytes] = []

    def work() -> None:
        for _ in range(10):
            found.append(device.session_mac(a_handle(KeyKind.LOAD), CARDS[Scheme.CJ], bytes(8), b"x"))

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 50


def test_nothing_it_says_holds_a_key_or_the_pin(device: DeviceKeyStore) -> None:
    assert repr(device) == f"DeviceKeyStore(citycard, {len(KEYS) + 1} keys)"
    with pytest.raises(TypeError):
        __import__("pickle").dumps(device)
