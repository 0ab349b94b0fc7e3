"""Why a terminal does not let a card through: a reason for the log, words for the person who stands there."""

from libs.errors import DomainError, Refusal


class CardListed(Refusal):
    """The card is on the blacklist and the entry is in force. Facts: `list_reason`, `locked` (yes, no)."""

    reason = "CARD_LISTED"


class CardBlocked(Refusal):
    """The application on the chip is blocked; terminals treat that as listed (purse-protocol.md, section 2)."""

    reason = "CARD_BLOCKED"


class CardForeign(Refusal):
    """No application that this terminal takes."""

    reason = "CARD_FOREIGN"


class CardNotEnabled(Refusal):
    """The enabled flag is off, or the first day has not come. Fact: `start`."""

    reason = "CARD_NOT_ENABLED"


class CardExpired(Refusal):
    """The last day has passed. Fact: `expiry`."""

    reason = "CARD_EXPIRED"


class CardJustTapped(Refusal):
    """The same card was let through at this reader a moment ago; it is not asked again. Fact: `within_s`."""

    reason = "CARD_JUST_TAPPED"


# Reason -> (中文, English), as the display shows it.
_WORDS = {
    "CARD_LISTED": ("此卡已挂失或停用，请到服务网点", "This card is on the blacklist; please go to a service counter."),
    "CARD_BLOCKED": ("此卡已锁定，请到服务网点", "This card is blocked; please go to a service counter."),
    "CARD_FOREIGN": ("不支持此卡", "This kind of card is not accepted."),
    "CARD_NOT_ENABLED": ("此卡尚未启用", "This card is not valid yet."),
    "CARD_EXPIRED": ("此卡已过期，请到服务网点延期", "This card has expired; a service counter can extend it."),
    "CARD_JUST_TAPPED": ("已刷卡，请勿重复刷卡", "This card was just accepted; there is no need to tap again."),
    "CARD_TORN": ("请重新刷同一张卡", "Please show the same card again."),
    "CARD_GONE": ("请重新刷卡", "Please show the card again."),
    "CARD_REFUSED": ("卡片应答异常，请重新刷卡", "The card gave a wrong answer; please show it again."),
    "CARD_NUMBER_INVALID": ("无效卡", "This is not a valid card."),
    "MONEY_NOT_ENOUGH": ("余额不足，请充值", "Not enough money on the card; please top it up."),
    "JOURNAL_FULL": ("终端存储已满，请使用其他通道", "This gate is full; please use another one."),
}
_OTHER = ("暂不能使用，请使用其他通道", "Out of service; please use another gate.")


def words(error: DomainError) -> tuple[str, str]:
    """What the display says, Chinese and English; an error that is no business of the holder's gets a general text."""
    return _WORDS.get(error.reason, _OTHER)
