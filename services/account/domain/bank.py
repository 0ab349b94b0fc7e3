"""Banks as data: where they are reached, what they may move, and which business day a moment counts for."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from libs.clock import CITY_TZ
from services.account.domain.bank_errors import BankLimitExceeded, BankSuspended
from services.account.domain.chart import Chart

# Due to and from banks: a debit balance is what a bank owes us.
BANK_NUMBER = "2216"
_SATURDAY = 5


@dataclass(frozen=True, slots=True)
class Bank:
    """A registered bank.

    Attributes:
        participant: Its participant id, which its certificate must prove.
        address: `host:port` of its adapter.
        settlement_account: The platform's account with it, for people and payment orders.
        currency: Of all its operations.
        operation_limit_fen: Most that one operation may move; 0: no limit.
        day_limit_fen: Most that all operations of a business day may move; 0: no limit.
        cut_off: Local time at which the next business day begins.
        holidays: Days without booking, beside weekends.
        make_up_days: Saturdays and Sundays with booking.
        works_weekends: Whether every Saturday and Sunday is a working day.
        call_timeout_s: How long one call waits for it, seconds.
        patience_s: How long a flow asks for its yes before it is given up, seconds.
        suspended: No new flows.
    """

    participant: str
    address: str
    settlement_account: str = ""
    currency: str = "CNY"
    operation_limit_fen: int = 0
    day_limit_fen: int = 0
    cut_off: time = time(22)
    holidays: frozenset[date] = frozenset()
    make_up_days: frozenset[date] = frozenset()
    works_weekends: bool = False
    call_timeout_s: float = 5.0
    patience_s: float = 30.0
    suspended: bool = False

    @property
    def account(self) -> str:
        """The ledger account between the bank and the platform."""
        return f"{BANK_NUMBER}.{self.participant}"

    def business_date(self, at: datetime) -> date:
        """The business day that a moment counts for: the next one from the cut-off on, and never a day off."""
        local = at.astimezone(CITY_TZ)
        day = local.date()
        if local.time() >= self.cut_off:
            day += timedelta(days=1)
        while not self.works_on(day):
            day += timedelta(days=1)
        return day

    def works_on(self, day: date) -> bool:
        """Whether the bank books on a day."""
        if day in self.make_up_days:
            return True
        return day not in self.holidays and (self.works_weekends or day.weekday() < _SATURDAY)

    def check(self, amount_fen: int) -> None:
        """Let pass what a new operation may move.

        Raises:
            BankSuspended: No new flows.
            BankLimitExceeded: More than one operation may move.
        """
        if self.suspended:
            raise BankSuspended(bank=self.participant)
        self.check_limit("operation", self.operation_limit_fen, 0, amount_fen)

    def check_day(self, used_fen: int, amount_fen: int) -> None:
        """Let pass what the limit of a business day covers, beside what it has used already.

        Raises:
            BankLimitExceeded: More than the day may move.
        """
        self.check_limit("day", self.day_limit_fen, used_fen, amount_fen)

    def check_limit(self, scope: str, limit_fen: int, used_fen: int, amount_fen: int) -> None:
        """Let pass what one limit covers; a limit of 0 is none.

        Raises:
            BankLimitExceeded: It does not.
        """
        if limit_fen and used_fen + amount_fen > limit_fen:
            raise BankLimitExceeded(
                bank=self.participant, scope=scope, limit_fen=limit_fen, used_fen=used_fen, amount_fen=amount_fen
            )


def bank_currency(chart: Chart) -> str:
    """The currency that the books hold for banks: the unit of their account."""
    return chart.line(BANK_NUMBER).asset.partition("/")[0]
