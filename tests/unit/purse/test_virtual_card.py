"""The card as a terminal meets it: wrong orders, lengths, states and keys first."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.keystore import KeyKind
from libs.purse import host, inspect, outlet, terminal
from libs.purse.algorithms import TRIPLE_DES
from libs.purse.apdu import build
from libs.purse.card import BANK, CJ, JT, VirtualCard
from libs.purse.card.state import Block, PurseState
from libs.purse.scheme import Scheme
from libs.purse.secure_messaging import protected_command
from libs.purse.transactions import PurseId

SELECT_CJ = "00A4040009A0000000038698070100"
VERIFY = "0020000003123456"
INIT_LOAD = "805000020B010000271099010000000110"
INIT_PURCHASE = "805001020B01000000C89901000000010F"
INIT_CAPP = "805003020B01000000C89901000000010F"
BALANCE = "805C000204"


def send(card: VirtualCard, command: str) -> str:
    return card.transmit(bytes.fromhex(command)).hex().upper()


@pytest.fixture
def card(city: Any) -> VirtualCard:
    card: VirtualCard = city.card(balance_fen=1000)
    send(card, SELECT_CJ)
    return card


@given(st.binary(max_size=300))
def test_any_bytes_are_answered_by_a_status_word(city: Any, command: bytes) -> None:
    card = city.card()
    card.transmit(bytes.fromhex(SELECT_CJ))
    assert len(card.transmit(command)) >= 2


@given(
    st.sampled_from((0x00, 0x04, 0x80, 0x84)),
    st.sampled_from((0xA4, 0x84, 0xB0, 0xB2, 0xD6, 0xDC, 0x20, 0x5C, 0x50, 0x52, 0x54, 0x5A, 0x1E, 0x18, 0x16)),
    st.binary(min_size=2, max_size=2),
    st.binary(max_size=20),
    st.sampled_from((None, 0, 4, 8, 15, 16, 255)),
)
def test_commands_of_any_shape_neither_raise_nor_touch_the_money(
    city: Any, cla: int, ins: int, parameters: bytes, data: bytes, le: int | None
) -> None:
    card = city.card(balance_fen=500)
    card.transmit(bytes.fromhex(SELECT_CJ))
    body = bytes((len(data),)) + data if data else b""
    answer = card.transmit(bytes((cla, ins)) + parameters + body + (b"" if le is None else bytes((le,))))
    assert len(answer) >= 2
    assert card.application(CJ.aid).purse.balance_fen == 500


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("00A404", "6700"),
        ("00A4040009A0", "6700"),
        ("FFFFFFFF", "6D00"),
        ("005C000204", "6E00"),
        ("805C000104", "6A81"),
        ("805C010204", "6A86"),
        ("805C000205", "6C04"),
        ("00B095001F", "6C1E"),
        ("00B0951E01", "6B00"),
        ("00B09F0001", "6A82"),
        ("00B0820004", "6981"),
        ("00B0000001", "6985"),
        ("04B095001E", "6900"),
        ("00B20BC417", "6A83"),
        ("00B200C417", "6A83"),
        ("00B201C418", "6C17"),
        ("00B201AC17", "6981"),
        ("00A40000022222", "6A82"),
        ("00A4040003AABBCC", "6A82"),
        ("805004020B01000000C8990100000001", "6A86"),
        ("805001010B01000000C8990100000001", "6A81"),
        ("805001020A01000000C89901000000", "6700"),
        ("805001020B02000000C8990100000001", "9403"),
        ("805001020B01000003E9990100000001", "9401"),
        (INIT_LOAD, "6982"),
        ("0020000001FF", "6700"),
        ("0020000003654321", "63C2"),
        ("841E000004AABBCCDD", "6984"),
        ("841E0000", "6987"),
        ("8418000004AABBCCDD", "6985"),
        ("00D695000101", "6987"),
        ("04D69500050011223344", "6984"),
        ("00DC01F401FF", "6982"),
        ("80DC00F001FF", "6901"),
        ("805A000602000108", "9406"),
        ("805A000601000108", "6700"),
        ("80DC00F030" + "00" * 48, "6901"),
        ("805401000F" + "00" * 15, "6901"),
        ("805200000B" + "00" * 11, "6901"),
        ("0084000003", "6700"),
    ],
)
def test_each_refusal_has_its_status_word(card: VirtualCard, command: str, status: str) -> None:
    before = card.application(CJ.aid).purse
    assert send(card, command) == status
    assert card.application(CJ.aid).purse == before


_INSTRUCTIONS = [*VirtualCard._HANDLERS, 0xC0, 0x00, 0xFF]
_NAMES = [b"1PAY.SYS.DDF01", b"2PAY.SYS.DDF01", b"CITY.PARKS", CJ.aid, JT.aid, BANK.aid, b"\xd1V\0\0\1PAR"]


@given(
    st.lists(
        st.one_of(
            st.sampled_from(_NAMES).map(lambda name: bytes((0x00, 0xA4, 0x04, 0x00, len(name))) + name),
            st.tuples(
                st.sampled_from((0x00, 0x04, 0x80, 0x84)),
                st.sampled_from(_INSTRUCTIONS),
                st.sampled_from((0, 1, 2, 3, 4, 5, 0x83, 0x84, 0x95, 0x98)),
                st.sampled_from((0, 1, 2, 4, 0x1C, 0x3C, 0x44, 0x4C, 0xC4, 0xF0)),
                st.one_of(st.none(), st.binary(max_size=24), st.sampled_from([bytes(7), bytes(11), bytes(15)])),
                st.sampled_from((None, 0, 4, 8, 15, 16)),
            ).map(lambda said: build(bytes(said[:4]), said[4] or b"", said[5])),
        ),
        max_size=30,
    )
)
def test_any_sequence_of_commands_is_answered_and_moves_no_money(city: Any, commands: list[bytes]) -> None:
    card = city.rich_card()
    for command in commands:
        answer = card.transmit(command)
        assert len(answer) >= 2
        assert answer[-2:-1] in b"\x90\x62\x63\x67\x69\x6a\x6b\x6c\x6d\x6e\x93\x94", answer.hex()
    for application in card.applications:
        for purse in application.profile.purses:
            state = application.purse_of(purse)
            assert (state.balance_fen, state.online_counter, state.overdraft_limit_fen) == (0, 0, 0)


def test_purse_commands_need_a_selected_application(city: Any) -> None:
    card = city.card()
    for command in (BALANCE, INIT_LOAD, INIT_PURCHASE, VERIFY, "841E000004AABBCCDD", "805A000602000108"):
        assert send(card, command) == "6985"


def test_a_pin_locks_after_three_wrong_tries_and_stays_locked(card: VirtualCard) -> None:
    wrong = "0020000003999999"
    assert [send(card, wrong) for _ in range(3)] == ["63C2", "63C1", "63C0"]
    assert send(card, VERIFY) == "6983"
    card.reset()
    send(card, SELECT_CJ)
    assert send(card, VERIFY) == "6983"


def test_a_right_pin_restores_the_tries(card: VirtualCard) -> None:
    assert send(card, "0020000003999999") == "63C2"
    assert send(card, VERIFY) == "9000"
    assert send(card, "0020000003999999") == "63C2"


def test_a_load_needs_the_pin_again_after_each_transaction(city: Any, card: VirtualCard) -> None:
    city.load(card, 100)
    assert send(card, INIT_LOAD) == "6982"


@pytest.mark.parametrize("between", [BALANCE, "0084000004", "00B095001E", VERIFY, SELECT_CJ, "FFFFFFFF" * 1])
def test_another_command_between_the_two_ends_the_transaction(card: VirtualCard, between: str) -> None:
    send(card, INIT_PURCHASE)
    answered = send(card, between)
    expected = "9302" if answered == "6D00" else "6901"
    assert send(card, "805401000F" + "00" * 15) == expected


def test_a_wrong_mac1_takes_nothing_and_ends_the_transaction(card: VirtualCard) -> None:
    send(card, INIT_PURCHASE)
    assert send(card, "805401000F" + "00" * 15) == "9302"
    assert send(card, "805401000F" + "00" * 15) == "6901"
    assert send(card, BALANCE) == "000003E89000"


def test_a_wrong_mac2_loads_nothing(card: VirtualCard) -> None:
    send(card, VERIFY)
    assert send(card, INIT_LOAD).endswith("9000")
    assert send(card, "805200000B" + "00" * 11) == "9302"
    assert send(card, BALANCE) == "000003E89000"


def test_a_debit_does_not_finish_a_load_nor_a_credit_a_purchase(card: VirtualCard) -> None:
    send(card, VERIFY)
    send(card, INIT_LOAD)
    assert send(card, "805401000F" + "00" * 15) == "6901"
    send(card, INIT_PURCHASE)
    assert send(card, "805200000B" + "00" * 11) == "6901"


def test_a_load_that_would_pass_the_bound_of_the_balance_is_refused(card: VirtualCard) -> None:
    send(card, VERIFY)
    assert send(card, "805000020B017FFFFFFF99010000000110") == "6A80"


@pytest.mark.parametrize(
    ("purse", "command"),
    [(PurseState(1000, online_counter=0xFFFF), INIT_LOAD), (PurseState(1000, offline_counter=0xFFFF), INIT_PURCHASE)],
)
def test_a_counter_at_its_maximum_ends_the_card(card: VirtualCard, purse: PurseState, command: str) -> None:
    card.application(CJ.aid).purse = purse
    send(card, VERIFY)
    assert send(card, command) == "9402"


@pytest.mark.parametrize(
    ("parameters", "data", "status"),
    [
        ("00A8", "00" * 48, "6981"),  # file 15 is not for complex purchases
        ("00C8", "00" * 48, "6A82"),
        ("00F0", "00" * 47, "6700"),
        ("01F0", "00" * 48, "6A86"),
        ("00F1", "00" * 48, "6A86"),
        ("09B8", "09" + "00" * 47, "6A83"),
        ("02B8", "02" + "00" * 46, "6700"),
        ("02B8", "03" + "00" * 47, "6A80"),
        ("05BC", "02" + "00" * 47, "6A83"),
    ],
)
def test_a_refused_record_ends_the_complex_purchase(card: VirtualCard, parameters: str, data: str, status: str) -> None:
    send(card, INIT_CAPP)
    assert send(card, f"80DC{parameters}{len(data) // 2:02X}{data}") == status
    assert send(card, "805401000F" + "00" * 15) == "6901"


def test_a_simple_purchase_takes_no_record(card: VirtualCard) -> None:
    send(card, INIT_PURCHASE)
    assert send(card, "80DC00F030" + "00" * 48) == "6901"


def test_records_of_a_complex_purchase_are_written_with_the_debit_and_not_before(city: Any, card: VirtualCard) -> None:
    trip, rail = bytes(range(48)), b"\x02" + bytes(range(1, 48))
    before = send(card, "00B202BC30")
    send(card, INIT_CAPP)
    assert send(card, "80DC00F030" + trip.hex()) == "9000"
    assert send(card, "80DC02B830" + rail.hex()) == "9000"
    assert send(card, "00B201F430") == "6A83"
    view = inspect.select(card, CJ.aid)
    assert view
    writes = [terminal.CappWrite.append(0x1E, trip), terminal.CappWrite(0x02, 0xB8, rail)]
    terminal.purchase(
        card, city.sam(), view, 5, terminal=city.terminal, at=city.at, journal=lambda _: None, writes=lambda _: writes
    )
    assert send(card, "00B201F430") == trip.hex().upper() + "9000"
    assert send(card, "00B201BC30") == rail.hex().upper() + "9000"
    assert send(card, "00B202BC30") == before


def test_the_log_keeps_the_ten_newest_transactions(city: Any, card: VirtualCard) -> None:
    sam, view = city.sam(), inspect.select(card, CJ.aid)
    assert view
    for amount in range(1, 13):
        terminal.purchase(card, sam, view, amount, terminal=city.terminal, at=city.at, journal=lambda _: None)
    records = [send(card, f"00B2{number:02X}C417") for number in range(1, 12)]
    assert [int(record[10:18], 16) for record in records[:10]] == list(range(12, 2, -1))
    assert int(records[0][:4], 16) == 12
    assert records[10] == "6A83"


def test_the_proof_is_that_of_the_last_transaction_only_and_survives_power_loss(city: Any) -> None:
    card = city.card()
    send(card, SELECT_CJ)
    tac = city.load(card, 100)
    card.reset()
    send(card, SELECT_CJ)
    assert send(card, "805A000202000108")[8:] == tac.hex().upper() + "9000"
    assert outlet.load_proof(card.transmit, 0) == tac
    view = inspect.select(card, CJ.aid)
    assert view
    terminal.purchase(card, city.sam(), view, 1, terminal=city.terminal, at=city.at, journal=lambda _: None)
    assert outlet.load_proof(card.transmit, 0) is None


def test_power_loss_between_the_two_commands_leaves_the_purse_as_it_was(card: VirtualCard) -> None:
    before = card.application(CJ.aid).purse
    send(card, INIT_PURCHASE)
    card.reset()
    send(card, SELECT_CJ)
    assert send(card, "805401000F" + "00" * 15) == "6901"
    assert card.application(CJ.aid).purse == before


def challenge(card: VirtualCard) -> bytes:
    return card.transmit(bytes.fromhex("0084000004"))[:4]


def maintenance(card: VirtualCard) -> bytes:
    return card.application(CJ.aid).keys.maintenance


def test_a_protected_file_takes_data_with_the_right_mac_once(card: VirtualCard) -> None:
    header, expiry = bytes.fromhex("04D69518"), bytes.fromhex("20361231")
    command = protected_command(TRIPLE_DES, maintenance(card), challenge(card), header, expiry)
    assert card.transmit(command).hex() == "9000"
    assert send(card, "00B0951804") == "203612319000"
    assert card.transmit(command).hex() == "6984", "the challenge is spent"


def test_a_wrong_mac_changes_nothing_and_spends_the_challenge(card: VirtualCard) -> None:
    command = bytearray(
        protected_command(TRIPLE_DES, maintenance(card), challenge(card), bytes.fromhex("04D69518"), bytes(4))
    )
    command[-1] ^= 1
    before = card.application(CJ.aid).public
    assert card.transmit(bytes(command)).hex() == "6988"
    command[-1] ^= 1
    assert card.transmit(bytes(command)).hex() == "6984"
    assert card.application(CJ.aid).public == before


def test_a_challenge_is_good_for_the_next_command_only(card: VirtualCard) -> None:
    command = protected_command(TRIPLE_DES, maintenance(card), challenge(card), bytes.fromhex("04D69518"), bytes(4))
    send(card, BALANCE)
    assert card.transmit(command).hex() == "6984"


def test_data_beyond_the_end_of_a_file_is_refused(card: VirtualCard) -> None:
    command = protected_command(TRIPLE_DES, maintenance(card), challenge(card), bytes.fromhex("04D6951C"), bytes(4))
    assert send(card, command.hex()) == "6B00"


def test_a_blocked_application_refuses_everything_until_it_is_unblocked(city: Any, card: VirtualCard) -> None:
    identity = city.identity()
    lock = city.store.find(Scheme.CJ, city.issuer, KeyKind.LOCK, 1, 0)
    assert card.transmit(host.block_command(city.store, lock, identity, challenge(card))).hex() == "9000"
    for command in (BALANCE, VERIFY, INIT_PURCHASE, "00B095001E"):
        assert send(card, command) == "6A81"
    card.reset()
    assert send(card, SELECT_CJ) == "6A81"
    key = city.store.find(Scheme.CJ, city.issuer, KeyKind.MAINTENANCE, 1, 0)
    assert card.transmit(host.unblock_command(city.store, key, identity, challenge(card))).hex() == "9000"
    assert send(card, BALANCE) == "000003E89000"


def test_three_wrong_unblocks_lose_the_application_for_ever(city: Any, card: VirtualCard) -> None:
    application = card.application(CJ.aid)
    application.commit(guard=replace(application.guard, block=Block.REVERSIBLE))
    answers = []
    for _ in range(3):
        challenge(card)
        answers.append(send(card, "8418000004AABBCCDD"))
    assert answers == ["6988", "6988", "9303"]
    assert send(card, SELECT_CJ) == "9303"
    key = city.store.find(Scheme.CJ, city.issuer, KeyKind.MAINTENANCE, 1, 0)
    unblock = host.unblock_command(city.store, key, city.identity(), challenge(card))
    assert card.transmit(unblock).hex() == "9303"


def test_an_application_blocked_for_ever_cannot_be_unblocked(city: Any, card: VirtualCard) -> None:
    lock = city.store.find(Scheme.CJ, city.issuer, KeyKind.LOCK, 1, 0)
    command = host.block_command(city.store, lock, city.identity(), challenge(card), for_ever=True)
    assert card.transmit(command).hex() == "9000"
    key = city.store.find(Scheme.CJ, city.issuer, KeyKind.MAINTENANCE, 1, 0)
    unblock = host.unblock_command(city.store, key, city.identity(), challenge(card))
    assert card.transmit(unblock).hex() == "9303"
    assert send(card, SELECT_CJ) == "9303"


def test_a_blocked_card_answers_nothing_but_6a81(card: VirtualCard) -> None:
    key = maintenance(card)
    command = protected_command(TRIPLE_DES, key, challenge(card), bytes.fromhex("84160000"))
    assert card.transmit(command).hex() == "9000"
    card.reset()
    assert send(card, SELECT_CJ) == "6A81"


def test_the_directories_name_every_application(city: Any) -> None:
    card = city.card(Scheme.JT)
    assert send(card, "00A404000E315041592E5359532E444446303100").endswith("9000")
    assert send(card, "00B2010C00") == "61104F08A0000006320101055004" + b"TUNI".hex().upper() + "9000"
    assert b"TUNI" in card.transmit(bytes.fromhex("00A404000E325041592E5359532E444446303100"))
    assert send(city.card(Scheme.CJ), "00A404000E325041592E5359532E444446303100") == "6A82"


def test_two_applications_on_one_card_keep_two_purses(city: Any) -> None:
    one, two = city.card(Scheme.CJ, balance_fen=300), city.card(Scheme.JT, balance_fen=700)
    both = VirtualCard([*one.applications, *two.applications])
    views = inspect.detect(both)
    assert [view.scheme for view in views] == [Scheme.JT, Scheme.CJ]
    balances = []
    for view in views:
        inspect.select(both, view.aid)
        balances.append(terminal.read_balance(both, PurseId.EP))
    assert balances == [700, 300]


def test_a_pin_verified_in_one_application_does_not_open_another(city: Any) -> None:
    both = VirtualCard([*city.card(Scheme.CJ).applications, *city.card(Scheme.JT).applications])
    send(both, SELECT_CJ)
    send(both, VERIFY)
    send(both, "00A4040008A00000063201010500")
    assert send(both, INIT_LOAD) == "6982"


def test_neither_card_nor_keys_show_key_bytes(city: Any) -> None:
    card = city.card()
    application = card.application(CJ.aid)
    shown = repr(card) + repr(application) + repr(application.keys)
    for key in (application.keys.purchase, application.keys.load, application.keys.tac, application.keys.maintenance):
        assert key.hex() not in shown.lower()
        assert repr(key) not in shown
