"""The electronic deposit (ED) beside the purse: load, purchase, cash, unload, overdraft limit."""

from typing import Any

import pytest

from libs.purse import host, host_deposit, outlet, terminal
from libs.purse.apdu import build
from libs.purse.card import BANK, VirtualCard
from libs.purse.fields import amount_bytes, limit_bytes, stamp_bytes
from libs.purse.host import AnswerA, LoadTerms
from libs.purse.transactions import PurseId, Tti
from libs.purse.transceiver import CardRefused, demand


@pytest.fixture(params=[0, 4], ids=["3des", "sm4"])
def card(city: Any, request: Any) -> VirtualCard:
    card: VirtualCard = city.rich_card(algorithm_id=request.param)
    card.transmit(build(b"\x00\xa4\x04\x00", BANK.aid, 0))
    return card


def send(card: VirtualCard, command: str) -> str:
    return card.transmit(bytes.fromhex(command)).hex().upper()


def load(city: Any, card: VirtualCard, amount_fen: int, purse: PurseId = PurseId.ED) -> None:
    terms = LoadTerms(amount_fen, city.terminal, Tti.ED_LOAD if purse is PurseId.ED else Tti.EP_LOAD)
    answer = AnswerA.parse(outlet.initialise_load(card, amount_fen, terminal=city.terminal, purse=purse))
    host.check_load_mac1(city.store, city.identity(), answer, terms)
    mac2 = host.make_load_mac2(city.store, city.identity(), answer, terms, city.at)
    tac = outlet.credit_for_load(card, city.at, mac2)
    host.check_load_tac(city.store, city.identity(), answer, terms, city.at, tac)


def balances(card: VirtualCard) -> tuple[int, int]:
    return terminal.read_balance(card, PurseId.ED), terminal.read_balance(card, PurseId.EP)


def test_a_load_goes_into_the_purse_that_was_named(city: Any, card: VirtualCard) -> None:
    load(city, card, 1000)
    assert balances(card) == (1000, 0)
    load(city, card, 300, PurseId.EP)
    assert balances(card) == (1000, 300)
    application = card.application(BANK.aid)
    assert (application.purse.online_counter, application.purse_of(PurseId.ED).online_counter) == (1, 1)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("805000010B010000271099010000000110", "6982"),
        ("805001010B010000000199010000000110", "6C0F"),
        ("805001010B01000000019901000000010F", "6982"),
        ("805002010B01000000019901000000010F", "6982"),
        ("805005010B010000000199010000000110", "6982"),
        ("80500401070199010000000113", "6982"),
        ("805004010B010000000199010000000113", "6700"),
        ("805005010B020000000199010000000110", "9403"),
        ("80500401070299010000000113", "9403"),
        ("805005020B010000000199010000000110", "6A86"),
        ("805002020B01000000019901000000010F", "6A86"),
        ("805003010B01000000019901000000010F", "6A81"),
        ("805403000B" + "00" * 11, "6901"),
        ("805800000E" + "00" * 14, "6901"),
        ("805800010E" + "00" * 14, "6A86"),
        ("805800000D" + "00" * 13, "6700"),
        ("805403000A" + "00" * 10, "6700"),
        ("805402000B" + "00" * 11, "6A86"),
    ],
)
def test_each_refusal_has_its_status_word(card: VirtualCard, command: str, status: str) -> None:
    assert send(card, command) == status


def test_money_that_is_not_there_is_not_given_back(city: Any, card: VirtualCard) -> None:
    with pytest.raises(CardRefused) as refused:
        outlet.initialise_unload(card, 1, terminal=city.terminal)
    assert refused.value.status.hex() == "9401"


def test_an_unload_gives_the_money_back_and_proves_it(city: Any, card: VirtualCard) -> None:
    load(city, card, 1000)
    terms = host_deposit.unload_terms(400, city.terminal)
    answer = AnswerA.parse(outlet.initialise_unload(card, 400, terminal=city.terminal))
    mac2 = host_deposit.authorise_unload(city.store, city.identity(), answer, terms, city.at)
    mac3 = outlet.debit_for_unload(card, city.at, mac2)
    host_deposit.check_unload_mac3(city.store, city.identity(), answer, terms, city.at, mac3)
    assert balances(card) == (600, 0)
    assert send(card, "00B201C417")[:28] == "0002" + "000000" + "00000190" + "03" + "99010000"
    assert send(card, "805A000302000208") == (mac2 + mac3).hex().upper() + "9000"
    forged = bytes((mac3[0] ^ 1,)) + mac3[1:]
    with pytest.raises(host_deposit.Mac3Wrong):
        host_deposit.check_unload_mac3(city.store, city.identity(), answer, terms, city.at, forged)


def test_a_wrong_mac2_of_an_unload_takes_nothing(city: Any, card: VirtualCard) -> None:
    load(city, card, 1000)
    outlet.initialise_unload(card, 400, terminal=city.terminal)
    assert send(card, "805403000B" + "00" * 11) == "9302"
    assert send(card, "805403000B" + "00" * 11) == "6901"
    assert balances(card) == (1000, 0)


