"""The special accounts beside the bank's statements (银行存款余额调节): lines, entries, and what has no counterpart."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum, StrEnum
from uuid import UUID

from services.account.domain.errors import BankStatementUnbalanced


@dataclass(frozen=True, slots=True)
class BankLine:
    """One movement that the bank tells.

    Attributes:
        amount_fen: What came in; below 0 what went out. Never 0.
        reference: The reference of our journal that it belongs to, as the bank carried it through; may be empty.
        text: The bank's words.
    """

    amount_fen: int
    reference: str
    text: str


@dataclass(frozen=True, slots=True)
class BankStatement:
    """The bank's statement of one account and day (对账单).

    Attributes:
        account: `1002`.
        day: The bank's day.
        opening_fen: Before the first line.
        closing_fen: After the last.
        lines: In the bank's order.
        record_time: When it was handed in.
    """

    account: str
    day: date
    opening_fen: int
    closing_fen: int
    lines: tuple[BankLine, ...]
    record_time: datetime

    def check(self) -> None:
        """Let pass what adds up in itself.

        Raises:
            BankStatementUnbalanced: Opening and lines do not make the closing balance.
        """
        moved = sum(line.amount_fen for line in self.lines)
        if self.opening_fen + moved != self.closing_fen:
            raise BankStatementUnbalanced(
                account=self.account,
                day=self.day,
                opening_fen=self.opening_fen,
                lines_fen=moved,
                closing_fen=self.closing_fen,
            )

    def says_the_same(self, other: "BankStatement") -> bool:
        """Whether both say the same of the same day, whenever they were handed in."""
        return (self.account, self.day, self.opening_fen, self.closing_fen, self.lines) == (
            other.account, other.day, other.opening_fen, other.closing_fen, other.lines,
        )  # fmt: skip


class BankItemKind(IntEnum):
    """What has no counterpart; the numbers are stored."""

    NOT_IN_BOOK = 1
    NOT_AT_BANK = 2
    OPENING = 3
    CHAIN = 4


class BankItemOutcome(StrEnum):
    """How an item ended."""

    MATCHED = "MATCHED"
    DECIDED = "DECIDED"


@dataclass(frozen=True, slots=True)
class BankItem:
    """One thing on which bank and book differ, with its age.

    Attributes:
        id: Number.
        account: `1002`.
        kind: A line of the bank that is not in the book (企业未记账), an entry of the book that is not at the bank
            (银行未记账), a first statement that does not begin where the book stands (期初不符), a statement that does
            not begin where the one before ended (对账单不连续).
        day: Its age begins here.
        amount_fen: By how much the bank says more than the book because of it; below 0: less.
        reference: Of the line or of the journal.
        journal: The journal of an entry.
        text: The bank's words, or the event of the journal.
        open_time: When it was found.
        close_time: When it ended; None while it is open.
        outcome: How it ended.
        note: Why a person closed it.
    """

    id: int
    account: str
    kind: BankItemKind
    day: date
    amount_fen: int
    reference: str
    journal: UUID | None
    text: str
    open_time: datetime
    close_time: datetime | None
    outcome: BankItemOutcome | None
    note: str


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Bank and book of one account at the end of a day (余额调节表).

    Attributes:
        account: `1002`.
        day: The newest statement's day, not later than the day asked for; None when there is no statement.
        bank_fen: Closing balance by the bank.
        booked_fen: By the book, of what happened until the end of that day.
        not_in_book_fen: Lines of the bank until then without an entry until then.
        not_at_bank_fen: Entries until then without a line until then; out-payments below 0.
        opening_fen: By how much the first statement began above the book.
        chain_fen: By how much statements began above the one before them.
        items: What is open today, oldest first.
    """

    account: str
    day: date | None
    bank_fen: int
    booked_fen: int
    not_in_book_fen: int
    not_at_bank_fen: int
    opening_fen: int
    chain_fen: int
    items: tuple[BankItem, ...]

    @property
    def difference_fen(self) -> int:
        """Bank less book."""
        return self.bank_fen - self.booked_fen

    @property
    def unexplained_fen(self) -> int:
        """What of the difference no line, entry or opening explains; anything but 0 is a fault of this house."""
        explained = self.not_in_book_fen - self.not_at_bank_fen + self.opening_fen + self.chain_fen
        return self.difference_fen - explained

    @property
    def agrees(self) -> bool:
        """Bank and book say the same, and nothing is open."""
        return self.day is not None and self.difference_fen == 0 and not self.items
