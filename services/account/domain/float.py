"""The float (沉淀资金): what is owed to cards by product and age, day by day (clearing-and-ledger.md, section 9)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from libs.clock import CITY_TZ
from services.account.domain.purse import PurseKey

# Days since a card was last seen, or issued, at which a class of age begins.
AGES_DAYS = (0, 31, 91, 181, 361)
# Money held for others in the wide sense (section 9), beside what wallets hold.
WIDE_NUMBERS = ("2201", "2203", "2204", "2205", "2206", "2207")
# What must be covered, and by what (section 9, B6).
COVERED_NUMBERS = ("2201", "2202", "2203", "2204", "2205", "2206", "2207", "2208")
COVERING_NUMBERS = ("1002", "1003", "1221", "1222")
_FORM = "float-1"


def day_end(day: date) -> datetime:
    """The first moment behind a day of the city."""
    return datetime.combine(day + timedelta(days=1), datetime.min.time(), CITY_TZ)


def city_day(at: datetime) -> date:
    """The day of the city that a moment lies in."""
    return at.astimezone(CITY_TZ).date()


@dataclass(frozen=True, slots=True)
class FloatLine:
    """The cards of one product and age, counted over the purses.

    Attributes:
        product: Id of the product; empty where nobody told.
        age_days_min: Lower end of the age, one of `AGES_DAYS`.
        card_count: Cards.
        issued_fen: Openings and loads.
        used_fen: Debits by records.
        refunded_fen: Corrections of the book against the holder, less those in favour.
        liability_fen: What is owed.
        dormant_count: Of the cards those that are dormant by the rule of the day.
        dormant_fen: What is owed to these.
    """

    product: str
    age_days_min: int
    card_count: int
    issued_fen: int
    used_fen: int
    refunded_fen: int
    liability_fen: int
    dormant_count: int
    dormant_fen: int

    @property
    def holds(self) -> bool:
        """Issued - used - refunded = liability."""
        return self.issued_fen - self.used_fen - self.refunded_fen == self.liability_fen


@dataclass(frozen=True, slots=True)
class BookTotals:
    """The same three sums by the entries of the card float, and the balances of all numbers: the other witness.

    Attributes:
        issued_fen: Credits of issues and loads.
        used_fen: Debits by batches of records.
        refunded_fen: All other debits less all other credits.
        balances_fen: By chart number, each on its own side.
    """

    issued_fen: int
    used_fen: int
    refunded_fen: int
    balances_fen: tuple[tuple[str, int], ...]

    def balance_fen(self, number: str) -> int:
        """The balance of all accounts of a number; 0 for one that was never used."""
        return dict(self.balances_fen).get(number, 0)

    def sum_fen(self, numbers: Sequence[str]) -> int:
        """The balances of some numbers together."""
        return sum(self.balance_fen(number) for number in numbers)


@dataclass(frozen=True, slots=True)
class FloatDay:
    """The float at the end of a day, or at a moment of a day that is not over.

    Attributes:
        day: The day.
        as_of: The first moment that does not count any more.
        place: Last journal that counts.
        lines: By product and age, in this order.
        book: What the book says at that place.
    """

    day: date
    as_of: datetime
    place: int
    lines: tuple[FloatLine, ...]
    book: BookTotals

    @property
    def liability_fen(self) -> int:
        """What is owed to all cards."""
        return sum(line.liability_fen for line in self.lines)

    @property
    def differences(self) -> tuple[tuple[str, int, int], ...]:
        """What the purses and the book say differently: name, purses, book, in fen."""
        book = self.book
        pairs = (
            ("issued", sum(line.issued_fen for line in self.lines), book.issued_fen),
            ("used", sum(line.used_fen for line in self.lines), book.used_fen),
            ("refunded", sum(line.refunded_fen for line in self.lines), book.refunded_fen),
            ("liability", self.liability_fen, book.balance_fen("2201")),
        )
        return tuple(pair for pair in pairs if pair[1] != pair[2])

    @property
    def holds(self) -> bool:
        """Every line adds up, and the book, which is another witness, says the same."""
        return all(line.holds for line in self.lines) and not self.differences

    @property
    def uncovered_fen(self) -> int:
        """What is held for others less the money there is for it (B6); above 0 is float that was used."""
        return self.book.sum_fen(COVERED_NUMBERS) - self.book.sum_fen(COVERING_NUMBERS)

    def canonical(self) -> bytes:
        """The day as bytes, the same for ever: UTF-8 lines ended by LF.

        `float-1|day|place`; per line in order `product|age|cards|issued|used|refunded|liability|dormant cards|dormant
        fen`; `book|issued|used|refunded`; per number in order `number|balance`. Amounts in fen. The moment of counting
        is not in it.
        """
        rows: list[Sequence[object]] = [(_FORM, self.day.isoformat(), self.place)]
        for line in sorted(self.lines, key=lambda one: (one.product, one.age_days_min)):
            rows.append(
                (
                    line.product, line.age_days_min, line.card_count, line.issued_fen, line.used_fen, line.refunded_fen,
                    line.liability_fen, line.dormant_count, line.dormant_fen,
                )
            )  # fmt: skip
        rows.append(("book", self.book.issued_fen, self.book.used_fen, self.book.refunded_fen))
        rows += sorted(self.book.balances_fen)
        return "".join("|".join(str(part) for part in row) + "\n" for row in rows).encode()

    def digest(self) -> bytes:
        """SHA-256 of the canonical bytes, 32 bytes."""
        return hashlib.sha256(self.canonical()).digest()


@dataclass(frozen=True, slots=True)
class DormancyRule:
    """From which silence on a card is dormant (睡眠卡).

    Attributes:
        product: Id of the product; empty: all that have no rule of their own.
        silence_days: Days without a transaction, 1 or more.
        from_day: First day of the rule; a later rule of the same product replaces it.
        set_by: Who made it.
        set_time: When.
    """

    product: str
    silence_days: int
    from_day: date
    set_by: str
    set_time: datetime


@dataclass(frozen=True, slots=True)
class DormantPurse:
    """A purse that fell asleep.

    Attributes:
        id: Number of the sleep, in the order in which they were found.
        key: The purse.
        product: Id of its product; empty where nobody told.
        seen_time: Its last sign of life before.
        since: First day on which it counted as dormant.
        balance_fen: What was owed to it then.
        revive_time: The transaction that ended it; None while it sleeps.
    """

    id: int
    key: PurseKey
    product: str
    seen_time: datetime
    since: date
    balance_fen: int
    revive_time: datetime | None
