"""What a card remembers, compared with the centre; what a display and an inspector say of it."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from libs.keystore import KeyKind
from libs.purse import card_commands, inspect, terminal
from libs.purse.card import CJ, JT, VirtualCard
from libs.purse.card.state import Block
from libs.purse.history import CentreEntry, Gap, differences, parse_log, read_log, read_trips
from libs.purse.inspect import CardView
from libs.purse.scheme import Scheme
from libs.purse.verdict import HINT_WORDS, Hint, hints, inspect_card

TODAY = date(2025, 6, 1)


@pytest.fixture
def card(city: Any) -> VirtualCard:
    card: VirtualCard = city.card(balance_fen=1000)
    view = inspect.select(card, CJ.aid)
    assert view is not None
    sam = city.sam()
    for amount in (200, 0, 30):
        trip = [terminal.CappWrite.append(0x1E, bytes((3,)) + bytes(46) + bytes((amount,)))]
        terminal.purchase(
            card,
            sam,
            view,
            amount,
            terminal=city.terminal,
            at=city.at,
            journal=lambda _: None,
            writes=lambda _, t=trip: t,
        )
    return card


def test_an_empty_or_short_record_is_none() -> None:
    assert parse_log(bytes(23)) is None
    assert parse_log(b"\x01" * 22) is None


def test_a_time_that_is_none_does_not_hide_the_entry() -> None:
    entry = parse_log(bytes.fromhex("0004000000000000C80699010000000120259999080910"))
    assert entry is not None
    assert (entry.at, entry.amount_fen, entry.counter_before) == (None, 200, 3)


def test_the_log_is_read_newest_first(card: VirtualCard) -> None:
    log = read_log(card)
    assert [(entry.tti, entry.amount_fen, entry.counter, entry.online) for entry in log] == [
        (9, 30, 3, False),
        (9, 0, 2, False),
        (9, 200, 1, False),
        (2, 1000, 1, True),
    ]
    assert len(read_trips(card)) == 3


def test_card_and_centre_agree_though_they_count_differently(card: VirtualCard) -> None:
    centre = [CentreEntry(0, 1000, 2), CentreEntry(0, 200, 9), CentreEntry(1, 0, 9), CentreEntry(2, 30, 9)]
    assert differences(read_log(card), centre) == []


def test_what_only_one_of_them_has_is_told(card: VirtualCard) -> None:
    centre = [CentreEntry(0, 1000, 2), CentreEntry(0, 250, 9), CentreEntry(2, 30, 9), CentreEntry(3, 5, 6)]
    found = [(each.gap, each.online, each.counter_before) for each in differences(read_log(card), centre)]
    assert found == [
        (Gap.CONTRADICTS, False, 0),
        (Gap.NOT_AT_CENTRE, False, 1),
        (Gap.NOT_ON_CARD, False, 3),
    ]


def test_what_the_card_has_forgotten_is_not_judged(card: VirtualCard) -> None:
    log = read_log(card)[:2]
    old = [CentreEntry(0, 200, 9), CentreEntry(0, 1000, 2)]
    found = differences(log, old, capacity=2)
    assert {each.gap for each in found} == {Gap.NOT_AT_CENTRE}
    assert {each.counter_before for each in found} == {1, 2}
    assert Gap.NOT_ON_CARD in {each.gap for each in differences(log, old)}, "a log that is not full forgets nothing"


def test_the_holders_money_is_without_the_overdraft_limit(city: Any) -> None:
    card = city.card(Scheme.JT, balance_fen=1000, overdraft_limit_fen=2000)
    verdict = inspect_card(card, JT.aid, TODAY)
    assert verdict is not None
    assert verdict.balance_fen == 1000


A_VIEW = CardView(JT.aid, Scheme.JT, enabled=True, start=bytes.fromhex("20250101"), expiry=bytes.fromhex("20351231"))


@pytest.mark.parametrize(
    ("changed", "balance_fen", "expected"),
    [
        ({}, 5_00, ()),
        ({}, None, ()),
        ({}, 4_99, (Hint.LOW_BALANCE,)),
        ({"enabled": False}, 5_00, (Hint.NOT_ENABLED,)),
        ({"start": bytes.fromhex("20250602")}, 5_00, (Hint.NOT_YET_VALID,)),
        ({"start": bytes.fromhex("20250601")}, 5_00, ()),
        ({"expiry": bytes.fromhex("20250531")}, 5_00, (Hint.EXPIRED,)),
        ({"expiry": bytes.fromhex("20250601")}, 5_00, (Hint.EXPIRES_SOON,)),
        ({"expiry": bytes.fromhex("20250701")}, 5_00, (Hint.EXPIRES_SOON,)),
        ({"expiry": bytes.fromhex("20250702")}, 5_00, ()),
        ({"blocked": True, "enabled": False}, 0, (Hint.BLOCKED,)),
        ({"expiry": bytes(4)}, 0, (Hint.EXPIRED, Hint.LOW_BALANCE)),
    ],
)
def test_hints_follow_from_dates_flags_and_balance(
    changed: dict[str, Any], balance_fen: int | None, expected: tuple[Hint, ...]
) -> None:
    assert hints(replace(A_VIEW, **changed), balance_fen, TODAY) == expected


def test_every_hint_has_words() -> None:
    assert set(HINT_WORDS) == set(Hint)


def test_an_inspector_reads_and_writes_nothing(card: VirtualCard) -> None:
    sent: list[int] = []

    def watched(command: bytes) -> bytes:
        sent.append(command[1])
        return card.transmit(command)

    before = card.application(CJ.aid).purse
    verdict = inspect_card(watched, CJ.aid, TODAY)
    assert verdict is not None
    assert (verdict.valid, verdict.balance_fen, len(verdict.log), len(verdict.trips)) == (True, 770, 4, 3)
    assert set(sent) <= {0xA4, 0xB0, 0xB2, 0x5C}
    assert card.application(CJ.aid).purse == before
    assert inspect_card(card, JT.aid, TODAY) is None


def test_a_blocked_card_is_not_valid(card: VirtualCard) -> None:
    application = card.application(CJ.aid)
    application.commit(guard=replace(application.guard, block=Block.REVERSIBLE))
    verdict = inspect_card(card, CJ.aid, TODAY)
    assert verdict is not None
    assert not verdict.valid
    assert verdict.balance_fen is None


def test_an_expired_card_is_valid_again_after_its_validity_was_extended(city: Any, card: VirtualCard) -> None:
    late = date(2036, 1, 1)
    verdict = inspect_card(card, CJ.aid, late)
    assert verdict is not None
    assert verdict.hints == (Hint.EXPIRED,)
    challenge = card.transmit(bytes.fromhex("0084000004"))[:4]
    handle = city.handle(KeyKind.MAINTENANCE)
    command = card_commands.extend_validity(city.store, handle, city.identity(), challenge, date(2040, 12, 31))
    assert card.transmit(command).hex() == "9000"
    verdict = inspect_card(card, CJ.aid, late)
    assert verdict is not None
    assert verdict.valid
