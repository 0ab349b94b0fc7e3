"""Readers in this process and at the end of a stream: the same behaviour, and every failure by its name."""

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import DomainError
from libs.keystore import demo_keystore
from libs.purse import host, inspect, outlet, terminal
from libs.purse.card import CJ, VirtualCard, card_keys, personalise
from libs.purse.readers import (
    CardAbsent,
    CardBusy,
    CardWasReset,
    InProcessReader,
    Reader,
    ReaderLost,
    ReaderServiceDown,
    ReaderServiceLost,
    ReaderUnknown,
)
from libs.purse.readers.relay import Desk, Kind, Message, RelayedReader, RelayLost, RelayMalformed, decode, encode
from libs.purse.sam import issue_sam
from libs.purse.scheme import CardIdentity, Scheme
from libs.purse.sequence import MemorySequence
from libs.purse.transactions import PurseId
from libs.purse.transceiver import CardGone

ISSUER = bytes.fromhex("01019901FFFFFFFF")
TERMINAL = bytes.fromhex("990100000001")
AT = datetime(2025, 1, 2, 0, 9, 10, tzinfo=UTC)
CARD = CardIdentity(Scheme.CJ, ISSUER, bytes.fromhex("00009901000000012345"))
STORE = demo_keystore("readers", [(Scheme.CJ, ISSUER)])
GET_BALANCE = bytes.fromhex("805C000204")


@pytest.fixture
def card() -> VirtualCard:
    return personalise(CJ, CARD.number, card_keys(STORE, CARD), issuer=ISSUER)


@pytest.fixture
def place(card: VirtualCard) -> InProcessReader:
    return InProcessReader(card)


def over_a_socket(reader: Reader) -> tuple[RelayedReader, Callable[[], None]]:
    """A desk in a thread behind a real byte stream; the second value breaks it."""
    centre, desk_end = socket.socketpair()
    desk = Desk(reader)

    def received(end: socket.socket) -> bytes:
        head = end.recv(2, socket.MSG_WAITALL)
        if len(head) < 2:
            raise OSError("the stream has ended")
        return end.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)

    def send(end: socket.socket, body: bytes) -> None:
        end.sendall(len(body).to_bytes(2, "big") + body)

    def serve() -> None:
        try:
            while True:
                send(desk_end, desk.answer(received(desk_end)))
        except OSError:
            desk.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def ask(request: bytes) -> bytes:
        send(centre, request)
        return received(centre)

    def cut() -> None:
        centre.shutdown(socket.SHUT_RDWR)
        thread.join()

    return RelayedReader("outlet 7, desk 2", ask), cut


@pytest.fixture(params=["in process", "relayed"])
def reader(request: Any, place: InProcessReader) -> Iterator[Reader]:
    if request.param == "in process":
        yield place
        return
    relayed, cut = over_a_socket(place)
    yield relayed
    cut()


def test_a_load_and_a_purchase_through_any_reader(reader: Reader, card: VirtualCard) -> None:
    terms = host.LoadTerms(1000, TERMINAL)
    with reader.connect() as connection:
        assert connection.atr == card.atr
        view = inspect.select(connection, CJ.aid)
        assert view is not None
        answer = host.AnswerA.parse(outlet.initialise_load(connection, 1000, terminal=TERMINAL))
        tac = outlet.credit_for_load(connection, AT, host.make_load_mac2(STORE, CARD, answer, terms, AT))
        host.check_load_tac(STORE, CARD, answer, terms, AT, tac)
        sam = issue_sam(STORE, Scheme.CJ, ISSUER, TERMINAL, MemorySequence())
        terminal.purchase(connection, sam, view, 300, terminal=TERMINAL, at=AT, journal=lambda _: None)
        assert terminal.read_balance(connection, PurseId.EP) == 700


def test_a_card_that_was_taken_away_answers_nothing(reader: Reader, place: InProcessReader) -> None:
    with reader.connect() as connection:
        inspect.select(connection, CJ.aid)
        place.remove()
        with pytest.raises(CardGone):
            connection.transmit(GET_BALANCE)
        with pytest.raises(CardGone):
            connection.reset()
    with pytest.raises(CardAbsent):
        reader.connect()
    assert not reader.wait_for_card(0)


def test_a_card_that_came_back_starts_anew(reader: Reader, place: InProcessReader, card: VirtualCard) -> None:
    old = reader.connect()
    inspect.select(old, CJ.aid)
    place.remove()
    place.insert(card)
    assert reader.wait_for_card(0)
    with reader.connect() as connection:
        assert connection.transmit(GET_BALANCE).hex() == "6985"


def test_a_card_in_use_is_busy_until_it_is_let_go(reader: Reader, place: InProcessReader) -> None:
    with place.connect(), pytest.raises(CardBusy):
        reader.connect()
    reader.connect().close()


