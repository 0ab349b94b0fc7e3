"""Terminals with their security modules, and what they do about their clock."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from services.terminal_gw.domain.errors import PsamMismatch, PsamRevoked


@dataclass(frozen=True, slots=True)
class Terminal:
    """One terminal.

    Attributes:
        number: 12 digits, the terminal number of its PSAM.
        participant: Id of its owner.
        psam_number: 20 digits.
        operator_number: Operator number of its records.
        device_number: Number of the machine.
        industry_code: 4 hexadecimal digits.
    """

    number: str
    participant: str
    psam_number: str
    operator_number: int
    device_number: int
    industry_code: str
    registered_at: datetime
    psam_revoked_at: datetime | None = None
    signed_in_at: datetime | None = None

    def check_psam(self, psam_number: str, at: datetime) -> None:
        """Let the terminal sign in only with its own, good PSAM.

        Raises:
            PsamMismatch: Another PSAM is in it.
            PsamRevoked: It was revoked at or before `at`.
        """
        if psam_number != self.psam_number:
            raise PsamMismatch(terminal=self.number, psam=psam_number)
        if self.psam_revoked_at is not None and self.psam_revoked_at <= at:
            raise PsamRevoked(psam=psam_number)


class ClockAction(IntEnum):
    """What a terminal does about its clock; the numbers are those of the contract."""

    KEEP = 1
    SET = 2
    SET_AND_ALARM = 3


@dataclass(frozen=True, slots=True)
class ClockRule:
    """Thresholds in milliseconds (record-formats.md, section 5: 2 s and 120 s)."""

    set_above_ms: int
    alarm_above_ms: int

    def decide(self, ahead_ms: int) -> ClockAction:
        """What to do about a clock that is ahead by so much; behind is negative."""
        if abs(ahead_ms) > self.alarm_above_ms:
            return ClockAction.SET_AND_ALARM
        return ClockAction.SET if abs(ahead_ms) > self.set_above_ms else ClockAction.KEEP
