"""What a terminal tells a person whom it lets through: codes for the log and the screen, words in both languages."""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum

from libs.records.bcd import date_of
from libs.records.errors import TimeInvalid


class Hint(IntEnum):
    """A hint code; the numbers are for displays that keep their own words [convention]."""

    LOW_BALANCE = 1
    NEAR_EXPIRY = 2


@dataclass(frozen=True, slots=True)
class HintRules:
    """When to hint [convention].

    Attributes:
        low_balance_fen: Below this after the tap.
        near_expiry_days: The last day is at most so many days away.
    """

    low_balance_fen: int = 10_00
    near_expiry_days: int = 30


DEFAULT_RULES = HintRules()

_WORDS = {
    Hint.LOW_BALANCE: ("余额较低，请及时充值", "The balance is low; please top up soon."),
    Hint.NEAR_EXPIRY: ("卡片即将到期，请到服务网点延期", "The card expires soon; a service counter can extend it."),
}


def hints(balance_after_fen: int, expiry: bytes, today: date, rules: HintRules) -> tuple[Hint, ...]:
    """The hints for a card that was let through, by code.

    Args:
        balance_after_fen: The holder's money after the tap.
        expiry: Last day, 4 bytes BCD; what is no date gives no hint, for the tap is done.
        today: Of the terminal's clock.
        rules: Thresholds.
    """
    found = [Hint.LOW_BALANCE] if balance_after_fen < rules.low_balance_fen else []
    try:
        last_day = date_of(expiry)
    except TimeInvalid:
        return tuple(found)
    if last_day - today <= timedelta(days=rules.near_expiry_days):
        found.append(Hint.NEAR_EXPIRY)
    return tuple(found)


def words(hint: Hint) -> tuple[str, str]:
    """What the display says, Chinese and English."""
    return _WORDS[hint]
