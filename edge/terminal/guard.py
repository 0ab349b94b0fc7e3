"""The guard against taps that should not be: the same card twice, and one card for two people (重复刷卡、防回传)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from edge.terminal.refusals import CardJustTapped, CardPassedBack


class Way(Enum):
    """Which way a reader lets people through."""

    IN = "in"
    OUT = "out"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class GuardRules:
    """Times of the guard [convention].

    Attributes:
        double_tap_s: A card that was let through is not asked again at the same reader for so long; 0 for never.
        pass_back_s: It is not let through the same way at any reader that shares the guard for so long; 0 for never.
    """

    double_tap_s: float = 3.0
    pass_back_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Passage:
    at: datetime
    reader: int
    way: Way


class PassBackGuard:
    """Cards let through lately, shared by the readers of one gate array. Forgotten with the power.

    Args:
        rules: How long.
    """

    __slots__ = ("_passages", "rules")

    def __init__(self, rules: GuardRules = GuardRules()) -> None:
        self.rules = rules
        # Cards let through within the last seconds or minutes, so few.
        self._passages: dict[bytes, _Passage] = {}

    def __len__(self) -> int:
        return len(self._passages)

    def check(self, card_number: bytes, reader: int, way: Way, now: datetime) -> None:
        """Let a card pass or not.

        Raises:
            CardJustTapped: At this reader a moment ago: the gate is open, nobody is asked to pay twice.
            CardPassedBack: The same way a short while ago: somebody else holds it now.
        """
        before = self._passages.get(card_number)
        if before is None:
            return
        # A clock set back must not open the guard, nor keep it shut for long.
        ago = abs(now - before.at)
        if before.reader == reader and ago < timedelta(seconds=self.rules.double_tap_s):
            raise CardJustTapped(within_s=self.rules.double_tap_s)
        if way is not Way.NONE and before.way is way and ago < timedelta(seconds=self.rules.pass_back_s):
            raise CardPassedBack(within_s=self.rules.pass_back_s)

    def remember(self, card_number: bytes, reader: int, way: Way, now: datetime) -> None:
        """A card was let through."""
        keep = timedelta(seconds=max(self.rules.double_tap_s, self.rules.pass_back_s))
        if not keep:
            return
        self._passages = {number: one for number, one in self._passages.items() if abs(now - one.at) < keep}
        self._passages[card_number] = _Passage(now, reader, way)
