"""Participants (参与方) and the day that a record settles on."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.clearing.domain.calendar import DayRule
from services.clearing.domain.errors import TimeZoneUnknown

CUT_OFF_DEFAULT = time(22, 0, 0)
TIME_ZONE_DEFAULT = "Asia/Shanghai"
FEE_RATE_BP_DEFAULT = 50
# No local day lies further from the day in Greenwich.
_ZONES_DAYS = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Participant:
    """One party that is paid.

    Attributes:
        id: Last part of its resource name.
        number: Surrogate of the database; 0 before it is stored.
        institution_id: 16 hexadecimal digits: sender of its files, acquirer of its records.
        operator_number: Operator number (营运单位) of its records.
        cut_off: Local time of day at which its next settlement day begins.
        fee_rate_bp: Fee that it pays the centre, in hundredths of a percent.
        served: Institution ids of other acquirers whose records its files may carry.
        day_rules: Later rules of its days by their first settlement date, ascending; cut-off and time zone hold before.
    """

    id: str
    number: int
    display_name_zh: str
    display_name_en: str
    institution_id: str
    operator_number: int
    cut_off: time
    time_zone: str
    fee_rate_bp: int
    served: tuple[str, ...]
    created_at: datetime
    day_rules: tuple[DayRule, ...] = ()

    def day_rule(self, settlement_date: date) -> DayRule:
        """The rule by which a settlement day ends."""
        for rule in reversed(self.day_rules):
            if rule.effective_on <= settlement_date:
                return rule
        return DayRule(date.min, self.cut_off, self.time_zone)

    def settlement_date(self, accepted_at: datetime) -> date:
        """The day that a record accepted at an instant settles on (clearing-and-ledger.md, section 2).

        A pure function of the instant and the rules: acceptance at or after the cut-off counts for the next day.
        """
        if not self.day_rules:
            local = accepted_at.astimezone(zone_of(self.time_zone))
            return local.date() + timedelta(days=1) if local.time() >= self.cut_off else local.date()
        # The first day that has not ended: days end one after another, whatever rules follow each other.
        day = accepted_at.astimezone(UTC).date() - _ZONES_DAYS
        while self.cut_off_instant(day) <= accepted_at:
            day += timedelta(days=1)
        return day

    def cut_off_instant(self, settlement_date: date) -> datetime:
        """The instant at which a settlement day ends: its statement bears this time, whenever it is made."""
        rule = self.day_rule(settlement_date)
        return datetime.combine(settlement_date, rule.cut_off, zone_of(rule.time_zone))

    def same_facts(self, other: "Participant") -> bool:
        """Whether the two would be the same registration."""
        mine = (self.id, self.display_name_zh, self.display_name_en, self.institution_id, self.operator_number)
        theirs = (other.id, other.display_name_zh, other.display_name_en, other.institution_id, other.operator_number)
        rules = (self.cut_off, self.time_zone, self.fee_rate_bp, self.served)
        return mine == theirs and rules == (other.cut_off, other.time_zone, other.fee_rate_bp, other.served)


def zone_of(name: str) -> ZoneInfo:
    """The time zone of a name.

    Raises:
        TimeZoneUnknown: The database of time zones does not have it.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TimeZoneUnknown(time_zone=name) from None
