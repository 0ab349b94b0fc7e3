"""The centre's checks: whatever is changed on the way is noticed."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from libs.keystore import KeyUnknown
from libs.purse import host, inspect, outlet, terminal
from libs.purse.card import CJ
from libs.purse.host import AnswerA, AnswerMalformed, LoadTerms, Mac1Wrong, TacWrong
from libs.purse.scheme import CardIdentity, CardNumberMalformed, Scheme, luhn_digit
from libs.purse.transactions import PurseId
from libs.purse.transceiver import CardRefused
from libs.records.errors import NumberInvalid

AMOUNT_FEN = 10_000


@pytest.fixture(params=[0, 4], ids=["3des", "sm4"])
def answer(request: pytest.FixtureRequest, city: Any) -> bytes:
    card = city.card(algorithm_id=request.param)
    inspect.select(card, CJ.aid)
    return outlet.initialise_load(card, AMOUNT_FEN, terminal=city.terminal)


@pytest.mark.parametrize("bit", range(8 * 16))
def test_any_changed_bit_of_answer_a_is_noticed(city: Any, answer: bytes, bit: int) -> None:
    changed = bytearray(answer)
    changed[bit // 8] ^= 1 << bit % 8
    terms = LoadTerms(AMOUNT_FEN, city.terminal)
    parsed = AnswerA.parse(bytes(changed))
    host.check_load_mac1(city.store, city.identity(), AnswerA.parse(answer), terms)
    # Version and algorithm name another key, which is unknown or makes another MAC.
    with pytest.raises((Mac1Wrong, KeyUnknown)):
        host.check_load_mac1(city.store, city.identity(), parsed, terms)


def test_another_amount_terminal_or_card_is_noticed(city: Any, answer: bytes) -> None:
    parsed, identity = AnswerA.parse(answer), city.identity()
    for terms in (LoadTerms(AMOUNT_FEN + 1, city.terminal), LoadTerms(AMOUNT_FEN, bytes(6))):
        with pytest.raises(Mac1Wrong):
            host.check_load_mac1(city.store, identity, parsed, terms)
    other = replace(identity, number=bytes.fromhex("00009901000000012346"))
    with pytest.raises(Mac1Wrong):
        host.check_load_mac1(city.store, other, parsed, LoadTerms(AMOUNT_FEN, city.terminal))


def test_an_unknown_key_version_is_named(city: Any, answer: bytes) -> None:
    parsed = replace(AnswerA.parse(answer), key_version=9)
    with pytest.raises(KeyUnknown) as unknown:
        host.check_load_mac1(city.store, city.identity(), parsed, LoadTerms(AMOUNT_FEN, city.terminal))
    assert unknown.value.facts["key_version"] == "9"


def test_a_load_tac_proves_one_amount_balance_and_moment(city: Any) -> None:
    card = city.card()
    inspect.select(card, CJ.aid)
    terms, identity = LoadTerms(AMOUNT_FEN, city.terminal), city.identity()
    answer = AnswerA.parse(outlet.initialise_load(card, AMOUNT_FEN, terminal=city.terminal))
    mac2 = host.make_load_mac2(city.store, identity, answer, terms, city.at)
    tac = outlet.credit_for_load(card, city.at, mac2)
    host.check_load_tac(city.store, identity, answer, terms, city.at, tac)
    with pytest.raises(TacWrong):
        host.check_load_tac(city.store, identity, answer, LoadTerms(1, city.terminal), city.at, tac)
    with pytest.raises(TacWrong):
        host.check_load_tac(city.store, identity, answer, terms, city.at + timedelta(seconds=1), tac)
    with pytest.raises(TacWrong):
        host.check_load_tac(city.store, identity, replace(answer, old_balance_fen=1), terms, city.at, tac)
    with pytest.raises(TacWrong):
        host.check_load_tac(city.store, identity, answer, terms, city.at, tac[:3])


def test_a_mac2_for_another_moment_is_refused_by_the_card(city: Any) -> None:
    card = city.card()
    inspect.select(card, CJ.aid)
    terms, identity = LoadTerms(AMOUNT_FEN, city.terminal), city.identity()
    answer = AnswerA.parse(outlet.initialise_load(card, AMOUNT_FEN, terminal=city.terminal))
    mac2 = host.make_load_mac2(city.store, identity, answer, terms, city.at)
    with pytest.raises(CardRefused):
        outlet.credit_for_load(card, city.at + timedelta(seconds=1), mac2)
    assert terminal.read_balance(card, PurseId.EP) == 0


@pytest.mark.parametrize("size", [0, 15, 17])
def test_an_answer_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(AnswerMalformed):
        AnswerA.parse(bytes(size))


@pytest.mark.parametrize(
    "card", ["jt-0310990100000001234", "xx-03109901000000012340", "jt-0310990100000001234a", "", "jt-" + "٣" * 20]
)
def test_a_malformed_card_number_is_refused(city: Any, card: str) -> None:
    with pytest.raises(CardNumberMalformed):
        CardIdentity.from_text(card, city.issuer)


def test_a_card_number_survives_its_text_form(city: Any) -> None:
    identity = city.identity(Scheme.JT)
    assert CardIdentity.from_text(identity.text, city.issuer) == identity
    with pytest.raises(CardNumberMalformed):
        CardIdentity(Scheme.CJ, city.issuer, b"\xff" * 10)


def test_a_luhn_digit_needs_digits() -> None:
    assert luhn_digit("7992739871") == "3"
    with pytest.raises(NumberInvalid):
        luhn_digit("12a4")
