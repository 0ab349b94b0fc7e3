"""Every way in which bank flows and the match with banks say no; the reasons are the service's ErrorReason enum."""

from libs.errors import AlreadyExists, InvalidInput, NotFound, Refusal, Unavailable


class BankUnknown(NotFound):
    """No such bank is registered. Fact: `bank`."""

    reason = "BANK_UNKNOWN"


class BankSuspended(Refusal):
    """The bank takes no new flows. Fact: `bank`."""

    reason = "BANK_SUSPENDED"


class BankCurrencyUnsupported(Refusal):
    """The books have no account in that currency. Fact: `currency`."""

    reason = "BANK_CURRENCY_UNSUPPORTED"


class BankLimitExceeded(Refusal):
    """A limit of the bank does not cover the amount. Facts: `bank`, `scope`, `limit_fen`, `used_fen`, `amount_fen`."""

    reason = "BANK_LIMIT_EXCEEDED"


class BankFlowUnknown(NotFound):
    """There is no such flow. Fact: `flow`."""

    reason = "BANK_FLOW_UNKNOWN"


class BankFlowBusy(Refusal):
    """The flow is being captured. Facts: `flow`, `state`."""

    reason = "BANK_FLOW_BUSY"


class BankOperationUnknown(NotFound):
    """This bank was never asked for such an operation. Fact: `operation`."""

    reason = "BANK_OPERATION_UNKNOWN"


class BankSilent(Unavailable):
    """The bank does not answer, or not with an answer: nobody knows what it did. Facts: `bank`, `why`."""

    reason = "BANK_SILENT"


class BankFileMalformed(InvalidInput):
    """The daily file breaks its format. Facts: `line` from 1, `mistake`."""

    reason = "BANK_FILE_MALFORMED"


class BankFileForeign(InvalidInput):
    """The file is another bank's, or in another currency. Facts: `found`, `expected`."""

    reason = "BANK_FILE_FOREIGN"


class BankFileConflict(AlreadyExists):
    """Another file of that day stands. Facts: `bank`, `business_date`, `revision`."""

    reason = "BANK_FILE_CONFLICT"


class BreakUnknown(NotFound):
    """There is no such break. Fact: `break`."""

    reason = "BREAK_UNKNOWN"


class BreakClosed(Refusal):
    """The break ended before. Facts: `break`, `outcome`."""

    reason = "BREAK_CLOSED"


class ReservationOwned(Refusal):
    """The reservation belongs to a flow, which alone ends it. Facts: `reservation`, `owner`."""

    reason = "RESERVATION_OWNED"
