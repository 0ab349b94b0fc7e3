"""What an inspector's handheld says of a card, without writing to it, and the hints of every display (F106, F118)."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from libs.purse.fields import date_bytes
from libs.purse.history import LogEntry, read_log, read_trips
from libs.purse.inspect import CardView, select
from libs.purse.layouts import Reading
from libs.purse.terminal import read_balance
from libs.purse.transactions import PurseId
from libs.purse.transceiver import Transceiver

LOW_BALANCE_FEN = 5_00
EXPIRY_DAYS = 30


class Hint(StrEnum):
    """What a display should tell; the value is the code."""

    BLOCKED = "blocked"  # 应用已锁定
    NOT_ENABLED = "not_enabled"  # 未启用
    NOT_YET_VALID = "not_yet_valid"  # 未到启用日期
    EXPIRED = "expired"  # 已过有效期
    EXPIRES_SOON = "expires_soon"  # 即将到期
    LOW_BALANCE = "low_balance"  # 余额不足，请充值


HINT_WORDS: dict[Hint, tuple[str, str]] = {
    Hint.BLOCKED: ("应用已锁定", "the application is blocked"),
    Hint.NOT_ENABLED: ("卡片未启用", "the card is not enabled"),
    Hint.NOT_YET_VALID: ("未到启用日期", "the card is not valid yet"),
    Hint.EXPIRED: ("卡片已过有效期", "the card has expired"),
    Hint.EXPIRES_SOON: ("卡片即将到期", "the card expires soon"),
    Hint.LOW_BALANCE: ("余额较低，请充值", "the balance is low, please load"),
}
REFUSING = frozenset({Hint.BLOCKED, Hint.NOT_ENABLED, Hint.NOT_YET_VALID, Hint.EXPIRED})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found; nothing on the card has changed.

    Attributes:
        view: The application.
        hints: In the order of `Hint`.
        balance_fen: The holder's money in the EP: what the chip says, less the overdraft limit of its newest log entry;
            None when it could not be read.
        log: Newest first.
        trips: Newest first, field by field.
    """

    view: CardView
    hints: tuple[Hint, ...]
    balance_fen: int | None
    log: tuple[LogEntry, ...]
    trips: tuple[tuple[Reading, ...], ...]

    @property
    def valid(self) -> bool:
        """Whether a terminal would accept the card today; whether the passenger has paid, the trips tell."""
        return not REFUSING.intersection(self.hints)


def hints(
    view: CardView,
    balance_fen: int | None,
    today: date,
    *,
    low_balance_fen: int = LOW_BALANCE_FEN,
    expiry_days: int = EXPIRY_DAYS,
) -> tuple[Hint, ...]:
    """What to tell of a card.

    Args:
        view: From file 0015.
        balance_fen: Of the EP, less its overdraft limit; None when it is not known.
        today: In the city.
        low_balance_fen: Below this the balance is low.
        expiry_days: From so many days before expiry on, its last day included.
    """
    if view.blocked:
        return (Hint.BLOCKED,)
    found = []
    if not view.enabled:
        found.append(Hint.NOT_ENABLED)
    now = date_bytes(today)
    # Dates are compared as digits: a date that is none (99991231 and the like) needs no calendar.
    if view.start > now:
        found.append(Hint.NOT_YET_VALID)
    if view.expiry < now:
        found.append(Hint.EXPIRED)
    elif view.expiry <= date_bytes(date.fromordinal(min(today.toordinal() + expiry_days, date.max.toordinal()))):
        found.append(Hint.EXPIRES_SOON)
    if balance_fen is not None and balance_fen < low_balance_fen:
        found.append(Hint.LOW_BALANCE)
    return tuple(found)


def inspect_card(card: Transceiver, aid: bytes, today: date) -> Verdict | None:
    """Look at one application; None when the card does not have it. Sends reading commands only.

    Raises:
        CardGone: The card left.
        CardRefused: The application does not let its file 0015 or its balance be read.
        CardNumberMalformed: The card was never personalised.
    """
    view = select(card, aid)
    if view is None:
        return None
    if view.blocked:
        return Verdict(view, (Hint.BLOCKED,), None, (), ())
    log = read_log(card)
    # The limit itself is told by INITIALIZE only, which an inspector does not send.
    balance_fen = read_balance(card, PurseId.EP) - (log[0].overdraft_limit_fen if log else 0)
    return Verdict(view, hints(view, balance_fen, today), balance_fen, log, read_trips(card))
