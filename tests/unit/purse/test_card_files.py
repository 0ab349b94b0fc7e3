"""Files of every structure and protection, as a scenic spot's own application has them."""

from typing import Any

import pytest

from libs.keystore import KeyKind
from libs.purse import card_commands
from libs.purse.algorithms import SM4, TRIPLE_DES, algorithm
from libs.purse.card import VirtualCard
from libs.purse.secure_messaging import deciphered

PARK_AID = "D156000001504152"


def send(card: VirtualCard, command: str) -> str:
    return card.transmit(bytes.fromhex(command)).hex().upper()


@pytest.fixture(params=[0, 4], ids=["3des", "sm4"])
def algorithm_id(request: Any) -> int:
    return int(request.param)


@pytest.fixture
def card(city: Any, algorithm_id: int) -> VirtualCard:
    card: VirtualCard = city.rich_card(algorithm_id=algorithm_id)
    assert send(card, "00A4040008" + PARK_AID) == "6F12 8408 D156000001504152 A506 5004 5041524B 9000".replace(" ", "")
    return card


class Issuer:
    """Makes protected commands for the card under test."""

    def __init__(self, city: Any, card: VirtualCard, algorithm_id: int) -> None:
        self.city, self.card, self.algorithm_id = city, card, algorithm_id
        self.handle = city.handle(KeyKind.MAINTENANCE, algorithm_id=algorithm_id)

    def send(self, header: str, data: bytes = b"", *, encrypt: bool = False, le: int | None = None) -> str:
        challenge = self.card.transmit(bytes.fromhex("0084000004"))[:4]
        command = card_commands.protected(
            self.city.store,
            self.handle,
            self.city.identity(),
            challenge,
            bytes.fromhex(header),
            data,
            encrypt=encrypt,
            le=le,
        )
        self.challenge = challenge
        return self.card.transmit(command).hex().upper()


@pytest.fixture
def issuer(city: Any, card: VirtualCard, algorithm_id: int) -> Issuer:
    return Issuer(city, card, algorithm_id)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("04D6830001FF", "6900"),  # a free file wants no MAC
        ("00D6840001FF", "6987"),
        ("00D6860001FF", "6987"),
        ("00B0840010", "6987"),
        ("04B084000411223344", "6984"),
        ("04B0840003112233", "6700"),
        ("00B0830009", "6C08"),
        ("00B0870001", "6981"),  # records are not read as bytes
        ("00B2010C08", "6A82"),
        ("00B2011C08", "6981"),
        ("00B2013C05", "6C04"),
        ("00B2023C04", "6A83"),
        ("00B201040A", "6985"),  # no current file
        ("00B2013D04", "6A86"),
        ("00DC013C03112233", "6700"),
        ("00DC023C0411223344", "6A83"),
        ("00DC011C0411223344", "6981"),
        ("00E2001C0411223344", "6981"),
        ("00E2013C0411223344", "6A86"),
        ("00E2003C03112233", "6700"),
        ("00E200440411223344", "6987"),
        ("00E200EC0411223344", "6A82"),
        ("00B08A0004", "6982"),
        ("00D68A000411223344", "6982"),
        ("00D683000911223344556677889A", "6B00"),
        ("00D68308" + "01FF", "6B00"),
        ("00B0000001", "6985"),
        ("00A40000020000", "9000"),  # the key file is there,
        ("00B2010004", "6985"),  # and a record command finds nothing current
    ],
)
def test_each_wrong_use_of_a_file_has_its_status_word(card: VirtualCard, command: str, status: str) -> None:
    assert send(card, command) == status


def test_nothing_reads_the_key_file(card: VirtualCard) -> None:
    assert send(card, "00A40000020000") == "9000"
    assert send(card, "00B0000010") == "6981"
    assert send(card, "00D6000001FF") == "6981"
    assert send(card, "00B2010410") == "6981"


def test_a_selected_file_is_the_current_one(card: VirtualCard) -> None:
    assert send(card, "00A40000020003") == "9000"
    assert send(card, "00D600040155") == "9000"
    assert send(card, "00B0000306") == "6C05"
    assert send(card, "00B0000305") == "00550000009000"


def test_a_current_record_file_is_addressed_by_sfi_zero(card: VirtualCard) -> None:
    send(card, "00A40000020007")
    assert send(card, "00DC010404AABBCCDD") == "9000"
    assert send(card, "00B2010404") == "AABBCCDD9000"


def test_a_fixed_file_grows_to_its_count_and_no_further(card: VirtualCard) -> None:
    assert send(card, "00E2003C0401010101") == "9000"
    assert send(card, "00E2003C0402020202") == "9000"
    assert send(card, "00E2003C0403030303") == "6A84"
    assert [send(card, f"00B2{number:02X}3C04") for number in (1, 2, 3)] == [
        "000000009000",
        "010101019000",
        "020202029000",
    ]


