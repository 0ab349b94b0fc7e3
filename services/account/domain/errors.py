"""Every way in which the ledger says no; the reasons are the service's ErrorReason enum."""

from libs.errors import AlreadyExists, InvalidInput, NotFound, Refusal


class AccountUnknown(NotFound):
    """There is no such account. Fact: `account`."""

    reason = "ACCOUNT_UNKNOWN"


class ChartNumberUnknown(NotFound):
    """The number is not in the chart of accounts. Fact: `chart_number`."""

    reason = "CHART_NUMBER_UNKNOWN"


class JournalUnbalanced(InvalidInput):
    """Debits and credits differ in an asset. Facts: `asset`, `debits_fen`, `credits_fen`."""

    reason = "JOURNAL_UNBALANCED"


class PurseLegMismatch(InvalidInput):
    """A leg on the card float names no purse, or a leg elsewhere names one. Fact: `account`."""

    reason = "PURSE_LEG_MISMATCH"


class PurseUnknown(NotFound):
    """There is no such purse. Fact: `purse`."""

    reason = "PURSE_UNKNOWN"


class LimitExceeded(Refusal):
    """The limit of an account does not cover the amount. Facts: `account`, `limit_fen`, `balance_fen`, `amount_fen`."""

    reason = "LIMIT_EXCEEDED"


class InsufficientBalance(Refusal):
    """A floored account does not hold the amount.

    Facts: `account`, `balance_fen`, `held_fen`, `overdraft_fen`, `amount_fen`.
    """

    reason = "INSUFFICIENT_BALANCE"


class JournalUnknown(NotFound):
    """There is no such journal. Fact: `journal`."""

    reason = "JOURNAL_UNKNOWN"


class JournalReversed(Refusal):
    """The journal was reversed before. Fact: `journal`."""

    reason = "JOURNAL_REVERSED"


class JournalNotReversible(Refusal):
    """A journal whose detail stands elsewhere, or a reversal itself. Facts: `journal`, `event`."""

    reason = "JOURNAL_NOT_REVERSIBLE"


class CommitAboveHeld(InvalidInput):
    """A leg was to be posted for more than is held. Facts: `reservation`, `leg_number`, `held_fen`, `amount_fen`."""

    reason = "COMMIT_ABOVE_HELD"


class ReservationUnknown(NotFound):
    """There is no such reservation. Fact: `reservation`."""

    reason = "RESERVATION_UNKNOWN"


class ReservationResolved(Refusal):
    """The reservation has ended the other way. Facts: `reservation`, `state`."""

    reason = "RESERVATION_RESOLVED"


class ItemUnknown(NotFound):
    """There is no such item. Fact: `item`."""

    reason = "ITEM_UNKNOWN"


class ItemClosed(Refusal):
    """The item ended before. Facts: `item`, `outcome`."""

    reason = "ITEM_CLOSED"


class FloatDayUnknown(NotFound):
    """The day was never closed: before the first one, or not over when it was looked for. Fact: `day`."""

    reason = "FLOAT_DAY_UNKNOWN"


class FloatDayNotOver(Refusal):
    """The day is not over, so it cannot be closed. Facts: `day`, `today`."""

    reason = "FLOAT_DAY_NOT_OVER"


class FloatDayClosed(Refusal):
    """The day is closed, and what it was counted by stays. Facts: `day`, `last_closed`."""

    reason = "FLOAT_DAY_CLOSED"


class BankStatementUnbalanced(InvalidInput):
    """Opening and lines do not make the closing. Facts: `account`, `day`, `opening_fen`, `lines_fen`, `closing_fen`."""

    reason = "BANK_STATEMENT_UNBALANCED"


class BankStatementConflict(AlreadyExists):
    """Another statement of the same account and day is here. Facts: `account`, `day`, `closing_fen`."""

    reason = "BANK_STATEMENT_CONFLICT"


class BankItemUnknown(NotFound):
    """There is no such item. Fact: `item`."""

    reason = "BANK_ITEM_UNKNOWN"


class BankItemClosed(Refusal):
    """The item ended before. Facts: `item`, `outcome`."""

    reason = "BANK_ITEM_CLOSED"


class BankItemsDiffer(Refusal):
    """Two items cannot be matched by hand. Facts: `item`, `other`, `amount_fen`, `other_fen`."""

    reason = "BANK_ITEMS_DIFFER"


class FactMalformed(ValueError):
    """An event of another service contradicts itself; no repetition will mend it. Never answers a call."""
