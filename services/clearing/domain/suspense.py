"""Suspense (挂账): what is not paid, why, and who decides it (clearing-and-ledger.md, section 7).

An item that debited a card holds money on account 2205; one of codes 02, 11, 13, 31 and 50 is a memorandum, for which
nothing was booked. Deciding takes two persons; nothing that was posted is ever edited.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import IntEnum

from libs.records.codes import ResultCode
from services.clearing.domain.adjustment import PAYABLE
from services.clearing.domain.errors_settlement import (
    DecisionForbidden,
    SamePerson,
    SplitWrong,
    SuspenseStateForbids,
)
from services.clearing.domain.positions import PAYABLE_TO_HOLDERS, PostingLine

SUSPENSE = "accounts/2205"
COMPENSATION = "accounts/6003"
CARD_LOSSES = "accounts/6402"
AGES_DAYS = (30, 90, 360)
"""Bounds of the age report."""

MEMORANDUM_CODES = (
    ResultCode.CONFLICT, ResultCode.CARD_UNKNOWN, ResultCode.KEY_UNKNOWN, ResultCode.TERMINAL_UNKNOWN,
    ResultCode.PENDING,
)  # fmt: skip


class ItemState(IntEnum):
    """The numbers of `SuspenseState`."""

    OPEN = 1
    INVESTIGATING = 2
    DECIDED = 3
    POSTED = 4


class Decision(IntEnum):
    """The numbers of `SuspenseDecision`."""

    NONE = 0
    PAY_ACQUIRER = 1
    RETURN_TO_HOLDER = 2
    SPLIT = 3
    WRITE_OFF = 4
    NO_EFFECT = 5


class Condition(IntEnum):
    """What decides between the liability rules of one code; the numbers of `LiabilityCondition`."""

    ANY = 0
    LIST_HELD = 1
    """The terminal had the list version that contained the card."""
    LIST_PUBLISHED = 2
    """The terminal had not, though the centre published in time."""
    LIST_LATE = 3
    """The centre published late."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Where the amount of an item goes, in fen."""

    pay_fen: int = 0
    return_fen: int = 0
    write_off_fen: int = 0

    @property
    def total_fen(self) -> int:
        """All three."""
        return self.pay_fen + self.return_fen + self.write_off_fen


