"""PINs, authentication and keys of the card: every way to be wrong, and what it costs."""

from typing import Any

import pytest

from libs.keystore import KeyKind
from libs.purse import card_commands
from libs.purse.algorithms import TRIPLE_DES
from libs.purse.card import CJ, KeyUse, VirtualCard
from libs.purse.secure_messaging import protected_command

SELECT_CJ = "00A4040009A00000000386980701"
VERIFY = "0020000003123456"
WRONG_PIN = "0020000003999999"


def send(card: VirtualCard, command: str) -> str:
    return card.transmit(bytes.fromhex(command)).hex().upper()


@pytest.fixture
def card(city: Any) -> VirtualCard:
    card: VirtualCard = city.rich_card()
    send(card, SELECT_CJ)
    return card


def challenge(card: VirtualCard) -> bytes:
    return card.transmit(bytes.fromhex("0084000004"))[:4]


def lock_pin(card: VirtualCard) -> None:
    assert [send(card, WRONG_PIN) for _ in range(3)] == ["63C2", "63C1", "63C0"]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("0020000103123456", "6A88"),
        ("805E020005123FFF5678", "6A86"),
        ("805E010105123FFF5678", "6A88"),
        ("805E0100041234FF56", "6700"),
        ("805E01000E" + "12" * 14, "6700"),
        ("805E010006123456123456", "6A80"),  # no FF between the two
        ("805E01000512FF345678", "6A80"),  # an old PIN of one byte
        ("805E0100071234FF56FF7890", "6A80"),
        ("805E010007999999FF111111", "63C2"),
        ("805E00000512AABBCCDD", "6700"),
        ("805E0000065432AABBCCDD", "6988"),
        ("842400010C" + "00" * 12, "6A86"),
        ("842400000B" + "00" * 11, "6700"),
        ("842400000C" + "00" * 12, "6985"),  # the PIN is not locked
        ("00820100" + "08" + "00" * 8, "6A86"),
        ("0082000007" + "00" * 7, "6700"),
        ("0082000708" + "00" * 8, "6A88"),
        ("0082000008" + "00" * 8, "6984"),
        ("0088030008" + "00" * 8, "6A86"),
        ("0088000007" + "00" * 7, "6700"),
        ("0088000008" + "00" * 8, "9000"),
        ("0088000908" + "00" * 8, "6A88"),
        ("00880000", "6700"),
        ("84D40000041122334", "6700"),
        ("84D4FF000411223344", "6A86"),
        ("84D43E090411223344", "6A88"),
        ("84D43E010411223344", "6984"),
        ("80CA010009", "6A86"),
        ("80CA000008", "6C09"),
    ],
)
def test_each_wrong_use_has_its_status_word(card: VirtualCard, command: str, status: str) -> None:
    if len(command) % 2:
        command = command[:-1]
    answer = send(card, command)
    assert answer[-4:] == status


def test_a_changed_pin_replaces_the_old_one(card: VirtualCard) -> None:
    assert send(card, "805E010007123456FF654321") == "9000"
    assert send(card, VERIFY) == "63C2"
    assert send(card, "0020000003654321") == "9000"


def test_changing_a_pin_counts_wrong_old_ones_as_tries(card: VirtualCard) -> None:
    answers = [send(card, "805E010007999999FF111111") for _ in range(4)]
    assert answers == ["63C2", "63C1", "63C0", "6983"]
    assert send(card, VERIFY) == "6983"


def test_a_reloaded_pin_opens_a_locked_card(city: Any, card: VirtualCard) -> None:
    lock_pin(card)
    command = card_commands.reload_pin(
        city.store, city.handle(KeyKind.PIN_RELOAD), city.identity(), bytes.fromhex("654321")
    )
    assert card.transmit(command).hex() == "9000"
    assert send(card, "0020000003654321") == "9000"


def test_wrong_reloads_lock_the_reload_key_for_ever(city: Any, card: VirtualCard) -> None:
    wrong = "805E0000076543211AABBCC"[:-1] + "DD"
    assert [send(card, wrong) for _ in range(4)] == ["6988", "6988", "6988", "6983"]
    right = card_commands.reload_pin(city.store, city.handle(KeyKind.PIN_RELOAD), city.identity(), b"\x65\x43\x21")
    assert card.transmit(right).hex() == "6983"
    card.reset()
    send(card, SELECT_CJ)
    assert card.transmit(right).hex() == "6983"


def unblock(city: Any, card: VirtualCard, pin: bytes) -> str:
    handle = city.handle(KeyKind.PIN_UNBLOCK)
    return card.transmit(card_commands.unblock_pin(city.store, handle, city.identity(), challenge(card), pin)).hex()


def test_unblocking_restores_the_tries_of_the_pin_that_the_issuer_knows(city: Any, card: VirtualCard) -> None:
    lock_pin(card)
    assert unblock(city, card, bytes.fromhex("999999")) == "6a80", "another PIN than the reference"
    assert unblock(city, card, bytes.fromhex("123456")) == "9000"
    assert send(card, VERIFY) == "9000"


def test_three_wrong_unblocks_lock_the_unblock_key(city: Any, card: VirtualCard) -> None:
    lock_pin(card)
    assert [unblock(city, card, b"\x99\x99") for _ in range(4)] == ["6a80", "6a80", "6a80", "6983"]
    assert unblock(city, card, bytes.fromhex("123456")) == "6983"


def test_an_unblock_needs_a_challenge_and_asking_without_costs_no_try(city: Any, card: VirtualCard) -> None:
    lock_pin(card)
    for _ in range(5):
        assert send(card, "842400000C" + "00" * 12) == "6984"
    assert unblock(city, card, bytes.fromhex("123456")) == "9000"


