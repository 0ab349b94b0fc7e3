"""The clock of tests."""

from datetime import UTC, datetime

from libs.clock import FixedClock


class FakeClock(FixedClock):
    """A clock that stands at noon (city time) of 1 September 2018 until a test moves it."""

    def __init__(self, at: datetime | None = None) -> None:
        super().__init__(at or datetime(2018, 9, 1, 4, 0, tzinfo=UTC))
