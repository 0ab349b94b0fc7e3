"""A whole terminal loses power at every operation of its journal, also between card and journal: nobody pays twice.

The cards are what they are at that moment; the terminal starts anew on what reached the medium, and the same person
taps again.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge.card.image import _application_from_json, _application_to_json
from edge.terminal.blacklist import TerminalBlacklist
from edge.terminal.journal_sqlite import SqliteJournal
from edge.terminal.terminal import Terminal
from libs.clock import FixedClock
from libs.purse.card import VirtualCard
from libs.purse.sam import VirtualSam, issue_sam
from libs.purse.scheme import Scheme
from libs.purse.sequence import MemorySequence
from libs.purse.terminal import Torn
from libs.records.codes import Kind
from libs.records.numbers import psam_bytes, terminal_bytes
from libs.records.otr import Records, check_format, read_records
from tests.faults.edge import recording_vfs
from tests.faults.edge.recording_vfs import Recording, lay_down, recorded
from tests.unit.edge.test_terminal import FACTS, ISSUER, KEYS, NOON, TornCard, a_card, costs, proves

FARE_FEN = 200
OPENING_FEN = 50_00
PAYING, ENTERING, TORN_AFTER, TORN_BEFORE = range(4)
DEBIT = b"\x80\x54"


def a_terminal(journal: SqliteJournal, clock: FixedClock, first_seq: int) -> Terminal:
    sam: VirtualSam = issue_sam(
        KEYS, Scheme.JT, ISSUER, terminal_bytes(FACTS.terminal_number), MemorySequence(first_seq),
        number=psam_bytes(FACTS.psam_number),
    )  # fmt: skip
    return Terminal(FACTS, sam.transmit, journal, clock, TerminalBlacklist())


@dataclass(frozen=True)
class Moment:
    """What the cards were after so many operations on the medium, and who was tapping."""

    ops: int
    cards: tuple[dict[str, Any], ...]
    tapping: int


class Watched:
    """A card before and after whose debit the world is written down."""

    def __init__(self, card: VirtualCard, note: Callable[[], None]) -> None:
        self.card = card
        self.reset = card.reset
        self._note = note

    def transmit(self, command: bytes) -> bytes:
        if command[:2] != DEBIT:
            return self.card.transmit(command)
        self._note()
        answer = self.card.transmit(command)
        self._note()
        return answer


@dataclass(frozen=True)
class Played:
    recording: Recording
    moments: list[Moment]

    def at(self, cut: int) -> list[Moment]:
        """All states of the world in which power may go after `cut` operations."""
        before = [moment for moment in self.moments if moment.ops < cut]
        return [*before[-1:], *(moment for moment in self.moments if moment.ops == cut)]


def act(terminal: Terminal, who: int, card: Any) -> None:
    if who == ENTERING:
        terminal.enter(card.transmit)
    else:
        terminal.pay(card.transmit, costs(FARE_FEN))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    if not recording_vfs.available:
        pytest.skip("this Python carries its own SQLite: no file layer can be put under it")
    cards = [a_card(serial=serial, balance_fen=OPENING_FEN) for serial in range(1, 5)]
    moments: list[Moment] = []
    tapping = PAYING
    clock = FixedClock(NOON)
    with recorded() as recording:

        def note() -> None:
            said = tuple(_application_to_json(card.applications[0]) for card in cards)
            moments.append(Moment(len(recording.ops), said, tapping))

        note()
        journal = SqliteJournal(tmp_path_factory.mktemp("played") / "journal.sqlite")
        terminal = a_terminal(journal, clock, 1)
        for _ in range(2):
            for tapping, card in enumerate(cards):
                clock.advance(seconds=10)
                watched: Any = Watched(card, note)
                note()
                if tapping in (TORN_AFTER, TORN_BEFORE):
                    with pytest.raises(Torn):
                        act(terminal, tapping, TornCard(watched, acts=tapping == TORN_AFTER))
                    note()
                act(terminal, tapping, watched)
                note()
        journal.close()
    return Played(recording, moments)


def after_the_cut(image: dict[str, bytes], moment: Moment, folder: Path) -> tuple[Records, list[VirtualCard]]:
    """Start anew, let the person tap again, collect everything."""
    lay_down(image, folder)
    journal = SqliteJournal(folder / "journal.sqlite")
    # The module hands out numbers that it never handed out before (libs.purse.sequence).
    terminal = a_terminal(journal, FixedClock(NOON.replace(hour=13)), 1_000)
    cards = [VirtualCard([_application_from_json(said)]) for said in moment.cards]
    act(terminal, moment.tapping, cards[moment.tapping])
    terminal.let_go(None)
    records = read_records(b"".join(kept.record for kept in journal.pending(1_000)))
    journal.close()
    return records, cards


@pytest.mark.parametrize("image_of", ["killed", "powerless", "scattered"])
def test_power_goes_at_every_operation_and_no_debit_is_lost_or_doubled(
    played: Played, tmp_path: Path, image_of: str
) -> None:
    draw = random.Random(7)
    states = 0
    for cut in range(len(played.recording.ops) + 1):
        image = (
            played.recording.scattered(cut, draw)
            if image_of == "scattered"
            else getattr(played.recording, image_of)(cut)
        )
        for moment in played.at(cut):
            records, cards = after_the_cut(image, moment, tmp_path)
            states += 1
            assert records["device_seq"].tolist() == list(range(1, len(records) + 1))
            assert not check_format(records).any()
            assert proves(records[records["kind"] != Kind.GREY])
            assert not (records["kind"] == Kind.GREY).any(), "the card came back: everything is decided"
            assert len(set(records["terminal_seq"].tolist())) == len(records), "no transaction stands twice"
            purses = [card.applications[0].purse for card in cards]
            assert int(records["amount_fen"].sum()) == sum(OPENING_FEN - purse.balance_fen for purse in purses), cut
            assert len(records) == sum(purse.offline_counter for purse in purses), cut
    assert states > len(played.recording.ops)


def test_whoever_tapped_when_power_went_pays_that_ride_once(played: Played, tmp_path: Path) -> None:
    # At every cut inside of one paid tap, the same person's next tap leaves the card with exactly one fare less than
    # before, or with two if the first ride had been told to him as done.
    began = next(moment for moment in played.moments if moment.tapping == PAYING)
    first_done = next(moment for moment in played.moments if moment.tapping == ENTERING)
    for cut in range(began.ops, first_done.ops):
        for moment in played.at(cut):
            if moment.tapping != PAYING:
                continue
            _, cards = after_the_cut(played.recording.killed(cut), moment, tmp_path)
            paid_fen = OPENING_FEN - cards[PAYING].applications[0].purse.balance_fen
            assert paid_fen in (FARE_FEN, 2 * FARE_FEN)
            if paid_fen == 2 * FARE_FEN:
                # The final record was being written, or was there: the gate had opened, or was about to.
                assert moment.cards[PAYING] != began.cards[PAYING]
