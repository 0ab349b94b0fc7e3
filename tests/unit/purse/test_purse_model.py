"""Random command sequences against a small model of the purse: balance, counters and log stay right, torn or not."""

import itertools
from datetime import UTC, datetime
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from libs.keystore import demo_keystore
from libs.purse import host, inspect, outlet, terminal
from libs.purse.card import CJ, card_keys, personalise
from libs.purse.sam import issue_sam
from libs.purse.scheme import CardIdentity, Scheme
from libs.purse.sequence import MemorySequence
from libs.purse.transceiver import CardGone

ISSUER = bytes.fromhex("01019901FFFFFFFF")
TERMINAL = bytes.fromhex("990100000001")
AT = datetime(2025, 1, 2, 0, 9, 10, tzinfo=UTC)
IDENTITY = CardIdentity(Scheme.CJ, ISSUER, bytes.fromhex("00009901000000012345"))
STORE = demo_keystore("model", [(Scheme.CJ, ISSUER)])
KEYS = card_keys(STORE, IDENTITY)
MAX_FEN = 5000
# No cut; before the card saw the command; after it obeyed; or power lost at its n-th elementary write.
CUTS = st.one_of(st.sampled_from(["none", "before", "after"]), st.integers(0, 12))


class PurseMachine(RuleBasedStateMachine):
    """The model: a balance, two counters, a list of amounts. The card must agree after every step."""

    def __init__(self) -> None:
        super().__init__()
        numbers = itertools.count(1)
        self.card = personalise(
            CJ, IDENTITY.number, KEYS, issuer=ISSUER, random=lambda size: next(numbers).to_bytes(size, "big")
        )
        self.sam = issue_sam(STORE, Scheme.CJ, ISSUER, TERMINAL, MemorySequence())
        self.balance = self.loads = self.purchases = 0
        self.log: list[tuple[int, int]] = []
        self.trips: list[bytes] = []
        self.sequences: list[int] = []
        self.view = self._select()

    def _select(self) -> inspect.CardView:
        view = inspect.select(self.card, CJ.aid)
        assert view is not None
        return view

    def _cut(self, ins: int, when: str | int) -> Any:
        """A transceiver that loses the card at one instruction: before it, after it, or in the middle of its writes."""

        def transmit(command: bytes) -> bytes:
            if command[1] != ins or when == "none":
                return self.card.transmit(command)
            if isinstance(when, int):
                self.card.tear(when)
                try:
                    return self.card.transmit(command)
                finally:
                    self.card.reset()
            if when == "after":
                self.card.transmit(command)
            self.card.reset()
            raise CardGone(command=command[:4].hex())

        return transmit

    def _book(self, tti: int, amount: int) -> None:
        self.log.insert(0, (tti, amount))
        if tti == 2:
            self.balance += amount
            self.loads += 1
        else:
            self.balance -= amount
            self.purchases += 1

    @rule(amount=st.integers(1, MAX_FEN), cut=CUTS)
    def load(self, amount: int, cut: str | int) -> None:
        terms = host.LoadTerms(amount, TERMINAL)
        transmit = self._cut(0x52, cut)
        answer = host.AnswerA.parse(outlet.initialise_load(transmit, amount, terminal=TERMINAL))
        assert (answer.old_balance_fen, answer.online_counter) == (self.balance, self.loads)
        host.check_load_mac1(STORE, IDENTITY, answer, terms)
        mac2 = host.make_load_mac2(STORE, IDENTITY, answer, terms, AT)
        proof: bytes | None
        try:
            proof = outlet.credit_for_load(transmit, AT, mac2)
        except CardGone:
            self.view = self._select()
            proof = outlet.load_proof(self.card, answer.online_counter)
        if isinstance(cut, int):
            self.view = self._select()
        else:
            assert (proof is None) == (cut == "before")
        if proof is not None:
            host.check_load_tac(STORE, IDENTITY, answer, terms, AT, proof)
            self._book(2, amount)

    @rule(amount=st.integers(0, MAX_FEN), cut=CUTS, with_trip=st.booleans())
    def buy(self, amount: int, cut: str | int, with_trip: bool) -> None:
        trip = (len(self.trips) + 1).to_bytes(48, "big")
        journal: list[terminal.Purchase] = []
        tti = 9 if with_trip else 6
        try:
            done = terminal.purchase(
                self._cut(0x54, cut),
                self.sam,
                self.view,
                amount,
                terminal=TERMINAL,
                at=AT,
                journal=journal.append,
                writes=(lambda _: [terminal.CappWrite.append(0x1E, trip)]) if with_trip else None,
            )
        except terminal.MoneyNotEnough:
            assert amount > self.balance
            return
        except terminal.Torn as torn:
            finding, done = terminal.recover(self.card, self.sam, torn.purchase, journal.append)
            assert finding in (terminal.Finding.NOT_DONE, terminal.Finding.DONE), "a torn debit is decided, always"
            assert done.grey == (finding is terminal.Finding.NOT_DONE)
            if not isinstance(cut, int):
                assert done.grey == (cut == "before")
        if isinstance(cut, int):
            self.view = self._select()
        assert amount <= self.balance
        self.sequences.append(done.sequence)
        if done.grey:
            return
        assert done.sam_agreed
        assert [entry.grey for entry in journal] == [True, False]
        assert (done.answer.old_balance_fen, done.answer.offline_counter) == (self.balance, self.purchases)
        host.check_purchase_tac(
            STORE,
            IDENTITY,
            key_version=done.answer.key_version,
            algorithm_id=done.answer.algorithm_id,
            amount_fen=amount,
            tti=tti,
            terminal=TERMINAL,
            sequence=done.sequence,
            stamp=done.stamp,
            tac=done.tac,
        )
        self._book(tti, amount)
        if with_trip:
            self.trips.insert(0, trip)

    @rule(cut_at=st.sampled_from([0x50, 0x70, 0xDC]))
    def lose_the_card_before_the_debit(self, cut_at: int) -> None:
        try:
            terminal.purchase(
                self._cut(cut_at, "after"),
                self._cut_sam(cut_at),
                self.view,
                0,
                terminal=TERMINAL,
                at=AT,
                journal=lambda _: None,
                writes=lambda _: [terminal.CappWrite.append(0x1E, bytes(48))],
            )
        except CardGone:
            self.card.reset()
            self.view = self._select()
        else:
            raise AssertionError("the card was lost, and nobody noticed")

    def _cut_sam(self, ins: int) -> Any:
        def transmit(command: bytes) -> bytes:
            if command[1] == ins:
                raise CardGone(command=command[:4].hex())
            return self.sam.transmit(command)

        return transmit

    @rule(command=st.binary(min_size=4, max_size=30))
    def disturb(self, command: bytes) -> None:
        self.card.transmit(command)
        self.card.reset()
        self.view = self._select()

    @rule()
    def try_a_load_without_pin(self) -> None:
        answer = self.card.transmit(bytes.fromhex("805000020B010000271099010000000110"))
        assert answer.hex() == "6982"

    @invariant()
    def card_and_model_agree(self) -> None:
        purse = self.card.application(CJ.aid).purse
        assert (purse.balance_fen, purse.online_counter, purse.offline_counter) == (
            self.balance,
            self.loads,
            self.purchases,
        )
        records = [purse.log[at : at + 23] for at in range(0, len(purse.log), 23)]
        assert [(record[9], int.from_bytes(record[5:9], "big")) for record in records] == self.log[:10]

    @invariant()
    def trips_are_those_of_the_debits(self) -> None:
        for number, trip in enumerate(self.trips[:30], 1):
            assert self.card.transmit(bytes((0x00, 0xB2, number, 0xF4, 48)))[:48] == trip
        if len(self.trips) < 30:
            answer = self.card.transmit(bytes((0x00, 0xB2, len(self.trips) + 1, 0xF4, 48)))
            assert answer.hex() == "6a83"

    @invariant()
    def no_terminal_sequence_is_used_twice(self) -> None:
        assert len(set(self.sequences)) == len(self.sequences)


TestPurse = PurseMachine.TestCase
TestPurse.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
