"""What a statement is made by beside its positions: kept with it, so that it can be made again for ever."""

from dataclasses import dataclass
from datetime import date

from services.clearing.domain.adjustment import Adjustment
from services.clearing.domain.apportion import FeeRule, Funding
from services.clearing.domain.calendar import WEEKDAYS


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms in force for one window when it was closed.

    Attributes:
        payout_date: First working day after the settlement date, by the participant's calendar.
        adjustments: What the window holds beside its records.
        fees: The fee rules of the participant; none: the rate of its registration.
        fundings: What others bear of the discounts that it gave.
    """

    payout_date: date
    adjustments: tuple[Adjustment, ...] = ()
    fees: tuple[FeeRule, ...] = ()
    fundings: tuple[Funding, ...] = ()


def plain_terms(settlement_date: date) -> Terms:
    """The terms of a window that nothing was ever arranged for."""
    return Terms(payout_date=WEEKDAYS.working_day_after(settlement_date))