def test_a_cyclic_file_forgets_its_oldest_record(card: VirtualCard) -> None:
    for value in range(1, 6):
        assert send(card, f"00E2004C04{value:02X}000000") == "9000"
    assert [send(card, f"00B2{number:02X}4C04")[:2] for number in (1, 2, 3)] == ["05", "04", "03"]
    assert send(card, "00B2044C04") == "6A83"
    assert send(card, "00DC024C0499999999") == "9000"
    assert [send(card, f"00B2{number:02X}4C04")[:2] for number in (1, 2, 3)] == ["05", "99", "03"]


def test_a_variable_file_takes_records_while_there_is_room(issuer: Issuer, card: VirtualCard) -> None:
    assert issuer.send("04E20044", bytes.fromhex("0206112233445566")) == "9000"
    assert issuer.send("04E20044", b"\x03") == "6A84"
    assert send(card, "00B2020008") == "6985"
    assert send(card, "00B2024000") == "02061122334455669000", "by identifier"
    assert send(card, "00B2024408") == "02061122334455669000", "by number"
    assert issuer.send("04DC0244", bytes.fromhex("0306112233445566")) == "6A80", "the identifier stays"
    assert issuer.send("04DC0240", bytes.fromhex("0206665544332211")) == "9000"
    assert send(card, "00B2024408") == "02066655443322119000"


def test_an_empty_record_is_no_record(issuer: Issuer) -> None:
    assert issuer.send("04E20044") == "6700"


def test_a_protected_answer_carries_a_mac_of_its_own(issuer: Issuer, city: Any, algorithm_id: int) -> None:
    answer = bytes.fromhex(issuer.send("04B08402", le=4))
    assert answer[:4].hex() == "02030405"
    key = city.whole_keys(algorithm_id=algorithm_id).maintenance
    assert answer[4:8] == algorithm(algorithm_id).command_mac(key, issuer.challenge, answer[:4])
    assert answer[8:].hex() == "9000"


def test_a_wrong_mac_reads_nothing(issuer: Issuer, card: VirtualCard) -> None:
    send(card, "0084000004")
    assert send(card, "04B08402041122334404") == "6988"


def test_an_enciphered_file_is_enciphered_both_ways(issuer: Issuer, city: Any, algorithm_id: int) -> None:
    secret = bytes.fromhex("C0FFEE")
    assert issuer.send("04D68601", secret, encrypt=True) == "9000"
    answer = bytes.fromhex(issuer.send("04B08600", le=5))
    assert answer.endswith(b"\x90\x00")
    assert secret not in answer
    cipher = algorithm(algorithm_id)
    assert (
        deciphered(cipher, city.whole_keys(algorithm_id=algorithm_id).maintenance, answer[:-6])
        == b"\0" + secret + b"\x04"
    )


def test_plain_data_with_a_right_mac_is_not_cipher_text(issuer: Issuer) -> None:
    assert issuer.send("04D68601", bytes(8)) == "6A80"


@pytest.mark.parametrize("bit", range(0, 8 * 13, 7))
def test_one_changed_bit_of_a_protected_write_is_noticed(city: Any, bit: int) -> None:
    card = city.rich_card()
    send(card, "00A4040008" + PARK_AID)
    challenge = card.transmit(bytes.fromhex("0084000004"))[:4]
    handle = city.handle(KeyKind.MAINTENANCE)
    command = bytearray(
        card_commands.update_binary(city.store, handle, city.identity(), challenge, 4, 2, bytes.fromhex("11223344"))
    )
    command[bit // 8] ^= 1 << bit % 8
    before = card.application(bytes.fromhex(PARK_AID)).content(
        card.application(bytes.fromhex(PARK_AID)).profile.files[4]
    )
    assert card.transmit(bytes(command)) != b"\x90\x00"
    application = card.application(bytes.fromhex(PARK_AID))
    assert application.content(application.profile.files[4]) == before


def test_a_right_asks_for_the_state_that_external_authenticate_gives(
    city: Any, card: VirtualCard, algorithm_id: int
) -> None:
    challenge = card.transmit(bytes.fromhex("0084000004"))[:4]
    handle = city.handle(KeyKind.EXTERNAL, algorithm_id=algorithm_id)
    command = card_commands.external_authenticate(city.store, handle, city.identity(), challenge)
    assert card.transmit(command).hex() == "9000"
    assert send(card, "00D68A000411223344") == "9000"
    assert send(card, "00B08A0004") == "112233449000"
    send(card, "00A4040008" + PARK_AID)
    assert send(card, "00B08A0004") == "6982", "selecting starts anew"


def test_both_algorithms_were_meant() -> None:
    assert (algorithm(0), algorithm(4)) == (TRIPLE_DES, SM4)
