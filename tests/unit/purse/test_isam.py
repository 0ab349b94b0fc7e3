"""The load-side module against the host's own computation: same MACs, and no MAC2 for a forged card."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.purse import host, inspect, outlet
from libs.purse.apdu import build
from libs.purse.card import CJ, VirtualCard
from libs.purse.fields import amount_bytes, stamp_bytes
from libs.purse.host import AnswerA, LoadTerms
from libs.purse.isam import VirtualIsam, issue_isam
from libs.purse.scheme import Scheme
from libs.purse.sequence import FileFailures

INIT = b"\x80\x74\x00\x00"
CHECK = b"\x80\x76\x00\x00"


@pytest.fixture(params=[0, 4], ids=["3des", "sm4"])
def card(city: Any, request: Any) -> VirtualCard:
    card: VirtualCard = city.card(algorithm_id=request.param)
    inspect.select(card, CJ.aid)
    return card


@pytest.fixture
def isam(city: Any) -> VirtualIsam:
    return issue_isam(city.store, Scheme.CJ, city.issuer)


def request_of(city: Any, answer: bytes, amount_fen: int = 700) -> bytes:
    stamp = stamp_bytes(city.at)
    return b"\x02" + answer + amount_bytes(amount_fen) + city.terminal + stamp + city.identity().serial


def test_an_isam_does_a_whole_load(city: Any, card: VirtualCard, isam: VirtualIsam) -> None:
    answer = outlet.initialise_load(card, 700, terminal=city.terminal)
    made = isam.transmit(build(INIT, request_of(city, answer), 4))
    terms = LoadTerms(700, city.terminal)
    assert made[:4] == host.make_load_mac2(city.store, city.identity(), AnswerA.parse(answer), terms, city.at)
    tac = outlet.credit_for_load(card, city.at, made[:4])
    assert isam.transmit(build(CHECK, tac)).hex() == "9000"
    assert isam.transmit(build(CHECK, tac)).hex() == "6901", "once"
    assert card.application(CJ.aid).purse.balance_fen == 700


def test_a_forged_mac1_gets_no_mac2(city: Any, card: VirtualCard, isam: VirtualIsam) -> None:
    answer = outlet.initialise_load(card, 700, terminal=city.terminal)
    assert isam.transmit(build(INIT, request_of(city, answer, 70_000), 4)).hex() == "9302"
    assert isam.transmit(build(CHECK, bytes(4))).hex() == "6901"


def test_a_wrong_tac_is_not_believed(city: Any, card: VirtualCard, isam: VirtualIsam) -> None:
    answer = outlet.initialise_load(card, 700, terminal=city.terminal)
    isam.transmit(build(INIT, request_of(city, answer), 4))
    assert isam.transmit(build(CHECK, bytes(4))).hex() == "9302"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("80740001", "6A86"),
        ("00740000", "6E00"),
        ("80700000", "6D00"),
        ("8074", "6700"),
        ("80740000", "6700"),
        ("8074000022" + "00" * 34, "6700"),
        ("8074000029" + "00" * 41, "6700"),
        ("807400002A" + "09" + "00" * 41, "6A80"),
        ("807400002A" + "02" + "00" * 41, "9403"),
        ("807400002A" + "02" + "00" * 41 + "08", "6C04"),
        ("8076000003112233", "6700"),
        ("807600000411223344", "6901"),
    ],
)
def test_each_refusal_has_its_status_word(isam: VirtualIsam, command: str, status: str) -> None:
    assert isam.transmit(bytes.fromhex(command)).hex().upper() == status


def test_a_balance_beyond_four_bytes_is_bad_data(city: Any, card: VirtualCard, isam: VirtualIsam) -> None:
    answer = bytearray(outlet.initialise_load(card, 700, terminal=city.terminal))
    answer[:4] = b"\xff" * 4
    assert isam.transmit(build(INIT, request_of(city, bytes(answer)), 4)).hex() == "6a80"


def test_wrong_macs_in_a_row_lock_it_over_a_restart(city: Any, card: VirtualCard, tmp_path: Path) -> None:
    answer = outlet.initialise_load(card, 700, terminal=city.terminal)
    for _ in range(30):
        isam = issue_isam(city.store, Scheme.CJ, city.issuer, failures=FileFailures(tmp_path / "failures"))
        assert isam.transmit(build(INIT, request_of(city, answer, 1), 4)).hex() == "9302"
    isam = issue_isam(city.store, Scheme.CJ, city.issuer, failures=FileFailures(tmp_path / "failures"))
    assert isam.locked
    assert isam.transmit(build(INIT, request_of(city, answer), 4)).hex() == "6983"


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=60).map(lambda data: INIT + data)))
def test_any_bytes_are_answered_by_a_status_word(city: Any, command: bytes) -> None:
    assert len(issue_isam(city.store, Scheme.JT, city.issuer).transmit(command)) >= 2


def test_it_shows_no_keys(city: Any, isam: VirtualIsam) -> None:
    assert repr(isam) == "VirtualIsam(8 keys)"