def test_an_unload_with_a_forged_mac1_is_not_authorised(city: Any, card: VirtualCard) -> None:
    load(city, card, 1000)
    answer = bytearray(outlet.initialise_unload(card, 400, terminal=city.terminal))
    answer[3] ^= 1
    with pytest.raises(host.Mac1Wrong):
        host_deposit.authorise_unload(
            city.store,
            city.identity(),
            AnswerA.parse(bytes(answer)),
            host_deposit.unload_terms(400, city.terminal),
            city.at,
        )


@pytest.mark.parametrize(("p1", "tti"), [(0x01, Tti.ED_PURCHASE), (0x02, Tti.ED_CASH_WITHDRAWAL)])
def test_the_deposit_pays_with_its_pin_and_its_own_offline_counter(
    city: Any, card: VirtualCard, p1: int, tti: Tti
) -> None:
    load(city, card, 1000)
    send(card, "0020000003123456")
    request = b"\x01" + amount_bytes(250) + city.terminal
    answer = demand(card, build(bytes((0x80, 0x50, p1, 0x01)), request, 15), size=15)
    stamp = stamp_bytes(city.at)
    factors = city.identity().serial + bytes.fromhex("9901FF0000000000")
    said = answer[11:15] + answer[4:6] + amount_bytes(250) + bytes((tti,)) + stamp + answer[9:11] + factors
    sam = city.sam()
    made = demand(sam, build(b"\x80\x70\x00\x00", said, 8), size=8)
    proof = demand(card, build(b"\x80\x54\x01\x00", made[:4] + stamp + made[4:], 8), size=8)
    assert demand(sam, build(b"\x80\x72\x00\x00", proof[4:])) == b""
    assert balances(card) == (750, 0)
    application = card.application(BANK.aid)
    assert (application.purse.offline_counter, application.purse_of(PurseId.ED).offline_counter) == (0, 1)
    assert demand(card, build(bytes((0x80, 0x5A, 0x00, tti)), b"\x00\x01", 8)) == proof[4:] + proof[:4]
    host.check_purchase_tac(
        city.store,
        city.identity(),
        key_version=answer[9],
        algorithm_id=answer[10],
        amount_fen=250,
        tti=tti,
        terminal=city.terminal,
        sequence=int.from_bytes(made[:4], "big"),
        stamp=stamp,
        tac=proof[:4],
    )


def change_limit(city: Any, card: VirtualCard, limit_fen: int) -> bytes:
    send(card, "0020000003123456")
    raw = demand(card, build(b"\x80\x50\x04\x01", b"\x01" + city.terminal, 19), size=19)
    answer = host_deposit.OverdraftAnswer.parse(raw)
    mac2 = host_deposit.authorise_overdraft(city.store, city.identity(), answer, city.terminal, limit_fen, city.at)
    command = build(b"\x80\x58\x00\x00", limit_bytes(limit_fen) + stamp_bytes(city.at) + mac2, 4)
    tac = demand(card, command, size=4)
    host_deposit.check_overdraft_tac(city.store, city.identity(), answer, city.terminal, limit_fen, city.at, tac)
    return tac


def test_a_new_overdraft_limit_moves_what_can_be_spent(city: Any, card: VirtualCard) -> None:
    load(city, card, 100)
    change_limit(city, card, 5000)
    assert balances(card) == (5100, 0)
    change_limit(city, card, 2000)
    assert balances(card) == (2100, 0)
    deposit = card.application(BANK.aid).purse_of(PurseId.ED)
    assert (deposit.overdraft_limit_fen, deposit.online_counter) == (2000, 3)


def test_a_limit_below_what_the_holder_owes_is_refused(city: Any, card: VirtualCard) -> None:
    change_limit(city, card, 5000)
    terms = host_deposit.unload_terms(4000, city.terminal)
    answer = AnswerA.parse(outlet.initialise_unload(card, 4000, terminal=city.terminal))
    outlet.debit_for_unload(
        card, city.at, host_deposit.authorise_unload(city.store, city.identity(), answer, terms, city.at)
    )
    with pytest.raises(CardRefused) as refused:
        change_limit(city, card, 3999)
    assert refused.value.status.hex() == "9401"
    assert balances(card) == (1000, 0)


def test_a_wrong_le_leaves_the_transaction_open(city: Any, card: VirtualCard) -> None:
    load(city, card, 1000)
    terms = host_deposit.unload_terms(400, city.terminal)
    answer = AnswerA.parse(outlet.initialise_unload(card, 400, terminal=city.terminal))
    mac2 = host_deposit.authorise_unload(city.store, city.identity(), answer, terms, city.at)
    body = stamp_bytes(city.at) + mac2
    assert card.transmit(build(b"\x80\x54\x03\x00", body, 8)).hex() == "6c04"
    assert card.transmit(build(b"\x80\x54\x03\x00", body, 4)).endswith(b"\x90\x00")


@pytest.mark.parametrize("size", [0, 18, 20])
def test_an_answer_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(host.AnswerMalformed):
        host_deposit.OverdraftAnswer.parse(bytes(size))
