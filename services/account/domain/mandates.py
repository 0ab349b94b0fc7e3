"""When a mandate tops up: a pure decision over the balance, the day's sum and the failures so far."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.account.domain.wallet_errors import TopUpResolved
from services.account.domain.wallet_rules import Mandate


class TopUpState(StrEnum):
    """Where a top-up is; ASKED waits for the bank's answer, the others are final."""

    ASKED = "ASKED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class TopUpVerdict(StrEnum):
    """What a mandate says to a balance, in the order in which it is asked."""

    # The mandate is not in force.
    NOT_IN_FORCE = "NOT_IN_FORCE"
    # The balance is at the threshold or above.
    ENOUGH = "ENOUGH"
    # One is asked for and not answered.
    UNDER_WAY = "UNDER_WAY"
    # Too many failures in a row.
    SUSPENDED = "SUSPENDED"
    # The last failure is too recent.
    RETRY_LATER = "RETRY_LATER"
    # The day's cap does not leave the amount.
    DAY_CAP = "DAY_CAP"
    # It tops up.
    DUE = "DUE"


@dataclass(frozen=True, slots=True)
class TopUp:
    """One top-up.

    Attributes:
        id: The request id that triggered it.
        mandate: Name of the mandate.
        wallet: What is credited.
        source: `wallets/{wallet}` or `participants/{bank}`, as the mandate said then.
        amount_fen: How much.
        state: Where it is.
        note: Why it failed, in the bank's or the ledger's word.
        create_time: When it was triggered.
        resolve_time: When it ended.
    """

    id: UUID
    mandate: str
    wallet: str
    source: str
    amount_fen: int
    state: TopUpState
    note: str
    create_time: datetime
    resolve_time: datetime | None = None

    def resolve(self, *, succeeded: bool, note: str, now: datetime) -> "TopUp":
        """The top-up after the bank's answer; the same answer again changes nothing.

        Raises:
            TopUpResolved: It ended the other way.
        """
        state = TopUpState.SUCCEEDED if succeeded else TopUpState.FAILED
        if self.state is state:
            return self
        if self.state is not TopUpState.ASKED:
            raise TopUpResolved(top_up=self.id, state=self.state.value)
        return replace(self, state=state, note=note, resolve_time=now)


@dataclass(frozen=True, slots=True)
class TopUpHistory:
    """What is known of a mandate's top-ups.

    Attributes:
        day_fen: Asked for or succeeded on this city day.
        under_way: Whether one waits for its answer.
        failures: Failures in a row, since the last success and since the mandate's version in force was made.
        last_failure_time: Of the newest of them.
    """

    day_fen: int = 0
    under_way: bool = False
    failures: int = 0
    last_failure_time: datetime | None = None


def decide_top_up(mandate: Mandate, balance_fen: int, history: TopUpHistory, now: datetime) -> TopUpVerdict:
    """Whether a mandate in force tops up a balance now; the first rule that forbids it is the verdict."""
    if balance_fen >= mandate.threshold_fen:
        return TopUpVerdict.ENOUGH
    if history.under_way:
        return TopUpVerdict.UNDER_WAY
    if mandate.failures_max and history.failures >= mandate.failures_max:
        return TopUpVerdict.SUSPENDED
    failed = history.last_failure_time
    if failed is not None and now < failed + timedelta(seconds=mandate.retry_after_s):
        return TopUpVerdict.RETRY_LATER
    if mandate.day_cap_fen and history.day_fen + mandate.amount_fen > mandate.day_cap_fen:
        return TopUpVerdict.DAY_CAP
    return TopUpVerdict.DUE
