"""One top-up of one purse (圈存) and how it is decided (purse-protocol.md, section 3.1).

A load is decided in two steps, so that a crash between two services can lose neither money nor proof. First the
evidence is stored as a *verdict*; a verdict is never changed. Then the ledger is told, as often as it takes, and the
load becomes final. The ledger therefore hears either commit or void of a load, never both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from libs.errors import RequestMalformed
from services.card.domain.errors import (
    AnswerStale,
    LoadOpen,
    LoadStateForbids,
    LoadWasWritten,
    OutletCreditExhausted,
)
from services.card.domain.events import CardEvent, LoadConfirmed, LoadReversed

ANSWER_A_SIZE = 16
STATUS_OK = b"\x90\x00"
STATUS_MAC_WRONG = b"\x93\x02"


class LoadState(StrEnum):
    """Where a load is; the values are those of the contract."""

    REQUESTED = "REQUESTED"
    AUTHORISED = "AUTHORISED"
    UNCERTAIN = "UNCERTAIN"
    CONFIRMED = "CONFIRMED"
    REVERSED = "REVERSED"
    REFUSED = "REFUSED"


class Verdict(StrEnum):
    """What the evidence says; the ledger may not have heard of it yet."""

    WRITTEN = "WRITTEN"
    UNWRITTEN = "UNWRITTEN"


class Evidence(StrEnum):
    """By what a load was decided."""

    TAC = "TAC"
    COUNTER = "COUNTER"  # a later answer A of the card, authenticated by its MAC1
    STATUS_WORD = "STATUS_WORD"  # the outlet says: the card answered 9302
    READ_AGAIN = "READ_AGAIN"  # the outlet says: balance and counter are unchanged
    SUPERSEDED = "SUPERSEDED"  # another order of the card came before any MAC2 was given
    TIMEOUT = "TIMEOUT"  # no MAC2 was given in time
    CREDIT_EXHAUSTED = "CREDIT_EXHAUSTED"  # the ledger did not hold the money
    CARD_STATE = "CARD_STATE"  # the card was blocked before any MAC2 was given


class Tender(StrEnum):
    """How the customer paid; the values are those of the contract."""

    CASH = "CASH"
    BANK_CARD = "BANK_CARD"
    CHEQUE = "CHEQUE"
    QR = "QR"


OPEN_STATES = frozenset({LoadState.REQUESTED, LoadState.AUTHORISED, LoadState.UNCERTAIN})

# State before, verdict -> final state. What is not here cannot happen: no proof of writing without a MAC2.
SETTLED: Mapping[tuple[LoadState, Verdict], LoadState] = {
    (LoadState.REQUESTED, Verdict.UNWRITTEN): LoadState.REFUSED,
    (LoadState.AUTHORISED, Verdict.UNWRITTEN): LoadState.REVERSED,
    (LoadState.AUTHORISED, Verdict.WRITTEN): LoadState.CONFIRMED,
    (LoadState.UNCERTAIN, Verdict.UNWRITTEN): LoadState.REVERSED,
    (LoadState.UNCERTAIN, Verdict.WRITTEN): LoadState.CONFIRMED,
}


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """What an outlet asks for, with the card's answer A.

    Attributes:
        card: Number of the card.
        amount_fen: Above 0.
        outlet: Name of the outlet that took the money.
        terminal_number: Sent in INITIALIZE FOR LOAD, 12 digits.
        answer_a: 16 bytes: balance4 counter2 version1 algorithm1 random4 MAC1 4 (purse-protocol.md, section 2).
        tender: How the customer paid.
    """

    card: str
    amount_fen: int
    outlet: str
    terminal_number: str
    answer_a: bytes
    tender: Tender

    def __post_init__(self) -> None:
        assert len(self.answer_a) == ANSWER_A_SIZE, "the schema bounds answer A to 16 bytes"

    @property
    def card_balance_fen(self) -> int:
        """Balance that the card showed; a JT card with an overdraft limit adds the limit (purse-protocol.md, 3.6)."""
        return int.from_bytes(self.answer_a[:4], "big")

    @property
    def online_counter(self) -> int:
        """Online counter that the card showed, before the load."""
        return int.from_bytes(self.answer_a[4:6], "big")


@dataclass(frozen=True, slots=True)
class CardSight:
    """What the loads of a card say of when it was seen last.

    Attributes:
        counter_min: Least online counter that the card can show now: the highest it showed, and one more if that load
            was written.
        answer_known: Whether this very answer A got a MAC2 before, for a load that is decided.
    """

    counter_min: int
    answer_known: bool

    def check(self, order: LoadOrder) -> None:
        """Refuse an answer that was recorded earlier: counters never run back, and random numbers do not repeat.

        Raises:
            AnswerStale: It was.
        """
        if self.answer_known or order.online_counter < self.counter_min:
            raise AnswerStale(card=order.card)


@dataclass(frozen=True, slots=True)
class Load:
    """One load.

    Attributes:
        id: UUID in text form; also the request id of its reservation in the ledger.
        order: What was asked for.
        generation: Of the card.
        state: Where it is.
        verdict: What the evidence says; None while undecided.
        evidence: By what; None while undecided.
        reservation: Name of the ledger's reservation; empty before MAC2 is given.
        mac2: 4 bytes, empty before it is given.
        tac: 4 bytes, empty when none proved it.
        host_time: Whole second that MAC2 covers; None before.
        create_time: When it was asked for.
        expire_time: Until when an authorised load waits for its confirmation; None before.
        resolve_time: When it became final; None before.
    """

    id: str
    order: LoadOrder
    generation: int
    state: LoadState
    verdict: Verdict | None
    evidence: Evidence | None
    reservation: str
    mac2: bytes
    tac: bytes
    host_time: datetime | None
    create_time: datetime
    expire_time: datetime | None
    resolve_time: datetime | None

    @classmethod
    def requested(cls, load_id: str, order: LoadOrder, generation: int, at: datetime) -> "Load":
        """A load that was just asked for."""
        return cls(load_id, order, generation, LoadState.REQUESTED, None, None, "", b"", b"", None, at, None, None)

    @property
    def name(self) -> str:
        """Resource name, `loads/{uuid}`; what the ledger's entries refer to."""
        return f"loads/{self.id}"

    @property
    def purse(self) -> str:
        """Name of the purse in the ledger."""
        return f"{self.order.card}.{self.generation}"

    @property
    def new_balance_fen(self) -> int:
        """Balance on the card after the load."""
        return self.order.card_balance_fen + self.order.amount_fen

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.state not in OPEN_STATES

    @property
    def awaits_mac2(self) -> bool:
        """Whether MAC2 may still be given."""
        return self.state is LoadState.REQUESTED and self.verdict is None

    def decided_by_next(self, order: LoadOrder) -> "Load":
        """Decide this open load by the next answer A of its card, whose MAC1 was checked (section 3.1, step 6).

        Raises:
            LoadOpen: The answer does not decide it: its counter is neither the old one nor the next, or it is the very
                answer that this load was made of, which was given before any writing and so proves nothing.
        """
        if self.verdict is not None:
            return self
        if self.state is LoadState.REQUESTED:
            # No MAC2 left this house, and none will.
            return self._decided(Verdict.UNWRITTEN, Evidence.SUPERSEDED)
        if order.answer_a == self.order.answer_a:
            raise LoadOpen(load=self.id)
        step = order.online_counter - self.order.online_counter
        if step not in (0, 1):
            raise LoadOpen(load=self.id)
        return self._decided(Verdict.WRITTEN if step else Verdict.UNWRITTEN, Evidence.COUNTER)

    def authorised(self, *, mac2: bytes, reservation: str, host_time: datetime, wait: timedelta) -> "Load":
        """MAC2 is given out: from here on the card may have been written."""
        assert self.awaits_mac2, "MAC2 is given once, to a load that nothing has decided"
        return replace(
            self,
            state=LoadState.AUTHORISED,
            mac2=mac2,
            reservation=reservation,
            host_time=host_time,
            expire_time=host_time + wait,
        )

    def refused(self, evidence: Evidence, at: datetime) -> "Load":
        """Final, where the ledger holds nothing for it."""
        assert self.state is LoadState.REQUESTED, "a load with a MAC2 is reversed, not refused"
        return replace(self._decided(Verdict.UNWRITTEN, evidence), state=LoadState.REFUSED, resolve_time=at)

    def given_up(self, evidence: Evidence) -> "Load":
        """No MAC2 will be given; what the ledger may hold for it is to be voided."""
        assert self.awaits_mac2, "only a load without MAC2 can be given up"
        return self._decided(Verdict.UNWRITTEN, evidence)

    def timed_out(self) -> "Load":
        """Time is up without news: it waits for the card's next sight, its money stays reserved."""
        assert self.state is LoadState.AUTHORISED, "only an authorised load waits"
        assert self.verdict is None, "a decided load waits for nothing but the ledger"
        return replace(self, state=LoadState.UNCERTAIN)

    def check_confirmable(self) -> None:
        """Check that a TAC may decide it.

        Raises:
            LoadStateForbids: No MAC2 was given, or it is proven not written.
        """
        if self.state not in (LoadState.AUTHORISED, LoadState.UNCERTAIN) or self.verdict is Verdict.UNWRITTEN:
            raise LoadStateForbids(load=self.id, state=self._shown_state)

    def proven(self, tac: bytes) -> "Load":
        """The card's TAC, checked already, proves it. Evidence that decided it earlier stays, the TAC beside it.

        Raises:
            LoadStateForbids: As `check_confirmable`.
        """
        self.check_confirmable()
        decided = self if self.verdict else self._decided(Verdict.WRITTEN, Evidence.TAC)
        return replace(decided, tac=tac)

    def disproven(self, status_word: bytes, *, card_unchanged: bool) -> "Load":
        """The outlet says that the card was not written.

        Args:
            status_word: What the card answered to CREDIT FOR LOAD, 2 bytes or none.
            card_unchanged: The outlet read the card again and found balance and counter as in answer A.

        Raises:
            LoadStateForbids: It is final the other way, or no MAC2 was given.
            LoadWasWritten: The card said so itself: 9000, or its counter.
            RequestMalformed: Neither 9302 nor an unchanged card: that is no evidence, the load stays as it is.
        """
        if self.verdict is Verdict.WRITTEN and (not self.is_final or self.evidence is Evidence.COUNTER):
            raise LoadWasWritten(load=self.id)
        if self.state not in (LoadState.AUTHORISED, LoadState.UNCERTAIN):
            raise LoadStateForbids(load=self.id, state=self.state)
        if status_word == STATUS_OK:
            raise LoadWasWritten(load=self.id)
        if self.verdict is not None:
            return self
        if status_word == STATUS_MAC_WRONG:
            return self._decided(Verdict.UNWRITTEN, Evidence.STATUS_WORD)
        if card_unchanged:
            return self._decided(Verdict.UNWRITTEN, Evidence.READ_AGAIN)
        raise RequestMalformed(field="card_unchanged", description="a reversal needs 9302 or a card found unchanged")

    def settled(self, at: datetime) -> tuple["Load", list[CardEvent]]:
        """The ledger has heard of the verdict: final."""
        assert self.verdict is not None, "only a decided load can be settled"
        final = replace(self, state=SETTLED[self.state, self.verdict], resolve_time=at)
        events: list[CardEvent] = []
        if final.state is LoadState.CONFIRMED:
            assert self.host_time is not None, "a load with a MAC2 has its time"
            events.append(
                LoadConfirmed(
                    load=self.name,
                    number=self.order.card,
                    generation=self.generation,
                    amount_fen=self.order.amount_fen,
                    online_counter=self.order.online_counter,
                    new_balance_fen=self.new_balance_fen,
                    load_time=self.host_time,
                )
            )
        elif final.state is LoadState.REVERSED:
            events.append(LoadReversed(self.name, self.order.card, self.generation, self.order.amount_fen, at))
        return final, events

    def check_answerable(self) -> None:
        """Check that its outlet may be given the load as the answer of AuthoriseLoad.

        Raises:
            OutletCreditExhausted: It was refused for that.
            LoadStateForbids: It was refused or given up for another reason before MAC2 was given.
        """
        if self.evidence is Evidence.CREDIT_EXHAUSTED:
            raise OutletCreditExhausted(outlet=self.order.outlet)
        if self.state in (LoadState.REQUESTED, LoadState.REFUSED):
            raise LoadStateForbids(load=self.id, state=self._shown_state)

    @property
    def _shown_state(self) -> LoadState:
        """Where it will be: a clerk who is refused wants to know the outcome, not that the ledger is being told."""
        return self.state if self.is_final or self.verdict is None else SETTLED[self.state, self.verdict]

    def _decided(self, verdict: Verdict, evidence: Evidence) -> "Load":
        return replace(self, verdict=verdict, evidence=evidence)
