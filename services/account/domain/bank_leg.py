"""One operation at one bank, as the platform sees it, and what the bank's words make of it.

The bank's word is one shape whatever was asked (`BankAnswer`), so that late, doubled and contradicting answers are
decided in one place. Every call is stored before it is made, as a leg in doubt: after a crash or a silence the bank is
first asked what it did.
"""

from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from uuid import UUID


class Direction(StrEnum):
    """Which way money moves, seen from the holder's account with the bank."""

    DEBIT = "DEBIT"
    CREDIT = "CREDIT"


class BankState(StrEnum):
    """Where an operation is at the bank, by the bank's word."""

    UNKNOWN = "UNKNOWN"
    DECLINED = "DECLINED"
    HELD = "HELD"
    CAPTURED = "CAPTURED"
    REVERSED = "REVERSED"


# The bank has money of the holder held, promised or booked.
BINDING = frozenset({BankState.HELD, BankState.CAPTURED})


class Verb(StrEnum):
    """What the bank is asked."""

    AUTHORISE = "AUTHORISE"
    CAPTURE = "CAPTURE"
    REVERSE = "REVERSE"
    QUERY = "QUERY"


class LegState(StrEnum):
    """Where the platform sees the operation (BankLegState of the contract)."""

    PLANNED = "PLANNED"
    ASKED = "ASKED"
    AUTHORISED = "AUTHORISED"
    CAPTURING = "CAPTURING"
    CAPTURED = "CAPTURED"
    DECLINED = "DECLINED"
    REVERSING = "REVERSING"
    REVERSED = "REVERSED"


class FindingKind(StrEnum):
    """What a bank's word shows beside the way on."""

    CONTRADICTION = "CONTRADICTION"
    STUCK = "STUCK"


@dataclass(frozen=True, slots=True)
class BankAnswer:
    """What a bank says of an operation.

    Attributes:
        state: Where it is.
        amount_fen: Its amount; 0 when the bank never heard of it, below 0 when it goes the other way.
        reference: The bank's own.
        refusal: Why it was declined, in the bank's word.
    """

    state: BankState
    amount_fen: int = 0
    reference: str = ""
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A word of a bank that does not fit; it becomes a break that the bank owns."""

    kind: FindingKind
    bank: str
    operation: UUID
    business_date: date
    our_amount_fen: int
    our_state: LegState
    bank_amount_fen: int
    bank_state: BankState


# A bank that has not obeyed so often in a row is named in a break; it is told again all the same.
STUCK_AFTER = 10


@dataclass(frozen=True, slots=True)
class BankLeg:
    """One operation.

    Attributes:
        bank: Participant id.
        direction: Which way.
        operation: The name by which the bank knows it.
        account_token: The holder's account as the bank knows it.
        amount_fen: Above 0.
        business_date: The bank's day that it counts for.
        state: Where we see it.
        sent: Whether the bank was ever told of it; if so it may still arrive there.
        doubt: A call was made, or is about to be, whose answer nobody has seen: ask before anything else.
        promised: The bank has said yes to it once.
        attempts: Calls in a row that did not bring it further.
        reference: The bank's own.
        refusal: Why the bank said no.
    """

    bank: str
    direction: Direction
    operation: UUID
    account_token: str
    amount_fen: int
    business_date: date
    state: LegState = LegState.PLANNED
    sent: bool = False
    doubt: bool = False
    promised: bool = False
    attempts: int = 0
    reference: str = ""
    refusal: str = ""

    @property
    def ended(self) -> bool:
        """Whether the bank holds nothing for it, as far as it has told us."""
        return self.state in (LegState.DECLINED, LegState.REVERSED) or not self.sent

    def asking(self, verb: Verb) -> "BankLeg":
        """As it is stored before the bank is called."""
        state = {
            Verb.AUTHORISE: LegState.ASKED,
            Verb.CAPTURE: LegState.CAPTURING,
            Verb.REVERSE: LegState.REVERSING,
            Verb.QUERY: self.state,
        }[verb]
        return replace(self, state=state, sent=True, doubt=True)

    def given_up(self) -> "BankLeg":
        """To be undone; the bank is asked first what it has done."""
        if self.ended:
            return self
        return replace(self, state=LegState.REVERSING, doubt=True, attempts=0)

    def silent(self) -> "BankLeg":
        """After a call without an answer: still in doubt."""
        return replace(self, attempts=self.attempts + 1)

    def onward(self, state: LegState, answer: BankAnswer) -> "BankLeg":
        """One step further by the bank's word."""
        return replace(
            self,
            state=state,
            sent=True,
            doubt=False,
            promised=self.promised or answer.state in BINDING,
            attempts=0,
            reference=answer.reference or self.reference,
            refusal=answer.refusal or self.refusal,
        )

    def again(self, state: LegState, answer: BankAnswer, *, obeyed: bool) -> "BankLeg":
        """Known where it is, and to be told again; a bank that was told and did not do it is counted."""
        return replace(self.onward(state, answer), attempts=self.attempts + (not obeyed))

    def finding(self, kind: FindingKind, answer: BankAnswer) -> Finding:
        """What the bank said, beside what we knew."""
        return Finding(
            kind,
            self.bank,
            self.operation,
            self.business_date,
            self.amount_fen,
            self.state,
            answer.amount_fen,
            answer.state,
        )
