"""What a terminal does about its clock (record-formats.md, section 5)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum


class ClockAction(IntEnum):
    """The numbers of `citycard.terminal_gw.v1.ClockAction`."""

    KEEP = 1
    SET = 2
    SET_AND_ALARM = 3
    STOP = 4
    WAIT = 5


@dataclass(frozen=True, slots=True)
class ClockVerdict:
    """What to do about a clock.

    Attributes:
        ahead_ms: How far it is ahead of the centre's, whole milliseconds.
        action: What to do.
        set_to: Where to set it; None when it is left alone.
    """

    ahead_ms: int
    action: ClockAction
    set_to: datetime | None


@dataclass(frozen=True, slots=True)
class ClockThresholds:
    """How far a clock may be off.

    Attributes:
        set_above: Farther than this it is set.
        alarm_above: Farther than this somebody is told as well.
        stop_above: Farther than this no card is taken until a person looked; None never.
        period: How often a terminal compares its clock.
    """

    set_above: timedelta
    alarm_above: timedelta
    stop_above: timedelta | None = None
    period: timedelta = timedelta(hours=1)

    def decide(self, caller: datetime, centre: datetime) -> tuple[int, ClockAction]:
        """How far the caller's clock is ahead, in whole milliseconds, and what to do about it."""
        verdict = self.judge(caller, centre, None)
        return verdict.ahead_ms, verdict.action

    def judge(self, caller: datetime, centre: datetime, last_record: datetime | None) -> ClockVerdict:
        """What to do about a clock.

        A clock is never set back past the last record: two records of one device must not change their order. A record
        that is from the future by more than the stop threshold stops the device instead.

        Args:
            caller: What the clock shows.
            centre: The centre's clock.
            last_record: Time of the last record; None when there is none or it is not known.
        """
        ahead = caller - centre
        ahead_ms = ahead // timedelta(milliseconds=1)
        future = last_record - centre if last_record is not None else timedelta(0)
        if self.stop_above is not None and max(abs(ahead), future) > self.stop_above:
            return ClockVerdict(ahead_ms, ClockAction.STOP, None)
        if abs(ahead) <= self.set_above:
            return ClockVerdict(ahead_ms, ClockAction.KEEP, None)
        if last_record is not None and centre < last_record <= caller:
            return ClockVerdict(ahead_ms, ClockAction.WAIT, None)
        action = ClockAction.SET_AND_ALARM if abs(ahead) > self.alarm_above else ClockAction.SET
        return ClockVerdict(ahead_ms, action, centre)
