"""A flow: legs in the books on one side, operations at banks on the other, and the one way on from each state.

AUTHORISING → CAPTURING → POSTED, or → GIVING_UP → VOIDED; a posted one can go → UNDOING → UNDONE. The books hold the
amount from the first moment, post it when every bank has booked, and let it go the moment the flow is given up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.account.domain.bank_errors import BankFlowBusy
from services.account.domain.bank_leg import (
    BINDING,
    STUCK_AFTER,
    BankAnswer,
    BankLeg,
    BankState,
    Finding,
    FindingKind,
    LegState,
    Verb,
)
from services.account.domain.book import Posting
from services.account.domain.purse import PurseKey

TIMEOUT = "timeout"
CONTRADICTION = "contradiction"
CANCELLED = "cancelled"
UNDO_SUFFIX = "_undone"


class FlowKind(StrEnum):
    """What a flow does (BankFlowKind of the contract)."""

    LOAD = "LOAD"
    UNLOAD = "UNLOAD"
    PURCHASE = "PURCHASE"
    CASH_WITHDRAWAL = "CASH_WITHDRAWAL"
    TRANSFER = "TRANSFER"

    @property
    def event(self) -> str:
        """Word of its journal."""
        return f"bank_{self.value.lower()}"


# Journals that begin with a flow, and that take one back; no other posting may have such an event.
FLOW_EVENTS = frozenset(kind.event for kind in FlowKind)
UNDO_EVENTS = frozenset(event + UNDO_SUFFIX for event in FLOW_EVENTS)


class FlowState(StrEnum):
    """Where a flow is (BankFlowState of the contract)."""

    AUTHORISING = "AUTHORISING"
    CAPTURING = "CAPTURING"
    POSTED = "POSTED"
    GIVING_UP = "GIVING_UP"
    VOIDED = "VOIDED"
    UNDOING = "UNDOING"
    UNDONE = "UNDONE"


# The books hold the amount of these.
HOLDING = frozenset({FlowState.AUTHORISING, FlowState.CAPTURING})
# Nothing is left to do.
FINAL = frozenset({FlowState.POSTED, FlowState.VOIDED, FlowState.UNDONE})
_TAKING_BACK = frozenset({FlowState.GIVING_UP, FlowState.UNDOING})


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait before a bank is asked again.

    Attributes:
        first_s: After the first failure, seconds; doubled with each further one.
        last_s: Never longer than this, seconds.
    """

    first_s: float = 1.0
    last_s: float = 300.0

    def pause(self, attempts: int) -> timedelta:
        """Before the next try, after so many in vain."""
        if attempts <= 0:
            return timedelta(0)
        return timedelta(seconds=min(self.first_s * 2.0 ** min(attempts - 1, 30), self.last_s))


@dataclass(frozen=True, slots=True)
class Step:
    """The next call: which leg, and what to ask."""

    index: int
    verb: Verb


