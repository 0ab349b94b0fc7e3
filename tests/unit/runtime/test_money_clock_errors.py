"""The smallest parts: money, clock, errors."""

import pickle
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.clock import CITY_TZ, FixedClock, SystemClock
from libs.errors import DomainError, LimitReached, NotYours, Refusal, RequestIdReused
from libs.money import half_up, largest_remainder, yuan


@pytest.mark.parametrize("wrong", [1.0, 0.5, "1", None])
def test_floats_and_texts_are_no_money(wrong: object) -> None:
    for call in (lambda: half_up(wrong, 1), lambda: half_up(1, wrong), lambda: yuan(wrong)):  # type: ignore[arg-type]  # the point
        with pytest.raises(TypeError):
            call()
    with pytest.raises(TypeError):
        largest_remainder(wrong, [1])  # type: ignore[arg-type]  # the point
    with pytest.raises(TypeError):
        largest_remainder(1, [wrong])  # type: ignore[list-item]  # the point


def test_half_up_is_refused_outside_of_its_definition() -> None:
    for numerator, denominator in ((-1, 2), (1, 0), (1, -2)):
        with pytest.raises(ValueError, match="half up"):
            half_up(numerator, denominator)


@pytest.mark.parametrize(
    ("numerator", "denominator", "expected"), [(0, 7, 0), (1, 2, 1), (5, 10, 1), (49, 100, 0), (150, 100, 2), (7, 1, 7)]
)
def test_a_half_goes_up(numerator: int, denominator: int, expected: int) -> None:
    assert half_up(numerator, denominator) == expected


@given(st.integers(0, 10**15), st.integers(1, 10**9))
def test_half_up_is_the_nearest_and_never_below_a_half(numerator: int, denominator: int) -> None:
    twice_off = 2 * (half_up(numerator, denominator) * denominator - numerator)
    assert -denominator < twice_off <= denominator


@pytest.mark.parametrize("weights", [[], [0, 0], [3, -1]])
def test_weights_that_share_nothing_are_refused(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights"):
        largest_remainder(100, weights)


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, 10**6), min_size=1, max_size=20).filter(any))
def test_shares_sum_to_the_total_and_stay_within_a_fen(total: int, weights: list[int]) -> None:
    shares = largest_remainder(total, weights)
    whole = sum(weights)
    assert sum(shares) == total
    assert all(abs(share * whole - total * weight) < whole for share, weight in zip(shares, weights, strict=True))
    assert largest_remainder(-total, weights) == [-share for share in shares]


def test_equal_remainders_favour_the_earlier_weight() -> None:
    assert largest_remainder(100, [1, 1, 1]) == [34, 33, 33]
    assert largest_remainder(5, [0, 1, 1]) == [0, 3, 2]


def test_fen_are_read_as_yuan() -> None:
    assert [yuan(fen) for fen in (5_120_995, 0, 5, -5, -123_456_789)] == [
        "51,209.95", "0.00", "0.05", "-0.05", "-1,234,567.89",
    ]  # fmt: skip


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        FixedClock(datetime(2018, 9, 1))  # noqa: DTZ001 (the point)


def test_a_fixed_clock_moves_only_when_told() -> None:
    clock = FixedClock(datetime(2018, 9, 1, 12, tzinfo=CITY_TZ))
    assert clock.now() == clock.now() == datetime(2018, 9, 1, 4, tzinfo=UTC)
    assert clock.now().tzinfo is UTC
    assert clock.advance(minutes=5) == datetime(2018, 9, 1, 4, 5, tzinfo=UTC)
    clock.advance(timedelta(days=1))
    assert clock.now() == datetime(2018, 9, 2, 4, 5, tzinfo=UTC)
    with pytest.raises(ValueError, match="forward"):
        clock.advance(seconds=-1)


def test_the_system_clock_can_live_on_another_day() -> None:
    offset = timedelta(days=-3000)
    assert abs(SystemClock(offset).now() - datetime.now(UTC) - offset) < timedelta(seconds=5)


class CardClosed(Refusal):
    reason = "CARD_CLOSED"


def test_an_error_keeps_its_facts_as_text() -> None:
    error = CardClosed(card="jt-1", count=3)
    assert error.facts == {"card": "jt-1", "count": "3"}
    assert str(error) == "CARD_CLOSED (card=jt-1, count=3)"
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.facts) == (CardClosed, error.facts)


def test_an_error_without_a_reason_cannot_be_raised() -> None:
    for kind in (DomainError, Refusal):
        with pytest.raises(TypeError, match="no reason"):
            kind(card="x")


def test_common_errors_know_their_home() -> None:
    assert (RequestIdReused.service, NotYours.service) == ("common", "common")
    assert LimitReached(limit="pages").reason == "LIMIT_REACHED"
