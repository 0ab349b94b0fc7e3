"""What a terminal does with five kinds of lists."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge.terminal.blacklist import SignerUnknown
from edge.terminal.home import Home
from edge.terminal.lists import TerminalLists
from edge.terminal.roles import Role, make_role
from edge.terminal.terminal import Terminal
from libs.cardlist import (
    ENTRY,
    Action,
    EcdsaSigner,
    EcdsaVerifier,
    Issuer,
    ListRefused,
    NumberRange,
    Point,
    Purpose,
    encode_issuers,
    encode_list,
    encode_ranges,
)
from libs.clock import FixedClock
from libs.records.blacklist_file import Mode
from libs.records.numbers import card_bytes, institution_bytes, make_jt_number
from tests.unit.edge.test_meter_and_commands import a_home
from tests.unit.edge.test_roles import City
from tests.unit.edge.test_terminal import a_card
from tests.unit.edge.test_terminal import number_of as digits_of

KEY = ec.derive_private_key(161_803, ec.SECP256R1())
SIGNER, VERIFIER = EcdsaSigner(KEY), EcdsaVerifier([KEY.public_key()])
NOON = datetime(2025, 9, 1, 4, 0, tzinfo=UTC)
NOON_S = int(NOON.timestamp())
POINT = Point(7, bytes(32))


def number_of(serial: int) -> bytes:
    return card_bytes(make_jt_number("5840", serial))[1]


def a_list(*rows: tuple[int, int, Action, int], purpose: Purpose = Purpose.BLACKLIST) -> bytes:
    """Serial, generation, action, effective seconds after noon."""
    entries = np.zeros(len(rows), dtype=ENTRY)
    for place, (serial, generation, action, after_s) in enumerate(rows):
        reason = 0 if purpose is Purpose.STAFF else 5
        number = np.frombuffer(number_of(serial), np.uint8)
        entries[place] = (number, generation, action, reason, NOON_S + after_s)
    return encode_list(entries, SIGNER, POINT, created_s=NOON_S, settled_until_s=NOON_S, purpose=purpose)


def ranges(first: int, last: int, action: Action = Action.LOCK, effective_s: int = 0) -> bytes:
    row = NumberRange(number_of(first), number_of(last), action, 8, effective_s)
    return encode_ranges([row], SIGNER, POINT, created_s=NOON_S)


@pytest.fixture
def lists() -> TerminalLists:
    return TerminalLists(VERIFIER)


def test_a_cards_own_entry_counts_before_its_range(lists: TerminalLists) -> None:
    lists.load(ranges(10, 19))
    lists.load(a_list((12, 1, Action.IGNORE, 0), (13, 1, Action.REFUSE, 0), (14, 1, Action.IGNORE, 60)))
    find = lists.blacklist.find
    modes = [found.mode if found else None for found in (find(number_of(serial), NOON, 1) for serial in range(9, 16))]
    # An entry that is not in force yet does not free a card from its range.
    assert modes == [None, Mode.LOCK, Mode.LOCK, None, Mode.REFUSE, Mode.LOCK, Mode.LOCK]
    by_range = find(number_of(10), NOON)
    assert by_range is not None
    assert by_range.by_range
    # The entry is about one generation, the range about the number.
    assert find(number_of(12), NOON, 2) is not None


def test_a_range_waits_for_its_time(lists: TerminalLists) -> None:
    lists.load(ranges(10, 19, effective_s=NOON_S + 60))
    assert lists.blacklist.find(number_of(11), NOON) is None
    assert lists.blacklist.find(number_of(11), NOON + timedelta(minutes=1)) is not None


def test_refused_at_the_exit_only_lets_a_card_in(lists: TerminalLists) -> None:
    lists.load(a_list((1, 1, Action.REFUSE_AT_EXIT, 0)))
    assert lists.blacklist.find(number_of(1), NOON, at_exit=False) is None
    found = lists.blacklist.find(number_of(1), NOON)
    assert found is not None
    assert found.mode is Mode.REFUSE


def test_staff_and_issuers_are_known_by_generation_and_time(lists: TerminalLists) -> None:
    ours, other = institution_bytes("01015840"), institution_bytes("01019999")
    assert lists.accepts(other, NOON)
    assert not lists.is_staff(number_of(1), NOON, 1)
    lists.load(a_list((1, 1, Action.ACCEPT, 0), (2, 1, Action.ACCEPT, 60), purpose=Purpose.STAFF))
    lists.load(encode_issuers([Issuer(ours)], SIGNER, POINT, created_s=NOON_S))
    assert lists.is_staff(number_of(1), NOON, 1)
    assert not lists.is_staff(number_of(1), NOON, 2)
    assert not lists.is_staff(number_of(2), NOON, 1)
    assert (lists.accepts(ours, NOON), lists.accepts(other, NOON)) == (True, False)
    assert lists.versions() == {Purpose.STAFF: 7, Purpose.ISSUERS: 7}


def test_damage_leaves_every_list_in_force(lists: TerminalLists) -> None:
    files = [
        ranges(10, 19),
        a_list((1, 1, Action.LOCK, 0)),
        a_list((1, 1, Action.ACCEPT, 0), purpose=Purpose.STAFF),
        encode_issuers([Issuer(institution_bytes("01015840"))], SIGNER, POINT, created_s=NOON_S),
    ]
    for file in files:
        lists.load(file)
    before = lists.versions()
    for file in files:
        for place in (5, 6, 9, len(file) - 1):
            damaged = bytearray(file)
            damaged[place] ^= 1
            with pytest.raises(ListRefused):
                lists.load(bytes(damaged))
        for length in (5, 6, 200):
            with pytest.raises(ListRefused):
                lists.load(file[:length])
    assert lists.versions() == before
    assert lists.blacklist.find(number_of(11), NOON) is not None


def test_without_a_key_no_compact_list_is_taken() -> None:
    for file in (ranges(1, 2), a_list((1, 1, Action.ACCEPT, 0), purpose=Purpose.STAFF)):
        with pytest.raises(SignerUnknown):
            TerminalLists().load(file)


class TestAtTheGate:
    """What each action of the list means where a card is shown."""

    def listed(self, action: Action, city: City) -> None:
        city.blacklist = TerminalLists(VERIFIER).blacklist
        entries = np.zeros(1, dtype=ENTRY)
        number = np.frombuffer(digits_of(1), np.uint8)
        entries[0] = (number, 1, action, 5, NOON_S)
        city.blacklist.load(encode_list(entries, SIGNER, POINT, created_s=NOON_S, settled_until_s=NOON_S))

    def test_a_card_that_is_refused_at_the_exit_comes_in_and_does_not_get_out(self) -> None:
        city, card = City(), a_card()
        self.listed(Action.REFUSE_AT_EXIT, city)
        assert make_role(Role.GATE_ENTRY, city.device(station=5)).present(card.transmit).code == "OK"
        city.clock.advance(minutes=20)
        assert make_role(Role.GATE_EXIT, city.device(station=8)).present(card.transmit).code == "CARD_LISTED"

    def test_a_tap_that_is_entry_and_exit_at_once_counts_as_an_exit(self) -> None:
        city = City()
        self.listed(Action.REFUSE_AT_EXIT, city)
        assert make_role(Role.BUS, city.device()).present(a_card().transmit).code == "CARD_LISTED"

    def test_an_entry_to_ignore_lets_a_card_in_and_out(self) -> None:
        city, card = City(), a_card()
        self.listed(Action.IGNORE, city)
        assert make_role(Role.GATE_ENTRY, city.device(station=5)).present(card.transmit).code == "OK"
        city.clock.advance(minutes=20)
        assert make_role(Role.GATE_EXIT, city.device(station=8)).present(card.transmit).code == "OK"

    def test_cards_of_issuers_that_are_not_on_the_white_list_are_foreign(self) -> None:
        city, lists = City(), TerminalLists(VERIFIER)
        city.blacklist = lists.blacklist
        device = city.device(station=5)
        plain = device.terminal
        assert make_role(Role.GATE_ENTRY, device).present(a_card(2).transmit).code == "OK"
        device.terminal = Terminal(
            plain.facts, plain._sam, plain.journal, city.clock, lists.blacklist, modes=city.modes, lists=lists
        )
        lists.load(encode_issuers([Issuer(institution_bytes("01019999"))], SIGNER, POINT, created_s=NOON_S))
        assert make_role(Role.GATE_ENTRY, device).present(a_card().transmit).code == "CARD_FOREIGN"
        ours = device.terminal.look(a_card().transmit).issuer
        lists.load(encode_issuers([Issuer(ours)], SIGNER, Point(8, bytes(32)), created_s=NOON_S))
        assert make_role(Role.GATE_ENTRY, device).present(a_card().transmit).code == "OK"


async def test_every_list_is_kept_over_a_restart_and_damage_changes_none(tmp_path: Path) -> None:
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    folder = a_home(tmp_path, list_keys=[{"pem": pem}])
    files = {
        Purpose.BLACKLIST: a_list((1, 1, Action.LOCK, 0)),
        Purpose.RANGES: ranges(10, 19),
        Purpose.STAFF: a_list((3, 1, Action.ACCEPT, 0), purpose=Purpose.STAFF),
        Purpose.ISSUERS: encode_issuers([Issuer(institution_bytes("01015840"))], SIGNER, POINT, created_s=NOON_S),
    }
    home = Home(folder, FixedClock(NOON))
    own = home.own(home.device(lambda command: b""))
    for file in files.values():
        assert await own.load_list(file) == 7
        with pytest.raises(ListRefused):
            await own.load_list(file[:-1] + bytes((file[-1] ^ 1,)))
    home.close()
    again = Home(folder, FixedClock(NOON))
    assert again.lists.versions() == dict.fromkeys(files, 7)
    assert again.lists.is_staff(number_of(3), NOON, 1)
    assert again.blacklist.find(number_of(11), NOON) is not None
    again.close()