@dataclass(frozen=True, slots=True)
class Heard:
    """A flow after a word of a bank, and what did not fit."""

    flow: "BankFlow"
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class BankFlow:
    """One flow.

    Attributes:
        id: The request that began it; its reservation has the same.
        kind: What it does.
        posting: What the books hold and post.
        state: Where it is.
        legs: One or two operations; of a transfer the source stands first.
        create_time: When it began.
        deadline: When it is given up unless every bank has said yes.
        next_time: When it is taken up again; None at an end.
        refusal: Why it was given up.
        undo: The reservation and request that take it back; None when none does.
        purse: The card that a load waits for; None otherwise.
        journal: Id of the journal that posted it; None before.
        undo_journal: Id of the journal that took it back; None before.
    """

    id: UUID
    kind: FlowKind
    posting: Posting
    state: FlowState
    legs: tuple[BankLeg, ...]
    create_time: datetime
    deadline: datetime
    next_time: datetime | None
    refusal: str = ""
    undo: UUID | None = None
    purse: PurseKey | None = None
    journal: UUID | None = None
    undo_journal: UUID | None = None

    @property
    def reference(self) -> str:
        """What its journals refer to."""
        return f"bankFlows/{self.id}"

    @property
    def amount_fen(self) -> int:
        """What it moves."""
        return self.legs[0].amount_fen

    def undoing_posting(self, now: datetime) -> Posting:
        """The opposite of what was posted."""
        return self.posting.reversed(self.posting.event + UNDO_SUFFIX, self.reference, now)

    def leg_of(self, operation: UUID) -> int:
        """The place of an operation; -1 when it is none of ours."""
        return next((index for index, leg in enumerate(self.legs) if leg.operation == operation), -1)

    def step(self) -> Step | None:
        """The next call, or None when nothing is to be asked."""
        for index, leg in enumerate(self.legs):
            verb = self._verb(leg)
            if verb is not None:
                return Step(index, verb)
        return None

    def _verb(self, leg: BankLeg) -> Verb | None:
        if self.state in FINAL:
            return None
        if self.state in _TAKING_BACK:
            if leg.ended:
                return None
            return Verb.QUERY if leg.doubt else Verb.REVERSE
        if leg.doubt:
            return Verb.QUERY
        if self.state is FlowState.AUTHORISING:
            return Verb.AUTHORISE if leg.state is LegState.PLANNED else None
        return Verb.CAPTURE if leg.state in (LegState.AUTHORISED, LegState.CAPTURING) else None

    def asking(self, step: Step, now: datetime, lease_s: float) -> "BankFlow":
        """As it is stored before a bank is called; nobody else takes it up within the lease."""
        leg = self.legs[step.index].asking(step.verb)
        return replace(self._with(step.index, leg), next_time=now + timedelta(seconds=lease_s))

    def silent(self, step: Step, now: datetime, pace: Pace) -> Heard:
        """After a call without an answer: the bank is asked again later, and named when it stays silent for long."""
        if self.state in FINAL:
            # The bank has spoken by itself meanwhile.
            return Heard(self)
        leg = self.legs[step.index].silent()
        flow = replace(self._with(step.index, leg), next_time=now + pace.pause(leg.attempts))
        return Heard(flow.overdue(now), self._stuck(leg, BankAnswer(BankState.UNKNOWN)))

    def overdue(self, now: datetime) -> "BankFlow":
        """Given up when its banks have not all said yes in time; as it is otherwise."""
        if self.state is FlowState.AUTHORISING and now >= self.deadline:
            return self.give_up(TIMEOUT, now)
        return self

    def heard(self, index: int, verb: Verb | None, answer: BankAnswer, now: datetime, pace: Pace) -> Heard:
        """What a word of a bank makes of the flow.

        Args:
            index: Which leg.
            verb: What the bank was asked; None when it spoke by itself, perhaps late and of a state long past.
            answer: Its word.
            now: When.
            pace: When it is asked again.
        """
        leg = self.legs[index]
        # A bank that was asked for one amount and speaks of another has not understood.
        if answer.state in BINDING and answer.amount_fen != leg.amount_fen:
            return self._heard_other_amount(index, verb, answer, now, pace)
        return self._heard(index, verb, answer, now, pace)

    def _heard_other_amount(
        self, index: int, verb: Verb | None, answer: BankAnswer, now: datetime, pace: Pace
    ) -> Heard:
        finding = self.legs[index].finding(FindingKind.CONTRADICTION, answer)
        if self.state in HOLDING:
            # Never booked under another amount: all of it is taken back.
            return Heard(self.give_up(CONTRADICTION, now), (finding,))
        heard = self._heard(index, verb, answer, now, pace)
        return Heard(heard.flow, (finding,))

    def _heard(self, index: int, verb: Verb | None, answer: BankAnswer, now: datetime, pace: Pace) -> Heard:
        leg = self.legs[index]
        if self.state in FINAL:
            return self._heard_at_end(index, answer, now)
        if verb is None and self._is_past(leg, answer):
            return self._heard_aside(index, answer, now)
        if self.state in _TAKING_BACK:
            return self._heard_taking_back(index, verb, answer, now, pace)
        if self.state is FlowState.AUTHORISING:
            return self._heard_authorising(index, verb, answer, now, pace)
        return self._heard_capturing(index, verb, answer, now, pace)

    def cancel(self, now: datetime) -> "BankFlow":
        """Given up by whoever asked for it, before the banks book.

        Raises:
            BankFlowBusy: The banks are being told to book; or it is being undone.
        """
        if self.state is not FlowState.AUTHORISING:
            raise BankFlowBusy(flow=self.id, state=self.state.value)
        return self.give_up(CANCELLED, now)

    def undoing(self, undo: UUID, now: datetime) -> "BankFlow":
        """A posted one that is to be taken back under a reservation of its own."""
        assert self.state is FlowState.POSTED, "only what was posted is undone"
        legs = tuple(leg.given_up() for leg in self.legs)
        return replace(self, state=FlowState.UNDOING, legs=legs, undo=undo, next_time=now)

    def reopened(self, index: int, now: datetime) -> "BankFlow":
        """A voided one of which the bank still holds something: it is asked, and told to reverse."""
        assert self.state is FlowState.VOIDED, "only what was voided is given up once more"
        leg = replace(self.legs[index], state=LegState.REVERSING, sent=True, doubt=True, attempts=0)
        return replace(self._with(index, leg), state=FlowState.GIVING_UP, next_time=now)

    def _heard_authorising(self, index: int, verb: Verb | None, answer: BankAnswer, now: datetime, pace: Pace) -> Heard:
        leg = self.legs[index]
        if leg.promised and answer.state not in BINDING:
            return self._contradicted(index, answer, now)
        if answer.state in BINDING:
            return self._on(index, leg.onward(LegState.AUTHORISED, answer), now)
        if answer.state is BankState.UNKNOWN:
            # The call never arrived, or has not yet: it is made again under the same name while there is time.
            obeyed = verb is not Verb.AUTHORISE
            planned = leg.again(LegState.PLANNED, answer, obeyed=obeyed)
            pause = pace.pause(0 if obeyed else planned.attempts)
            return Heard(replace(self._with(index, planned), next_time=now + pause).overdue(now))
        if answer.state is BankState.REVERSED:
            # Nobody asked for a reversal. What is not held cannot be booked: given up, and the bank has to explain.
            return self._contradicted(index, answer, now)
        declined = self._with(index, leg.onward(LegState.DECLINED, answer))
        return Heard(declined.give_up(answer.refusal or "declined", now))

    def _heard_capturing(self, index: int, verb: Verb | None, answer: BankAnswer, now: datetime, pace: Pace) -> Heard:
        leg = self.legs[index]
        if answer.state not in BINDING:
            return self._contradicted(index, answer, now)
        if answer.state is BankState.CAPTURED:
            return self._on(index, leg.onward(LegState.CAPTURED, answer), now)
        if leg.state is LegState.CAPTURED:
            return Heard(self)
        obeyed = verb is not Verb.CAPTURE
        again = leg.again(LegState.AUTHORISED, answer, obeyed=obeyed)
        flow = replace(self._with(index, again), next_time=now + pace.pause(0 if obeyed else again.attempts))
        return Heard(flow, () if obeyed else self._stuck(again, answer))

    def _heard_taking_back(self, index: int, verb: Verb | None, answer: BankAnswer, now: datetime, pace: Pace) -> Heard:
        leg = self.legs[index]
        findings: tuple[Finding, ...] = ()
        if leg.promised and answer.state in (BankState.UNKNOWN, BankState.DECLINED):
            findings = (leg.finding(FindingKind.CONTRADICTION, answer),)
        if answer.state is BankState.REVERSED:
            return self._on(index, leg.onward(LegState.REVERSED, answer), now)
        if answer.state is BankState.DECLINED:
            done = self._on(index, leg.onward(LegState.DECLINED, answer), now)
            return Heard(done.flow, findings)
        if verb is Verb.REVERSE:
            again = leg.again(LegState.REVERSING, answer, obeyed=False)
            flow = replace(self._with(index, again), next_time=now + pace.pause(again.attempts))
            return Heard(flow, findings + self._stuck(again, answer))
        # Even what the bank does not know is reversed there: the call that asked for it may still be on its way.
        known = replace(leg.onward(LegState.REVERSING, answer), attempts=leg.attempts)
        return Heard(replace(self._with(index, known), next_time=now), findings)

    def _is_past(self, leg: BankLeg, answer: BankAnswer) -> bool:
        """Whether a bank's own word is not the next one that we wait for: a double, a late one or a contradiction."""
        if self.state in _TAKING_BACK:
            return leg.ended or answer.state is not BankState.REVERSED
        if answer.state is BankState.UNKNOWN:
            return True
        if leg.state in (LegState.PLANNED, LegState.ASKED):
            return False
        return not (leg.state is LegState.CAPTURING and answer.state is BankState.CAPTURED)

    def _heard_aside(self, index: int, answer: BankAnswer, now: datetime) -> Heard:
        """A bank's own word that is not the next one: what fits is ignored, what does not makes us ask."""
        leg = self.legs[index]
        if self.state in _TAKING_BACK:
            if not leg.ended or answer.state not in BINDING:
                return Heard(self)
            asked = replace(leg, state=LegState.REVERSING, sent=True, doubt=True, attempts=0)
            return Heard(replace(self._with(index, asked), next_time=now), self._broken_word(leg, answer))
        if answer.state in BINDING or answer.state is BankState.UNKNOWN:
            return Heard(self)
        finding = leg.finding(FindingKind.CONTRADICTION, answer)
        if leg.state is LegState.CAPTURED:
            return Heard(self, (finding,))
        return Heard(replace(self._with(index, replace(leg, doubt=True)), next_time=now), (finding,))

    def _heard_at_end(self, index: int, answer: BankAnswer, now: datetime) -> Heard:
        leg = self.legs[index]
        if self.state is FlowState.POSTED:
            if answer.state in BINDING:
                return Heard(self)
            return Heard(self, (leg.finding(FindingKind.CONTRADICTION, answer),))
        if answer.state not in BINDING:
            return Heard(self)
        if self.state is FlowState.UNDONE:
            return Heard(self, self._broken_word(leg, answer))
        return Heard(self.reopened(index, now), self._broken_word(leg, answer))

    @staticmethod
    def _broken_word(leg: BankLeg, answer: BankAnswer) -> tuple[Finding, ...]:
        # A yes that comes after we reversed is late. A booking after a reversal, or a yes after a no, breaks a word.
        if leg.state is LegState.REVERSED and answer.state is BankState.HELD:
            return ()
        return (leg.finding(FindingKind.CONTRADICTION, answer),)

    def _contradicted(self, index: int, answer: BankAnswer, now: datetime) -> Heard:
        leg = self.legs[index]
        finding = leg.finding(FindingKind.CONTRADICTION, answer)
        ended = {BankState.DECLINED: LegState.DECLINED, BankState.REVERSED: LegState.REVERSED}.get(answer.state)
        flow = self if ended is None else self._with(index, leg.onward(ended, answer))
        return Heard(flow.give_up(CONTRADICTION, now), (finding,))

    def give_up(self, refusal: str, now: datetime) -> "BankFlow":
        """No longer wanted: the books let go at once, and the banks are told until they have undone what they did."""
        legs = tuple(leg.given_up() for leg in self.legs)
        given_up = replace(self, state=FlowState.GIVING_UP, legs=legs, refusal=refusal, next_time=now)
        return given_up.settled()

    def _on(self, index: int, leg: BankLeg, now: datetime) -> Heard:
        return Heard(replace(self._with(index, leg), next_time=now).settled())

    def settled(self) -> "BankFlow":
        """The flow in the next state when every leg has come so far."""
        states = [leg.state for leg in self.legs]
        if self.state is FlowState.AUTHORISING and _all(states, LegState.AUTHORISED):
            return replace(self, state=FlowState.CAPTURING)
        if self.state is FlowState.CAPTURING and _all(states, LegState.CAPTURED):
            return replace(self, state=FlowState.POSTED, next_time=None)
        if self.state in _TAKING_BACK and all(leg.ended for leg in self.legs):
            end = FlowState.VOIDED if self.state is FlowState.GIVING_UP else FlowState.UNDONE
            return replace(self, state=end, next_time=None)
        return self

    def _with(self, index: int, leg: BankLeg) -> "BankFlow":
        return replace(self, legs=(*self.legs[:index], leg, *self.legs[index + 1 :]))

    @staticmethod
    def _stuck(leg: BankLeg, answer: BankAnswer) -> tuple[Finding, ...]:
        return (leg.finding(FindingKind.STUCK, answer),) if leg.attempts == STUCK_AFTER else ()


def _all(states: Sequence[LegState], wanted: LegState) -> bool:
    return all(state is wanted for state in states)
