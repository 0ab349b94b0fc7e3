"""What comes in bulk: batches of card movements (clearing) and of issued cards."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from services.account.domain.book import Leg
from services.account.domain.chart import Chart, Side, is_account_name
from services.account.domain.columns import I64, KeyColumns
from services.account.domain.errors import ChartNumberUnknown, FactMalformed

# One movement in the digest of its batch.
_ROW_BYTES = 44


@dataclass(frozen=True, slots=True, eq=False)
class Movements:
    """Card movements of n rows, in the order of the batch.

    Attributes:
        keys: The purse of each.
        counters: Offline counter as the card answered it (before the increment), 0 or more.
        amounts_fen: Debited, 0 or more.
        balances_before_fen: What the card said it held before.
        times_s: Transaction time, seconds since 1970 UTC.
    """

    keys: KeyColumns
    counters: I64
    amounts_fen: I64
    balances_before_fen: I64
    times_s: I64

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: npt.NDArray[np.intp]) -> "Movements":
        """Some of the rows."""
        return Movements(
            self.keys.take(rows),
            self.counters[rows],
            self.amounts_fen[rows],
            self.balances_before_fen[rows],
            self.times_s[rows],
        )


@dataclass(frozen=True, slots=True)
class CreditLine:
    """Where the money of a batch went: an account and an amount in fen."""

    account: str
    amount_fen: int


@dataclass(frozen=True, slots=True, eq=False)
class PostedBatch:
    """A batch of clearing: who was debited, and where the money went.

    Attributes:
        batch_id: UUID text; a batch is folded once whatever event brings it.
        lines: Credits; each of them debits the card float.
        total_fen: Sum of the movements, and of the lines.
        movements: The cards' side.
        post_time: When clearing posted it.
    """

    batch_id: str
    lines: tuple[CreditLine, ...]
    total_fen: int
    movements: Movements
    post_time: datetime

    def check(self, chart: Chart) -> None:
        """Let pass a batch that is consistent in itself.

        Raises:
            FactMalformed: Columns differ in length, a value is out of range, sums differ, or an account is none.
        """
        rows = self.movements
        columns = (rows.counters, rows.amounts_fen, rows.balances_before_fen, rows.times_s)
        if any(len(column) != len(rows) for column in columns):
            raise FactMalformed("the columns of the movements differ in length")
        if (rows.amounts_fen < 0).any() or (rows.counters < 0).any():
            raise FactMalformed("a movement has a negative amount or counter")
        summed = int(rows.amounts_fen.sum())
        lines = sum(line.amount_fen for line in self.lines)
        if not summed == lines == self.total_fen:
            raise FactMalformed(f"movements sum to {summed}, lines to {lines}, the batch says {self.total_fen}")
        for line in self.lines:
            if line.amount_fen <= 0:
                raise FactMalformed(f"the line of {line.account} is not above 0")
            check_account(chart, line.account)

    def legs(self, chart: Chart) -> tuple[Leg, ...]:
        """The journal of the batch: one debit of the card float, credits per account; nothing when no money moved."""
        if not self.total_fen:
            return ()
        credits_: dict[str, int] = {}
        for line in self.lines:
            credits_[line.account] = credits_.get(line.account, 0) + line.amount_fen
        return (
            Leg(chart.float_number, Side.DEBIT, self.total_fen),
            *(Leg(account, Side.CREDIT, amount) for account, amount in sorted(credits_.items())),
        )

    def digest(self) -> bytes:
        """SHA-256 over the movements, 32 bytes: what the chain seals in place of entries per movement.

        Rows of 44 bytes, big-endian: scheme, number (10), generation (4), zero, counter (4), amount, balance before
        and time (8 each); sorted by these bytes, so that it depends on nothing but what the movements say.
        """
        rows = self.movements
        table = np.zeros((len(rows), _ROW_BYTES), dtype=np.uint8)
        table[:, 0] = rows.keys.schemes
        table[:, 1:11] = rows.keys.numbers
        table[:, 11:15] = _big_endian(rows.keys.generations, ">u4")
        table[:, 16:20] = _big_endian(rows.counters, ">u4")
        for place, column in ((20, rows.amounts_fen), (28, rows.balances_before_fen), (36, rows.times_s)):
            table[:, place : place + 8] = _big_endian(column, ">i8")
        return hashlib.sha256(np.sort(table.view(f"S{_ROW_BYTES}"), axis=0).tobytes()).digest()


def _big_endian(column: I64, form: str) -> npt.NDArray[np.uint8]:
    width = np.dtype(form).itemsize
    return column.astype(form).view(np.uint8).reshape(-1, width)


@dataclass(frozen=True, slots=True, eq=False)
class IssuedCards:
    """Cards that were issued together.

    Attributes:
        keys: Their purses.
        openings_fen: Put on each card.
        deposits_fen: Deposit taken for each.
        price_fen: Price taken for each, the same for all.
        outlet: Id of the outlet that owes the money; empty for the centre itself.
        issue_time: When.
        product: Id of their product; empty where nobody told.
    """

    keys: KeyColumns
    openings_fen: I64
    deposits_fen: I64
    price_fen: int
    outlet: str
    issue_time: datetime
    product: str = ""

    def check(self) -> None:
        """Let pass what is consistent in itself.

        Raises:
            FactMalformed: Columns differ in length, an amount is negative, a card comes twice, or the outlet's name
                is none.
        """
        if len(self.openings_fen) != len(self.keys) or len(self.deposits_fen) != len(self.keys):
            raise FactMalformed("the columns of the issued cards differ in length")
        if (self.openings_fen < 0).any() or (self.deposits_fen < 0).any() or self.price_fen < 0:
            raise FactMalformed("an issued card has a negative amount")
        if len(self.keys.grouped()[0]) != len(self.keys):
            raise FactMalformed("a card is issued twice in one event")
        if not is_account_name(self.receivable):
            raise FactMalformed(f"{self.outlet!r} is no outlet")

    @property
    def receivable(self) -> str:
        """The account that the outlet owes on."""
        return f"1221.{self.outlet}" if self.outlet else "1221"

    def take(self, rows: npt.NDArray[np.intp]) -> "IssuedCards":
        """Some of the cards."""
        return IssuedCards(
            self.keys.take(rows),
            self.openings_fen[rows],
            self.deposits_fen[rows],
            self.price_fen,
            self.outlet,
            self.issue_time,
            self.product,
        )

    def legs(self, chart: Chart) -> tuple[Leg, ...]:
        """The journal of the issue (section 9): the outlet owes openings, deposits and prices."""
        opening, deposit = int(self.openings_fen.sum()), int(self.deposits_fen.sum())
        price = self.price_fen * len(self.keys)
        legs = (
            Leg(self.receivable, Side.DEBIT, opening + deposit + price),
            Leg(chart.float_number, Side.CREDIT, opening),
            Leg("2202", Side.CREDIT, deposit),
            Leg("6001", Side.CREDIT, price),
        )
        return tuple(leg for leg in legs if leg.amount_fen)


def check_account(chart: Chart, account: str) -> None:
    """Let pass an account that an event may name.

    Raises:
        FactMalformed: Not a name, or its number is not in the chart.
    """
    if not is_account_name(account):
        raise FactMalformed(f"{account!r} is no account")
    try:
        chart.line(account)
    except ChartNumberUnknown as unknown:
        raise FactMalformed(f"{account!r} is not in the chart") from unknown