@dataclass(frozen=True, slots=True)
class Correction:
    """What a record should have said: a record of its own beside the old one, which is kept (F70).

    Attributes:
        payee: Id of the participant that should be paid.
        amount_fen: What should be paid at most, in fen; never above what the card lost.
    """

    payee: str
    amount_fen: int
    reason: str
    made_by: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class SuspenseItem:
    """One amount that nobody was paid yet.

    Attributes:
        id: Number of the item.
        participant: Id of the participant whose record it is.
        payee: Id of the participant that is paid if anybody is: the same, unless a correction says otherwise.
        digest: Of the record's 128 bytes, 16 bytes.
        settlement_date: Of the record; None while it has none.
        code: Result code.
        debited: Whether the card lost the money: then it stands on 2205, else the item is a memorandum.
        amount_fen: What is open.
        issuer: Of the card, 16 hexadecimal digits.
        card: `cj-…` or `jt-…`, as in the record.
        file: `participants/…/files/…` that brought it.
        final_code: Of the further result file; None while undecided.
        posted_on: Window that the decision fell into.
    """

    id: int
    participant: str
    payee: str
    digest: bytes
    settlement_date: date | None
    code: int
    debited: bool
    amount_fen: int
    issuer: str
    card: str
    terminal_number: int
    terminal_seq: int
    file: str
    file_index: int
    opened_at: datetime
    state: ItemState = ItemState.OPEN
    decision: Decision = Decision.NONE
    shares: Shares = Shares()
    reason: str = ""
    decided_by: str = ""
    decided_at: datetime | None = None
    approved_by: str = ""
    posted_at: datetime | None = None
    posted_on: date | None = None
    final_code: int | None = None
    correction: Correction | None = None

    @property
    def name(self) -> str:
        """Resource name."""
        return f"suspenseItems/{self.id}"

    def investigate(self) -> "SuspenseItem":
        """Look into it, or look again: a decision that was not approved is taken back.

        Raises:
            SuspenseStateForbids: It is posted.
        """
        self._must_be(ItemState.OPEN, ItemState.INVESTIGATING, ItemState.DECIDED)
        return replace(
            self, state=ItemState.INVESTIGATING, decision=Decision.NONE, shares=Shares(), reason="", decided_by="",
            decided_at=None,
        )  # fmt: skip

    def correct(self, correction: Correction) -> "SuspenseItem":
        """Say what the record should have said.

        Raises:
            SuspenseStateForbids: It is not being investigated.
            SplitWrong: More than the card lost, or nothing.
        """
        self._must_be(ItemState.INVESTIGATING)
        if not 0 < correction.amount_fen <= self.amount_fen:
            raise SplitWrong(item=self.name, amount_fen=self.amount_fen, total_fen=correction.amount_fen)
        return replace(self, correction=correction, payee=correction.payee)

    def decide(self, decision: Decision, shares: Shares, reason: str, who: str, at: datetime) -> "SuspenseItem":
        """Decide; somebody else must approve before anything is posted.

        Args:
            decision: What shall become of it.
            shares: For SPLIT only; the others take the whole amount.
            reason: In words.
            who: Name of the decider's certificate.
            at: Now.

        Raises:
            SuspenseStateForbids: It is not being investigated.
            DecisionForbidden: Money that a card lost must go somewhere; money that no card lost cannot go back.
            SplitWrong: The shares do not sum to the amount, or pay more than the correction allows.
        """
        self._must_be(ItemState.INVESTIGATING)
        if decision not in self.decisions:
            raise DecisionForbidden(item=self.name, decision=decision.name)
        whole = {
            Decision.PAY_ACQUIRER: Shares(pay_fen=self.amount_fen),
            Decision.RETURN_TO_HOLDER: Shares(return_fen=self.amount_fen),
            Decision.WRITE_OFF: Shares(write_off_fen=self.amount_fen if self.debited else 0),
            Decision.NO_EFFECT: Shares(),
        }.get(decision, shares)
        expected = self.amount_fen if self.debited or decision is Decision.PAY_ACQUIRER else 0
        most = self.correction.amount_fen if self.correction else self.amount_fen
        if whole.total_fen != expected or min(whole.pay_fen, whole.return_fen, whole.write_off_fen) < 0:
            raise SplitWrong(item=self.name, amount_fen=self.amount_fen, total_fen=whole.total_fen)
        if whole.pay_fen > most:
            raise SplitWrong(item=self.name, amount_fen=most, total_fen=whole.pay_fen)
        return replace(
            self, state=ItemState.DECIDED, decision=decision, shares=whole, reason=reason, decided_by=who,
            decided_at=at,
        )  # fmt: skip

    def approve(self, who: str, at: datetime, posted_on: date) -> "SuspenseItem":
        """Let the decision take effect; it is posted in the transaction of this.

        Raises:
            SuspenseStateForbids: There is no decision to approve.
            SamePerson: Who decided cannot approve.
        """
        self._must_be(ItemState.DECIDED)
        if who == self.decided_by:
            raise SamePerson(person=who)
        final = int(ResultCode.ACCEPTED) if self.shares.pay_fen else self.code
        return replace(
            self, state=ItemState.POSTED, approved_by=who, posted_at=at, posted_on=posted_on, final_code=final
        )

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What may be decided.

        A memorandum of an unknown card, key or terminal is judged as soon as it becomes known, and is paid by that and
        nothing else: paying it by hand would pay it twice. A conflict never takes a key, so it may be paid, as a loss.
        """
        if self.debited:
            return (Decision.PAY_ACQUIRER, Decision.RETURN_TO_HOLDER, Decision.SPLIT, Decision.WRITE_OFF)
        if self.code == ResultCode.CONFLICT:
            return (Decision.PAY_ACQUIRER, Decision.WRITE_OFF, Decision.NO_EFFECT)
        return (Decision.WRITE_OFF, Decision.NO_EFFECT)

    def lines(self) -> tuple[PostingLine, ...]:
        """Lines of the book of a decided item (section 9): 2205 to whom it goes; a conflict is paid as a loss."""
        source = f"{SUSPENSE}.{self.participant}" if self.debited else CARD_LOSSES
        goes = (
            (f"{PAYABLE}.{self.payee}", self.shares.pay_fen),
            (PAYABLE_TO_HOLDERS, self.shares.return_fen),
            (COMPENSATION, self.shares.write_off_fen),
        )
        return tuple(PostingLine(source, account, amount, 1) for account, amount in goes if amount)

    def _must_be(self, *states: ItemState) -> None:
        if self.state not in states:
            raise SuspenseStateForbids(item=self.name, state=self.state.name)


@dataclass(frozen=True, slots=True)
class LiabilityRule:
    """Who bears a code under a condition: data, with the words for it (section 7)."""

    code: int
    condition: Condition
    decision: Decision
    text_zh: str
    text_en: str


def list_condition(terminal_version: int, listed_version: int) -> Condition:
    """Whether a terminal had the list version in which a card was listed; both by their low 16 bits."""
    return Condition.LIST_HELD if (terminal_version - listed_version) & 0xFFFF < 0x8000 else Condition.LIST_PUBLISHED


def advise(rules: Sequence[LiabilityRule], code: int, condition: Condition) -> LiabilityRule | None:
    """The rule of a code: the one for the condition before the general one."""
    of_code = {one.condition: one for one in rules if one.code == code}
    return of_code.get(condition) or of_code.get(Condition.ANY)
