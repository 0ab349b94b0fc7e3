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


class CardPassedBack(Refusal):
    """The same card went the same way a short while ago. Fact: `within_s`."""

    reason = "CARD_PASSED_BACK"


class TripOpen(Refusal):
    """The card has an entry without an exit, and the rules send it to the service desk. Facts: `station`, `entered`."""

    reason = "TRIP_OPEN"


class TripNotOpen(Refusal):
    """The card has no entry, and the rules send it to the service desk."""

    reason = "TRIP_NOT_OPEN"


class EntryBalanceLow(Refusal):
    """Less on the card than a trip may cost. Facts: `balance_fen`, `least_fen`."""

    reason = "ENTRY_BALANCE_LOW"


class GatesOpen(Refusal):
    """A degraded mode has the gates open: nobody taps. Fact: `mode`."""

    reason = "GATES_OPEN"


class OutOfService(Refusal):
    """The terminal takes no card: its clock is too far off, or no fares are in force. Fact: `why`."""

    reason = "OUT_OF_SERVICE"


class AmountOutOfRange(Refusal):
    """The clerk asked for nothing or for more than this shop may take. Facts: `amount_fen`, `amount_fen_max`."""

    reason = "AMOUNT_OUT_OF_RANGE"


class PassUsedUp(Refusal):
    """The pass was used as often today as its rules allow. Fact: `uses_per_day`."""

    reason = "PASS_USED_UP"


# Reason -> (中文, English), as the display shows it.
_WORDS = {
    "CARD_LISTED": ("此卡已挂失或停用，请到服务网点", "This card is on the blacklist; please go to a service counter."),
    "CARD_BLOCKED": ("此卡已锁定，请到服务网点", "This card is blocked; please go to a service counter."),
    "CARD_FOREIGN": ("不支持此卡", "This kind of card is not accepted."),
    "CARD_NOT_ENABLED": ("此卡尚未启用", "This card is not valid yet."),
    "CARD_EXPIRED": ("此卡已过期，请到服务网点延期", "This card has expired; a service counter can extend it."),
    "CARD_JUST_TAPPED": ("已刷卡，请勿重复刷卡", "This card was just accepted; there is no need to tap again."),
    "CARD_PASSED_BACK": ("此卡刚刚使用过，每人一卡", "This card was just used; everybody needs a card of their own."),
    "CARD_TORN": ("请重新刷同一张卡", "Please show the same card again."),
    "CARD_GONE": ("请重新刷卡", "Please show the card again."),
    "CARD_REFUSED": ("卡片应答异常，请重新刷卡", "The card gave a wrong answer; please show it again."),
    "CARD_NUMBER_INVALID": ("无效卡", "This is not a valid card."),
    "MONEY_NOT_ENOUGH": ("余额不足，请充值", "Not enough money on the card; please top it up."),
    "ENTRY_BALANCE_LOW": ("余额低于进站最低要求，请充值", "Too little money to enter; please top up the card."),
    "TRIP_OPEN": ("上次未出站，请到客服中心处理", "The last trip was not ended; please go to the service desk."),
    "TRIP_NOT_OPEN": ("无进站记录，请到客服中心处理", "There is no entry on this card; please go to the service desk."),
    "GATES_OPEN": ("闸门已开放，请直接通过", "The gates are open; please walk through."),
    "AMOUNT_OUT_OF_RANGE": ("金额超出范围", "This amount cannot be taken."),
    "PASS_USED_UP": ("今日使用次数已满", "This pass was used up for today."),
    "JOURNAL_FULL": ("终端存储已满，请使用其他通道", "This gate is full; please use another one."),
    "JOURNAL_FAILED": ("终端存储故障，请使用其他通道", "This gate cannot keep records; please use another one."),
    "FARE_UNKNOWN": (
        "无此区间票价，请到客服中心处理",
        "There is no fare for this ride; please go to the service desk.",
    ),
}
_OTHER = ("暂不能使用，请使用其他通道", "Out of service; please use another gate.")


def words(error: DomainError) -> tuple[str, str]:
    """What the display says, Chinese and English; an error that is no business of the holder's gets a general text."""
    return _WORDS.get(error.reason, _OTHER)
