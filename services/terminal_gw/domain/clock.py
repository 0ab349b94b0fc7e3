"""What a terminal does about its clock (record-formats.md, section 5)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum


class ClockAction(IntEnum):
    """The numbers of `citycard.terminal_gw.v1.ClockAction`."""

    KEEP = 1
    SET = 2
    SET_AND_ALARM = 3


@dataclass(frozen=True, slots=True)
class ClockThresholds:
    """How far a clock may be off.

    Attributes:
        set_above: Farther than this it is set.
        alarm_above: Farther than this somebody is told as well.
    """

    set_above: timedelta
    alarm_above: timedelta

    def decide(self, caller: datetime, centre: datetime) -> tuple[int, ClockAction]:
        """How far the caller's clock is ahead, in whole milliseconds, and what to do about it."""
        ahead = caller - centre
        ahead_ms = ahead // timedelta(milliseconds=1)
        if abs(ahead) > self.alarm_above:
            return ahead_ms, ClockAction.SET_AND_ALARM
        return ahead_ms, ClockAction.SET if abs(ahead) > self.set_above else ClockAction.KEEP