def test_a_wrong_answer_to_the_challenge_costs_a_try_and_a_right_one_restores_all(city: Any, card: VirtualCard) -> None:
    wrong = "0082000008" + "00" * 8
    for status in ("63C2", "63C1"):
        challenge(card)
        assert send(card, wrong) == status
    handle = city.handle(KeyKind.EXTERNAL)
    right = card_commands.external_authenticate(city.store, handle, city.identity(), challenge(card))
    assert card.transmit(right).hex() == "9000"
    assert card.transmit(right).hex() == "6984", "the challenge is spent"
    for status in ("63C2", "63C1", "63C0"):
        challenge(card)
        assert send(card, wrong) == status
    challenge(card)
    assert send(card, wrong) == "6983"


def test_an_eight_byte_challenge_is_enciphered_whole(city: Any, card: VirtualCard) -> None:
    drawn = card.transmit(bytes.fromhex("0084000008"))[:8]
    handle = city.handle(KeyKind.EXTERNAL)
    command = card_commands.external_authenticate(city.store, handle, city.identity(), drawn)
    assert card.transmit(command).hex() == "9000"


def test_internal_authenticate_proves_the_card(city: Any, card: VirtualCard) -> None:
    key = card.application(CJ.aid).keys.others[(KeyUse.INTERNAL, 0)].key
    data = bytes(range(16))
    sealed = card.transmit(b"\x00\x88\x00\x00\x10" + data)[:-2]
    assert sealed == TRIPLE_DES.encrypt(key, data)
    assert card.transmit(b"\x00\x88\x01\x00\x10" + sealed)[:-2] == data
    assert card.transmit(b"\x00\x88\x02\x00\x03" + data[:3])[:-2] == TRIPLE_DES.command_mac(key, b"", data[:3])


def new_key(card: VirtualCard, use: int, index: int, key: bytes, *, version: int = 2, algorithm_id: int = 0) -> str:
    data = bytes((version, algorithm_id, 0, 0)) + key
    header = bytes((0x84, 0xD4, use, index))
    maintenance = card.application(CJ.aid).keys.maintenance
    command = protected_command(TRIPLE_DES, maintenance, challenge(card), header, data, encrypt=True)
    if len(key) == 16:
        assert command[4] == 0x1C, "the length that purse-crypto.md, section 5, gives"
    return card.transmit(command).hex()


def test_a_written_key_is_used_at_once(card: VirtualCard) -> None:
    key = bytes(range(16, 32))
    assert new_key(card, KeyUse.PURCHASE, 1, key) == "9000"
    keys = card.application(CJ.aid).keys
    assert (keys.purchase, keys.version) == (key, 2)
    assert new_key(card, KeyUse.MAINTENANCE, 1, key) == "9000"
    assert new_key(card, KeyUse.TAC, 1, bytes(16)) == "9000", "under the new maintenance key"
    assert new_key(card, KeyUse.LOAD, 1, bytes(16)) == "9000"
    assert new_key(card, KeyUse.EXTERNAL, 0, key) == "9000"
    assert card.application(CJ.aid).keys.others[(KeyUse.EXTERNAL, 0)].key == key


@pytest.mark.parametrize(("key", "algorithm_id"), [(bytes(15), 0), (bytes(8), 0), (b"", 0), (bytes(16), 4)], ids=str)
def test_a_key_of_a_wrong_shape_is_not_taken(card: VirtualCard, key: bytes, algorithm_id: int) -> None:
    before = card.application(CJ.aid).keys
    assert new_key(card, KeyUse.PURCHASE, 1, key, algorithm_id=algorithm_id) == "6a80"
    assert card.application(CJ.aid).keys == before


def test_the_card_and_its_module_agree_on_the_message_code(city: Any, card: VirtualCard) -> None:
    code = card.transmit(bytes.fromhex("80CA000009"))
    assert len(code) == 11
    sam = city.sam()
    assert sam.transmit(b"\x80\xca\x00\x00\x09" + code[:-2]).hex() == "9000"
    for position in range(9):
        forged = bytearray(code[:-2])
        forged[position] ^= 1
        assert sam.transmit(b"\x80\xca\x00\x00\x09" + bytes(forged)).hex() in ("9302", "9403")
    assert sam.transmit(b"\x80\xca\x00\x00\x08" + code[:8]).hex() == "6700"
    assert sam.transmit(b"\x80\xca\x01\x00\x09" + code[:9]).hex() == "6a86"


def test_a_card_without_a_code_says_so(city: Any) -> None:
    card = city.card()
    send(card, SELECT_CJ)
    assert send(card, "80CA000009") == "6A81"


def test_the_master_file_has_keys_and_a_state_of_its_own(city: Any, card: VirtualCard) -> None:
    assert send(card, "00A40000023F00").endswith("9000")
    handle = city.handle(KeyKind.EXTERNAL)
    command = card_commands.external_authenticate(city.store, handle, city.identity(), challenge(card))
    assert card.transmit(command).hex() == "9000"
    maintenance = city.handle(KeyKind.MAINTENANCE)
    issuing = bytes(range(40))
    update = card_commands.update_binary(city.store, maintenance, city.identity(), challenge(card), 0x05, 0, issuing)
    assert card.transmit(update).hex() == "9000"
    assert send(card, "00B0850000") == issuing.hex().upper() + "9000"
    assert send(card, "805C000204") == "6A81", "the master file is no purse"
