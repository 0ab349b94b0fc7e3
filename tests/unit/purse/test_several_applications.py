"""Several applications and purses on one card: each is found, and none is taken for another."""

from typing import Any

import pytest

from libs.purse import inspect, terminal
from libs.purse.card import BANK, CJ, JT, VirtualCard
from libs.purse.card.state import Block
from libs.purse.scheme import Scheme
from libs.purse.transactions import PurseId
from libs.purse.transceiver import CardRefused


def send(card: VirtualCard, command: str) -> str:
    return card.transmit(bytes.fromhex(command)).hex().upper()


@pytest.fixture
def card(city: Any) -> VirtualCard:
    card: VirtualCard = city.rich_card()
    return card


def test_every_application_is_detected_not_the_first_match(card: VirtualCard) -> None:
    views = inspect.detect(card)
    assert [view.aid for view in views] == [JT.aid, CJ.aid]
    assert [view.scheme for view in views] == [Scheme.JT, Scheme.CJ]


def test_the_directories_list_what_belongs_to_them(card: VirtualCard) -> None:
    send(card, "00A404000E" + b"1PAY.SYS.DDF01".hex())
    records = [send(card, f"00B2{number:02X}0C00") for number in range(1, 6)]
    assert [record[-4:] for record in records] == ["9000"] * 4 + ["6A83"]
    for record, aid in zip(records, (CJ.aid, JT.aid, BANK.aid), strict=False):
        assert record[4:8] == f"4F{len(aid):02X}"
        assert aid.hex().upper() in record
    assert records[3].startswith("61139D0A" + b"CITY.PARKS".hex().upper()), "a DDF stands there by its name"
    answer = send(card, "00A404000A" + b"CITY.PARKS".hex())
    assert answer == "6F11840A" + b"CITY.PARKS".hex().upper() + "A5038801019000"
    assert send(card, "00B2010C00") == "61104F08D15600000150415250045041524B9000"
    assert send(card, "00B2020C00") == "6A83"


def test_discovery_finds_applications_in_directories_and_outside(card: VirtualCard) -> None:
    found = inspect.discover(card)
    assert {application.name for application in found} >= {CJ.aid, JT.aid, BANK.aid, bytes.fromhex("D156000001504152")}
    assert len({application.name for application in found}) == len(found)
    by_name = {application.name: application for application in found}
    assert by_name[CJ.aid].path == (b"1PAY.SYS.DDF01",)
    assert by_name[bytes.fromhex("D156000001504152")].path == (b"1PAY.SYS.DDF01", b"CITY.PARKS")
    assert by_name[BANK.aid].label == b"BANK"


def test_discovery_finds_what_no_directory_lists(city: Any) -> None:
    card = city.card(Scheme.JT)
    assert [application.name for application in inspect.discover(card)] == [JT.aid]


def test_each_purse_has_its_own_money_and_counters(city: Any, card: VirtualCard) -> None:
    inspect.select(card, CJ.aid)
    city.load(card, 1000)
    inspect.select(card, JT.aid)
    city.load(card, 500, Scheme.JT)
    assert terminal.read_balance(card, PurseId.EP) == 500
    with pytest.raises(CardRefused) as refused:
        terminal.read_balance(card, PurseId.ED)
    assert refused.value.status.hex() == "6a81"
    inspect.select(card, CJ.aid)
    assert terminal.read_balance(card, PurseId.EP) == 1000
    assert card.application(BANK.aid).purse.online_counter == 0


def test_blocking_one_application_leaves_the_others(city: Any, card: VirtualCard) -> None:
    application = card.application(CJ.aid)
    application.commit(guard=type(application.guard)(application.guard.pin, block=Block.REVERSIBLE))
    views = {view.aid: view for view in inspect.detect(card)}
    assert views[CJ.aid].blocked
    assert not views[JT.aid].blocked


def test_selecting_another_application_ends_pin_and_transaction(card: VirtualCard) -> None:
    send(card, "00A4040009" + CJ.aid.hex())
    send(card, "0020000003123456")
    send(card, "00A4040009" + BANK.aid.hex())
    assert send(card, "805000020B010000271099010000000110") == "6982"


def test_the_balance_of_a_repr_names_its_purse(card: VirtualCard) -> None:
    shown = repr(card)
    assert "EP 0 fen" in shown
    assert "ED 0 fen" in shown
    assert "no purse" in shown
