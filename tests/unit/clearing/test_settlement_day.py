"""The day that a record settles on is a pure function of its acceptance and the participant's calendar."""

from datetime import UTC, date, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.clearing.domain.errors import TimeZoneUnknown
from services.clearing.domain.participant import Participant, zone_of


def a_participant(cut_off: time = time(22), time_zone: str = "Asia/Shanghai") -> Participant:
    return Participant("bus", 1, "巴士", "Bus", "11139901FFFFFFFF", 17, cut_off, time_zone, 50, (), datetime.now(UTC))


@pytest.mark.parametrize(
    ("accepted", "settles"),
    [
        ("2025-01-02T13:59:59+00:00", date(2025, 1, 2)),
        ("2025-01-02T14:00:00+00:00", date(2025, 1, 3)),
        ("2025-01-02T15:30:00+00:00", date(2025, 1, 3)),
        ("2024-12-31T16:00:00+00:00", date(2025, 1, 1)),
    ],
)
def test_acceptance_at_or_after_the_cut_off_counts_for_the_next_day(accepted: str, settles: date) -> None:
    assert a_participant().settlement_date(datetime.fromisoformat(accepted)) == settles


@given(st.integers(0, 4_000_000_000), st.times())
def test_a_day_ends_at_its_cut_off_instant(moment_s: int, cut_off: time) -> None:
    participant = a_participant(cut_off.replace(microsecond=0, fold=0))
    accepted = datetime.fromtimestamp(moment_s, UTC)
    day = participant.settlement_date(accepted)
    assert accepted < participant.cut_off_instant(day)
    assert participant.settlement_date(participant.cut_off_instant(day)) > day


def test_a_participant_may_live_in_another_time_zone() -> None:
    accepted = datetime(2025, 1, 2, 23, tzinfo=UTC)
    assert a_participant(time_zone="America/New_York").settlement_date(accepted) == date(2025, 1, 2)
    assert a_participant().settlement_date(accepted) == date(2025, 1, 3)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Asia"])
def test_an_unknown_time_zone_is_refused_by_name(name: str) -> None:
    with pytest.raises(TimeZoneUnknown):
        zone_of(name)
