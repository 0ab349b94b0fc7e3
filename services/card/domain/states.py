"""The state machine of cards as data (card-lifecycle-and-fares.md, section 1)."""

from collections.abc import Mapping
from enum import StrEnum

from services.card.domain.errors import CardClosed, CardStateForbids


class CardState(StrEnum):
    """Where a card is in its life; the values are those of the contract."""

    BLANK = "BLANK"
    STOCK = "STOCK"
    ACTIVE = "ACTIVE"
    LOCKED = "LOCKED"
    LOST = "LOST"
    REFUND_WAIT = "REFUND_WAIT"
    REPLACED = "REPLACED"
    RETURNED = "RETURNED"
    CLOSED = "CLOSED"
    LOST_STOCK = "LOST_STOCK"
    SCRAPPED = "SCRAPPED"


class Verb(StrEnum):
    """What can be done to a card that moves its state; kept beside every move."""

    PERSONALISE = "personalise"
    ISSUE = "issue"
    REPORT_STOCK_LOSS = "report_stock_loss"
    SCRAP = "scrap"
    REPORT_LOSS = "report_loss"
    CANCEL_LOSS_REPORT = "cancel_loss_report"
    LOCK = "lock"
    UNLOCK = "unlock"
    REPLACE = "replace"
    REQUEST_REFUND = "request_refund"
    RETURN = "return"
    RECYCLE = "recycle"
    CLOSE = "close"


_S = CardState

# Verb -> state before -> state after. What is not here is refused.
MOVES: Mapping[Verb, Mapping[CardState, CardState]] = {
    Verb.PERSONALISE: {_S.BLANK: _S.STOCK},
    Verb.ISSUE: {_S.STOCK: _S.ACTIVE},
    Verb.REPORT_STOCK_LOSS: {_S.STOCK: _S.LOST_STOCK},
    Verb.SCRAP: dict.fromkeys((_S.BLANK, _S.STOCK, _S.REPLACED, _S.RETURNED, _S.LOST_STOCK), _S.SCRAPPED),
    Verb.REPORT_LOSS: {_S.ACTIVE: _S.LOST},
    Verb.CANCEL_LOSS_REPORT: {_S.LOST: _S.ACTIVE},
    Verb.LOCK: {_S.ACTIVE: _S.LOCKED},
    Verb.UNLOCK: {_S.LOCKED: _S.ACTIVE},
    Verb.REPLACE: dict.fromkeys((_S.ACTIVE, _S.LOST), _S.REPLACED),
    Verb.REQUEST_REFUND: dict.fromkeys((_S.ACTIVE, _S.LOCKED, _S.LOST), _S.REFUND_WAIT),
    Verb.RETURN: dict.fromkeys((_S.ACTIVE, _S.REFUND_WAIT), _S.RETURNED),
    Verb.RECYCLE: {_S.RETURNED: _S.STOCK},
    Verb.CLOSE: dict.fromkeys((_S.ACTIVE, _S.LOCKED, _S.REFUND_WAIT), _S.CLOSED),
}

MAY_LOAD = frozenset({_S.ACTIVE})
MAY_PURCHASE = frozenset({_S.ACTIVE})
# The city holds the deposit of a card until it comes back or its account is settled (clearing-and-ledger.md, B5).
WITHOUT_DEPOSIT = frozenset({_S.BLANK, _S.STOCK, _S.RETURNED, _S.CLOSED, _S.LOST_STOCK, _S.SCRAPPED})


def forbidden(card: str, state: CardState) -> CardClosed | CardStateForbids:
    """The refusal of a card whose state does not allow what was asked: closed is told apart, it is final."""
    return CardClosed(card=card) if state is CardState.CLOSED else CardStateForbids(card=card, state=state)


def state_after(card: str, state: CardState, verb: Verb) -> CardState:
    """Where a verb leads.

    Args:
        card: Number, for the refusal.
        state: Where the card is.
        verb: What is asked.

    Raises:
        CardClosed: The card is closed.
        CardStateForbids: The state does not allow the verb.
    """
    after = MOVES[verb].get(state)
    if after is None:
        raise forbidden(card, state)
    return after
