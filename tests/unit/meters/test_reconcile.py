"""What meters say against what was sold: each finding, and many meters at once against the plain arithmetic."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from libs.meters.reconcile import WORDS, Finding, Reads, Reconciled, Sales, reconcile


def reads(*rows: tuple[int, int, int]) -> Reads:
    columns = np.array(rows, np.int64).reshape(-1, 3)
    return Reads(columns[:, 0], columns[:, 1], columns[:, 2])


def sales(*rows: tuple[int, int]) -> Sales:
    columns = np.array(rows, np.int64).reshape(-1, 2)
    return Sales(columns[:, 0], columns[:, 1])


def only(made: Reconciled) -> tuple[Finding, int]:
    (finding,) = made.finding.tolist()
    return Finding(finding), int(made.difference[0])


def test_sold_and_used_agree() -> None:
    made = reconcile(reads((7, 100, 50)), sales((7, 30), (7, 20)), reads((7, 140, 60)))
    assert only(made) == (Finding.MATCH, 0)
    assert (made.used[0], made.sold[0]) == (40, 50)


def test_a_token_that_was_not_put_in_is_told_from_one_that_vanished() -> None:
    assert only(reconcile(reads((7, 0, 50)), sales((7, 30), (7, 20)), reads((7, 10, 70)))) == (Finding.TOKEN_WAITS, -20)
    assert only(reconcile(reads((7, 0, 50)), sales((7, 30), (7, 20)), reads((7, 10, 60)))) == (Finding.TOO_LITTLE, -30)
    assert only(reconcile(reads((7, 0, 50)), sales(), reads((7, 10, 39)))) == (Finding.TOO_LITTLE, -1)


def test_more_than_was_paid_for_is_seen() -> None:
    assert only(reconcile(reads((7, 0, 50)), sales((7, 20)), reads((7, 10, 80)))) == (Finding.TOO_MUCH, 20)


def test_a_total_that_fell_an_unknown_meter_and_one_not_read() -> None:
    made = reconcile(reads((1, 100, 5), (3, 1, 1)), sales((3, 10)), reads((1, 99, 6), (2, 5, 5)))
    assert made.meters.tolist() == [1, 2, 3]
    assert made.finding.tolist() == [Finding.BACKWARDS, Finding.UNKNOWN_METER, Finding.NOT_READ]
    assert made.difference.tolist() == [0, 0, 0]
    assert made.count(Finding.NOT_READ) == 1


def test_every_finding_has_words() -> None:
    assert set(WORDS) == set(Finding)


METERS = st.dictionaries(
    st.integers(1, 50), st.tuples(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 500)), max_size=20
)
SOLD = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 300)), max_size=30)


@given(METERS, SOLD)
def test_meters_that_only_count_always_agree(
    meters: dict[int, tuple[int, int, int]], sold: list[tuple[int, int]]
) -> None:
    opening = reads(*((meter, used, left) for meter, (used, left, _) in meters.items()))
    bought = {meter: sum(quantity for one, quantity in sold if one == meter) for meter in meters}
    now = reads(*((meter, used + more, left + bought[meter] - more) for meter, (used, left, more) in meters.items()))
    made = reconcile(opening, sales(*sold), now)
    for meter, finding in zip(made.meters.tolist(), made.finding.tolist(), strict=True):
        assert finding == (Finding.MATCH if meter in meters else Finding.NOT_READ)
