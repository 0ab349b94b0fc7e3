"""The gap ledger's arithmetic: what a look at the counters opens and ends."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.clearing.domain.gaps import LOST_AFTER, Gap, GapEnd, GapKind, settle

FIRST = datetime(2025, 1, 2, tzinfo=UTC)
LATER = FIRST + timedelta(days=3)


def a_gap(first: int, last: int, at: datetime = FIRST, number: int = 0) -> Gap:
    return Gap(GapKind.TERMINAL, 1, first, last, 7, at, GapEnd.OPEN, number)


def missing_of(seen: set[int], at: datetime) -> list[Gap]:
    """Missing ranges between the lowest and the highest number seen, number by number."""
    gaps: list[Gap] = []
    for number in range(min(seen, default=0), max(seen, default=0)):
        if number in seen:
            continue
        if gaps and gaps[-1].last == number - 1:
            gaps[-1] = a_gap(gaps[-1].first, number, at)
        else:
            gaps.append(a_gap(number, number, at))
    return gaps


def test_a_gap_that_stays_is_neither_opened_again_nor_ended() -> None:
    assert settle([a_gap(3, 5, number=1)], [a_gap(3, 5, LATER)], LATER) == ([], [])


def test_what_is_left_of_a_partly_filled_gap_keeps_its_age() -> None:
    new, ended = settle([a_gap(3, 9, number=1)], [a_gap(3, 4, LATER), a_gap(8, 9, LATER)], LATER)
    assert [(one.first, one.last, one.opened_at) for one in new] == [(3, 4, FIRST), (8, 9, FIRST)]
    assert [(one.id, one.end) for one in ended] == [(1, GapEnd.PARTLY_FILLED)]


def test_a_filled_gap_ends_as_filled_and_an_old_one_as_lost() -> None:
    assert [one.end for one in settle([a_gap(3, 5, number=1)], [], LATER)[1]] == [GapEnd.FILLED]
    at = FIRST + LOST_AFTER
    assert [one.end for one in settle([a_gap(3, 5, number=1)], [a_gap(3, 5, at)], at)[1]] == [GapEnd.LOST]


@given(st.lists(st.sets(st.integers(0, 20), max_size=6), min_size=1, max_size=5))
def test_after_every_look_the_open_gaps_are_what_is_missing(looks: list[set[int]]) -> None:
    seen: set[int] = set()
    ledger: dict[int, Gap] = {}
    for day, came in enumerate(looks):
        seen |= came
        at = FIRST + timedelta(days=day)
        missing = missing_of(seen, at)
        new, ended = settle(ledger.values(), missing, at)
        for gap in ended:
            del ledger[gap.id]
        for gap in new:
            number = max(ledger, default=day * 100) + 1
            ledger[number] = Gap(gap.kind, gap.key, gap.first, gap.last, 7, gap.opened_at, GapEnd.OPEN, number)
        assert sorted((one.first, one.last) for one in ledger.values()) == [(one.first, one.last) for one in missing]
        assert all(one.opened_at <= at for one in ledger.values())
