"""Why calendars, suspense, settlement and day runs say no; the reasons are those of the service's `ErrorReason`."""

from libs.errors import AlreadyExists, InvalidInput, NotFound, Refusal


class CalendarInvalid(InvalidInput):
    """The calendar cannot be used; facts `fault`, `where`."""

    reason = "CALENDAR_INVALID"


class CalendarUnknown(NotFound):
    """No such calendar, or none of its versions holds yet; fact `calendar`."""

    reason = "CALENDAR_UNKNOWN"


class CalendarExists(AlreadyExists):
    """Another version begins on the same day; facts `calendar`, `effective_date`."""

    reason = "CALENDAR_EXISTS"


class DayClosed(Refusal):
    """A settlement date that the change would touch is closed; fact `window`."""

    reason = "DAY_CLOSED"


class DayBegun(Refusal):
    """The settlement date has begun, or a later rule stands; facts `participant`, `settlement_date`."""

    reason = "DAY_BEGUN"


class SuspenseUnknown(NotFound):
    """No such suspense item; fact `item`."""

    reason = "SUSPENSE_UNKNOWN"


class SuspenseStateForbids(Refusal):
    """The item's state does not allow it; facts `item`, `state`."""

    reason = "SUSPENSE_STATE_FORBIDS"


class DecisionForbidden(Refusal):
    """The decision makes no sense for the item; facts `item`, `decision`."""

    reason = "DECISION_FORBIDDEN"


class SplitWrong(InvalidInput):
    """The shares do not sum to what is open; facts `item`, `amount_fen`, `total_fen`."""

    reason = "SPLIT_WRONG"


class SamePerson(Refusal):
    """Who decided or made it cannot approve it; fact `person`."""

    reason = "SAME_PERSON"


class ResultUnknown(NotFound):
    """No such further result file; fact `result`."""

    reason = "RESULT_UNKNOWN"


class RulesInvalid(InvalidInput):
    """The rules of apportionment cannot be applied; facts `where`, `fault`."""

    reason = "RULES_INVALID"


class RulesUnknown(NotFound):
    """No rules of apportionment hold for the day; fact `settlement_date`."""

    reason = "RULES_UNKNOWN"


class SigningKeyMissing(Refusal):
    """The service was given no key to sign statements with."""

    reason = "SIGNING_KEY_MISSING"


class StatementUnsigned(Refusal):
    """The statement is not signed yet; fact `statement`."""

    reason = "STATEMENT_UNSIGNED"


class PaymentAccountMissing(Refusal):
    """Nobody said where the participant is paid; fact `participant`."""

    reason = "PAYMENT_ACCOUNT_MISSING"


class BankFileInvalid(InvalidInput):
    """The bank's file cannot be taken; facts `row`, `fault`."""

    reason = "BANK_FILE_INVALID"


class PeriodOpen(Refusal):
    """A window in the period is not closed; fact `window`."""

    reason = "PERIOD_OPEN"


class PeriodLocked(Refusal):
    """The period is locked; fact `until`."""

    reason = "PERIOD_LOCKED"


class DisputeFileInvalid(InvalidInput):
    """The file of disputes cannot be taken; fact `fault`."""

    reason = "DISPUTE_FILE_INVALID"


class DisputeTooLate(Refusal):
    """The record settled more than 60 days ago; facts `record`, `settlement_date`."""

    reason = "DISPUTE_TOO_LATE"


class DisputeUnknown(NotFound):
    """No such dispute; fact `dispute`."""

    reason = "DISPUTE_UNKNOWN"


class DisputeAnswered(Refusal):
    """The dispute is answered already; fact `dispute`."""

    reason = "DISPUTE_ANSWERED"


class SuspenseOpen(Refusal):
    """The record is an open suspense item, which is to be decided instead; fact `record`."""

    reason = "SUSPENSE_OPEN"


class AmountWrong(InvalidInput):
    """More than was claimed, or than the record holds; facts `amount_fen`, `limit_fen`."""

    reason = "AMOUNT_WRONG"


class AdjustmentUnknown(NotFound):
    """No such adjustment; fact `adjustment`."""

    reason = "ADJUSTMENT_UNKNOWN"


class AdjustmentDecided(Refusal):
    """The adjustment is decided already; fact `adjustment`."""

    reason = "ADJUSTMENT_DECIDED"


class DayNotOver(Refusal):
    """The settlement date has not ended for the participant; facts `participant`, `ends_at`."""

    reason = "DAY_NOT_OVER"


class DayRunUnknown(NotFound):
    """The day was never run; fact `settlement_date`."""

    reason = "DAY_RUN_UNKNOWN"


class ReplayDiffers(Refusal):
    """The statement recomputed from the uploads differs; facts `statement`, `difference`."""

    reason = "REPLAY_DIFFERS"


class NothingToPayBack(Refusal):
    """No missed discount of the day waits to be paid back; facts `participant`, `settlement_date`."""

    reason = "NOTHING_TO_PAY_BACK"