def test_a_reset_forgets_the_selection(reader: Reader, card: VirtualCard) -> None:
    with reader.connect() as connection:
        inspect.select(connection, CJ.aid)
        assert connection.reset() == card.atr
        assert connection.transmit(GET_BALANCE).hex() == "6985"


def test_a_closed_connection_is_dead_and_closing_twice_is_once(reader: Reader) -> None:
    connection = reader.connect()
    connection.close()
    connection.close()
    with pytest.raises(CardGone):
        connection.transmit(GET_BALANCE)


def test_who_waits_sees_the_card_come(card: VirtualCard) -> None:
    place = InProcessReader()
    assert not place.wait_for_card(0)
    timer = threading.Timer(0.02, place.insert, [card])
    timer.start()
    assert place.wait_for_card(5)
    timer.join()


def test_a_batch_ends_at_the_first_refusal(place: InProcessReader) -> None:
    relayed, cut = over_a_socket(place)
    with relayed.connect() as connection:
        select = bytes.fromhex("00A4040009A00000000386980701")
        answers = connection.transmit_all([select, GET_BALANCE, bytes.fromhex("805C000104"), GET_BALANCE])
        assert [answer[-2:].hex() for answer in answers] == ["9000", "9000", "6a81"]
    cut()


def test_a_broken_stream_is_a_lost_relay_and_the_desk_lets_the_card_go(place: InProcessReader) -> None:
    relayed, cut = over_a_socket(place)
    connection = relayed.connect()
    cut()
    with pytest.raises(RelayLost):
        connection.transmit(GET_BALANCE)
    connection.close()
    place.connect().close()


def test_a_purchase_over_a_broken_stream_is_torn_and_recovered(place: InProcessReader, card: VirtualCard) -> None:
    application = card.application(CJ.aid)
    application.commit(type(application.purse)(balance_fen=1000))
    relayed, cut = over_a_socket(place)
    sam = issue_sam(STORE, Scheme.CJ, ISSUER, TERMINAL, MemorySequence())
    connection = relayed.connect()
    view = inspect.select(connection, CJ.aid)
    assert view is not None
    with pytest.raises(terminal.Torn) as torn:
        terminal.purchase(connection, sam, view, 300, terminal=TERMINAL, at=AT, journal=lambda _: cut())
    again, cut_again = over_a_socket(place)
    with again.connect() as back:
        finding, _ = terminal.recover(back, sam, torn.value.purchase, lambda _: None)
    assert finding is terminal.Finding.NOT_DONE
    cut_again()


@pytest.mark.parametrize(
    "failure", [ReaderLost, ReaderServiceLost, ReaderServiceDown, ReaderUnknown, CardWasReset, CardBusy, CardAbsent]
)
def test_what_failed_on_the_desk_has_its_name_in_the_centre(failure: type[DomainError]) -> None:
    class Failing:
        name = "failing"

        def connect(self) -> Any:
            raise failure(reader="x")

        def wait_for_card(self, timeout_s: float) -> bool:
            return False

    desk = Desk(Failing())
    with pytest.raises(failure):
        RelayedReader("desk", desk.answer).connect()


def test_a_reason_that_nobody_knows_is_a_lost_relay() -> None:
    reader = RelayedReader("desk", lambda _: encode(Message(Kind.FAILED, (b"SOMETHING_ELSE",))))
    with pytest.raises(RelayLost):
        reader.connect()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x81",
        b"\x81\x01",
        b"\x81\x01\x00\x05ab",
        b"\x81\x00\x00",
        b"\x81\xff",
        b"\x07\x00",
        encode(Message(Kind.DONE)),
        encode(Message(Kind.DONE, (b"\x90",))),
        encode(Message(Kind.DONE, (b"\x90\x00", b"\x90\x00"))),
        encode(Message(Kind.FAILED)),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_lost_relay(place: InProcessReader, answer: bytes) -> None:
    desk = Desk(place)
    replies = iter([desk.answer(encode(Message(Kind.CONNECT)))])
    connection = RelayedReader("desk", lambda _: next(replies, answer)).connect()
    with pytest.raises(RelayLost):
        connection.transmit(GET_BALANCE)


@given(st.binary(max_size=80))
def test_any_bytes_are_answered_by_the_desk(request_bytes: bytes) -> None:
    answer = decode(Desk(InProcessReader()).answer(request_bytes))
    assert answer.kind in (Kind.DONE, Kind.FAILED)


def test_an_answer_is_no_request(place: InProcessReader) -> None:
    assert decode(Desk(place).answer(encode(Message(Kind.DONE)))).parts[0] == RelayMalformed.reason.encode()


@given(st.sampled_from(list(Kind)), st.lists(st.binary(max_size=300), max_size=33))
def test_a_message_survives_the_way(kind: Kind, parts: list[bytes]) -> None:
    message = Message(kind, tuple(parts))
    assert decode(encode(message)) == message
