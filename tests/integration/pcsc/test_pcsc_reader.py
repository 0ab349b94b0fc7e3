"""What goes wrong at a reader: cards that leave, programs in the way, a pcscd that stops; and how it goes on after."""

import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.keystore import demo_keystore
from libs.purse import host, inspect, outlet, terminal
from libs.purse.card import CJ, VirtualCard, card_keys, personalise
from libs.purse.readers.pcsc import Change, PcscReader, PcscService
from libs.purse.readers.port import (
    CardBusy,
    CardWasReset,
    ReaderServiceDown,
    ReaderServiceLost,
    ReaderUnknown,
)
from libs.purse.readers.vpcd import VirtualInsertion
from libs.purse.sam import VirtualSam, issue_sam
from libs.purse.scheme import CardIdentity, Scheme
from libs.purse.sequence import MemorySequence
from libs.purse.terminal import Finding, Purchase, Torn
from libs.purse.transactions import PurseId
from libs.purse.transceiver import CardGone, Transceiver
from tests.integration.pcsc.conftest import READER, Insert
from tools.devices import Pcscd

ISSUER = bytes.fromhex("01019901FFFFFFFF")
TERMINAL = bytes.fromhex("990100000001")
AT = datetime(2025, 1, 2, 0, 9, 10, tzinfo=UTC)
CARD = CardIdentity(Scheme.CJ, ISSUER, bytes.fromhex("00009901000000012345"))
STORE = demo_keystore("pcsc", [(Scheme.CJ, ISSUER)])
GET_BALANCE = bytes.fromhex("805C000204")


@pytest.fixture
def card() -> VirtualCard:
    return personalise(CJ, CARD.number, card_keys(STORE, CARD), issuer=ISSUER)


@pytest.fixture
def sam() -> VirtualSam:
    return issue_sam(STORE, Scheme.CJ, ISSUER, TERMINAL, MemorySequence())


def load(card: Transceiver, amount_fen: int) -> None:
    terms = host.LoadTerms(amount_fen, TERMINAL)
    inspect.select(card, CJ.aid)
    answer = host.AnswerA.parse(outlet.initialise_load(card, amount_fen, terminal=TERMINAL))
    host.check_load_mac1(STORE, CARD, answer, terms)
    tac = outlet.credit_for_load(card, AT, host.make_load_mac2(STORE, CARD, answer, terms, AT))
    host.check_load_tac(STORE, CARD, answer, terms, AT, tac)


def buy(card: Transceiver, sam: VirtualSam, amount_fen: int, journal: Any = lambda purchase: None) -> Purchase:
    view = inspect.select(card, CJ.aid)
    assert view is not None
    return terminal.purchase(card, sam, view, amount_fen, terminal=TERMINAL, at=AT, journal=journal)


class Vanishing:
    """A card that is taken away at its next DEBIT: before it acts, or after it has acted and before it answers."""

    def __init__(self, card: VirtualCard, *, acts: bool) -> None:
        self.card, self.acts = card, acts
        self.atr = card.atr
        self.reset = card.reset

    def transmit(self, command: bytes) -> bytes:
        if command[1] == 0x54:
            if self.acts:
                self.card.transmit(command)
            raise CardGone(command="taken away")
        return self.card.transmit(command)


def test_a_load_and_a_purchase_over_pcscd(
    insert: Insert, reader: PcscReader, card: VirtualCard, sam: VirtualSam
) -> None:
    insert(card)
    with reader.connect() as connection:
        assert connection.atr == card.atr
        load(connection, 1000)
        assert buy(connection, sam, 200).sam_agreed
        assert terminal.read_balance(connection, PurseId.EP) == 800
    assert card.application(CJ.aid).purse.balance_fen == 800


@pytest.mark.parametrize(("acts", "finding"), [(True, Finding.DONE), (False, Finding.NOT_DONE)])
def test_a_card_taken_away_at_the_debit_is_decided_when_it_comes_back(
    insert: Insert, reader: PcscReader, card: VirtualCard, sam: VirtualSam, acts: bool, finding: Finding
) -> None:
    load(card, 1000)
    insert(Vanishing(card, acts=acts))
    journal: list[Purchase] = []
    with reader.connect() as connection, pytest.raises(Torn) as torn:
        buy(connection, sam, 200, journal.append)
    assert [entry.grey for entry in journal] == [True]
    insert(card)
    with reader.connect() as connection:
        found, done = terminal.recover(connection, sam, torn.value.purchase, journal.append)
        assert (found, done.grey) == (finding, not acts)
        inspect.select(connection, CJ.aid)
        assert terminal.read_balance(connection, PurseId.EP) == (800 if acts else 1000)


def test_a_card_that_left_answers_nothing_and_its_connection_stays_dead(
    insert: Insert, reader: PcscReader, card: VirtualCard
) -> None:
    insertion = insert(card)
    connection = reader.connect()
    insertion.remove()
    for _ in range(2):
        with pytest.raises(CardGone):
            connection.transmit(GET_BALANCE)
    with pytest.raises(CardGone):
        connection.reset()
    connection.close()
    insert(card)
    with reader.connect() as again:
        assert inspect.select(again, CJ.aid) is not None


def test_a_card_in_use_is_busy_until_its_holder_lets_go(insert: Insert, reader: PcscReader, card: VirtualCard) -> None:
    insert(card)
    other = PcscService()
    with reader.connect(), pytest.raises(CardBusy):
        other.reader(READER).connect()
    with other.reader(READER).connect() as connection:
        assert inspect.select(connection, CJ.aid) is not None
    other.close()


