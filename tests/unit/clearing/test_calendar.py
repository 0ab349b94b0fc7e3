"""Working days and ends of days as versioned data."""

from datetime import UTC, date, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.clearing.domain.calendar import WEEKDAYS, CalendarVersion, DayRule, version_on
from services.clearing.domain.errors_settlement import CalendarInvalid
from services.clearing.domain.participant import Participant

# Spring Festival of 2025 (State Council): 28 January to 4 February, made up on 26 January and 8 February.
FESTIVAL = CalendarVersion(
    "city", date(2025, 1, 1), (6, 7), tuple(date(2025, 1, day) for day in (1, 28, 29, 30, 31))
    + tuple(date(2025, 2, day) for day in (1, 2, 3, 4)), (date(2025, 1, 26), date(2025, 2, 8)),
)  # fmt: skip


def a_participant(*rules: DayRule) -> Participant:
    return Participant(
        "bus", 1, "巴士", "Bus", "11139901FFFFFFFF", 17, time(22), "Asia/Shanghai", 50, (), datetime.now(UTC), rules
    )


@pytest.mark.parametrize(
    ("settles", "paid"),
    [
        (date(2025, 1, 24), date(2025, 1, 26)),  # a Friday before a make-up Sunday
        (date(2025, 1, 27), date(2025, 2, 5)),  # over the whole festival
        (date(2025, 2, 7), date(2025, 2, 8)),  # a make-up Saturday
        (date(2025, 2, 8), date(2025, 2, 10)),
    ],
)
def test_payout_skips_holidays_and_keeps_make_up_days(settles: date, paid: date) -> None:
    FESTIVAL.check()
    assert FESTIVAL.working_day_after(settles) == paid


def test_without_a_calendar_people_work_from_monday_to_friday() -> None:
    assert WEEKDAYS.working_day_after(date(2025, 1, 3)) == date(2025, 1, 6)
    assert WEEKDAYS.working_day_after(date(2025, 1, 6), 10) == date(2025, 1, 20)
    assert version_on((), date(2025, 1, 3)) is WEEKDAYS


def test_the_latest_version_that_has_begun_holds() -> None:
    later = CalendarVersion("city", date(2025, 3, 1), (7,), (), ())
    versions = (later, FESTIVAL)
    assert version_on(versions, date(2024, 12, 31)) is WEEKDAYS
    assert version_on(versions, date(2025, 2, 28)) is FESTIVAL
    assert version_on(versions, date(2025, 3, 1)) is later


@pytest.mark.parametrize(
    ("fault", "rest", "holidays", "make_up"),
    [
        ("WEEKDAY", (0,), (), ()),
        ("WEEKDAY", (8,), (), ()),
        ("HOLIDAY_AND_MAKE_UP", (6, 7), (date(2025, 1, 4),), (date(2025, 1, 4),)),
        ("NO_WORKING_DAY", (1, 2, 3, 4, 5, 6, 7), (), ()),
    ],
)
def test_a_calendar_that_contradicts_itself_is_refused(fault: str, rest: tuple[int, ...], holidays, make_up) -> None:  # type: ignore[no-untyped-def]  # tuples of days
    with pytest.raises(CalendarInvalid) as refused:
        CalendarVersion("city", date(2025, 1, 1), rest, holidays, make_up).check()
    assert refused.value.facts["fault"] == fault


def test_a_new_cut_off_holds_from_its_day_on_and_leaves_no_instant_without_a_day() -> None:
    bus = a_participant(DayRule(date(2025, 1, 10), time(2), "Asia/Shanghai"))
    # The ninth ends at 22:00, the tenth at 02:00 of the tenth: four hours later.
    assert bus.settlement_date(datetime(2025, 1, 9, 13, 59, tzinfo=UTC)) == date(2025, 1, 9)
    assert bus.settlement_date(datetime(2025, 1, 9, 14, 0, tzinfo=UTC)) == date(2025, 1, 10)
    assert bus.settlement_date(datetime(2025, 1, 9, 17, 59, tzinfo=UTC)) == date(2025, 1, 10)
    assert bus.settlement_date(datetime(2025, 1, 9, 18, 0, tzinfo=UTC)) == date(2025, 1, 11)


@given(
    st.lists(st.tuples(st.integers(1, 60), st.times(), st.sampled_from(["Asia/Shanghai", "Asia/Tokyo", "UTC"])),
             max_size=4, unique_by=lambda one: one[0]),
    st.integers(0, 70 * 86_400), st.integers(0, 86_400),
)  # fmt: skip
def test_days_follow_each_other_whatever_rules_do(changes, first_s: int, later_s: int) -> None:  # type: ignore[no-untyped-def]  # drawn by Hypothesis
    rules = [DayRule(date(2025, 1, 1) + (date(2025, 1, 2) - date(2025, 1, 1)) * day, at.replace(microsecond=0, fold=0),
                     zone) for day, at, zone in sorted(changes)]  # fmt: skip
    bus = a_participant(*rules)
    start = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
    first = datetime.fromtimestamp(start + first_s, UTC)
    later = datetime.fromtimestamp(start + first_s + later_s, UTC)
    assert bus.settlement_date(first) <= bus.settlement_date(later)
    assert first < bus.cut_off_instant(bus.settlement_date(first))


def test_the_rule_of_registration_gives_the_same_days_as_a_rule_that_repeats_it() -> None:
    plain, ruled = a_participant(), a_participant(DayRule(date(2025, 1, 5), time(22), "Asia/Shanghai"))
    for hour in range(24 * 10):
        at = datetime.fromtimestamp(datetime(2025, 1, 1, tzinfo=UTC).timestamp() + 3600 * hour, UTC)
        assert plain.settlement_date(at) == ruled.settlement_date(at)