def test_a_card_that_somebody_else_reset_must_be_selected_anew(
    insert: Insert, reader: PcscReader, card: VirtualCard
) -> None:
    insert(card)
    other = PcscService()
    mine = reader.connect(exclusive=False)
    inspect.select(mine, CJ.aid)
    with other.reader(READER).connect(exclusive=False) as theirs:
        theirs.reset()
    with pytest.raises(CardWasReset):
        mine.transmit(GET_BALANCE)
    with reader.connect() as again:
        assert inspect.select(again, CJ.aid) is not None
    other.close()


def test_a_reset_forgets_what_was_selected(insert: Insert, reader: PcscReader, card: VirtualCard) -> None:
    insert(card)
    with reader.connect() as connection:
        inspect.select(connection, CJ.aid)
        assert connection.reset() == card.atr
        assert connection.transmit(GET_BALANCE).hex() == "6985"


def test_closing_powers_the_card_off(insert: Insert, reader: PcscReader, card: VirtualCard) -> None:
    insert(card)
    with reader.connect() as connection:
        inspect.select(connection, CJ.aid)
    with reader.connect() as connection:
        assert connection.transmit(GET_BALANCE).hex() == "6985"


def test_cards_that_come_and_go_are_reported(service: PcscService, insert: Insert, card: VirtualCard) -> None:
    changes = {(event.change, event.reader) for event in service.watch(0)}
    assert (Change.READER_ADDED, READER) in changes
    assert service.watch(0) == []
    insertion = insert(card)
    assert [(event.change, event.reader) for event in service.watch(5)] == [(Change.CARD_INSERTED, READER)]
    insertion.remove()
    assert [(event.change, event.reader) for event in service.watch(5)] == [(Change.CARD_REMOVED, READER)]


def test_an_unknown_reader_is_named_with_those_there_are(service: PcscService) -> None:
    with pytest.raises(ReaderUnknown) as unknown:
        service.reader("Omnikey")
    assert READER in unknown.value.facts["known"]


def test_a_second_card_on_an_occupied_reader_is_not_heard(
    insert: Insert, reader: PcscReader, card: VirtualCard
) -> None:
    insert(card)
    other = personalise(CJ, bytes.fromhex("00009901000000099999"), card_keys(STORE, CARD), issuer=ISSUER)
    with VirtualInsertion(other), reader.connect() as connection:
        view = inspect.select(connection, CJ.aid)
        assert view is not None
        assert view.number == CARD.number


@pytest.fixture
def our_pcscd(pcscd: Pcscd | None) -> Iterator[Pcscd]:
    if pcscd is None:
        pytest.skip("a pcscd runs here already; it is not ours to stop")
    yield pcscd
    if not pcscd.alive:
        pcscd.start()


def test_a_stopped_pcscd_is_named_and_a_restarted_one_serves_again(
    our_pcscd: Pcscd, insert: Insert, service: PcscService, reader: PcscReader, card: VirtualCard, sam: VirtualSam
) -> None:
    load(card, 1000)
    insertion = insert(card)
    connection = reader.connect()
    inspect.select(connection, CJ.aid)
    our_pcscd.stop()
    assert insertion.wait(10), "the card's thread ends with pcscd"
    with pytest.raises(ReaderServiceLost):
        connection.transmit(GET_BALANCE)
    connection.close()
    with pytest.raises(ReaderServiceDown):
        reader.connect()
    with pytest.raises(ReaderServiceDown):
        service.watch(0)
    with pytest.raises(ReaderServiceDown):
        VirtualInsertion(card)
    our_pcscd.start()
    with VirtualInsertion(card):
        assert reader.wait_for_card(10)
        with reader.connect() as again:
            assert buy(again, sam, 300).sam_agreed
            assert terminal.read_balance(again, PurseId.EP) == 700


def test_pcscd_stopped_at_the_debit_is_a_torn_purchase_and_is_recovered(
    our_pcscd: Pcscd, insert: Insert, reader: PcscReader, card: VirtualCard, sam: VirtualSam
) -> None:
    load(card, 1000)
    insert(card)
    connection = reader.connect()
    view = inspect.select(connection, CJ.aid)
    assert view is not None
    journal: list[Purchase] = []

    def stop_after_grey(purchase: Purchase) -> None:
        journal.append(purchase)
        our_pcscd.stop()

    with pytest.raises(Torn) as torn:
        terminal.purchase(connection, sam, view, 200, terminal=TERMINAL, at=AT, journal=stop_after_grey)
    assert isinstance(torn.value.__cause__, ReaderServiceLost)
    our_pcscd.start()
    with VirtualInsertion(card):
        assert reader.wait_for_card(10)
        with reader.connect() as again:
            finding, _ = terminal.recover(again, sam, torn.value.purchase, journal.append)
            assert finding is Finding.NOT_DONE


def test_a_purchase_over_pcscd_takes_no_delayed_acknowledgements(
    insert: Insert, reader: PcscReader, card: VirtualCard, sam: VirtualSam
) -> None:
    """With Nagle's algorithm against delayed acknowledgements one tap took 88 ms; the goal is below 5 ms."""
    load(card, 1000)
    insert(card)
    taps_ms = []
    with reader.connect() as connection:
        for _ in range(50):
            began = time.perf_counter()
            buy(connection, sam, 1)
            taps_ms.append((time.perf_counter() - began) * 1000)
    assert statistics.median(taps_ms) < 20
