"""Delays of the way to the terminals: columns against the plain loop."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.blacklist.domain import delays
from services.blacklist.domain.delays import NOT_YET, Counts, Hop, Journeys, Moves, arrive, buckets_of, percentile


def column(values: list[int]) -> delays.I64:
    return np.array(values, dtype=np.int64)


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_is_right_to_two_and_a_half_per_cent(values_ms: list[int], share: float) -> None:
    buckets, counts = np.unique(buckets_of(column(values_ms)), return_counts=True)
    found = percentile(buckets, counts, share)
    place = int(np.searchsorted(np.arange(1, len(values_ms) + 1), share * len(values_ms)))
    exact = sorted(values_ms)[place] / 1000
    assert abs(found - exact) <= 0.026 * exact


def test_delays_below_nothing_and_beyond_everything_have_a_bucket() -> None:
    assert buckets_of(column([-5, 0, 1])).tolist() == [0, 0, 0]
    assert buckets_of(column([2**60])).tolist() == [delays.BUCKET_MAX]


moves = st.lists(
    st.tuples(
        st.integers(0, 12), st.integers(1, 6), st.one_of(st.none(), st.integers(900, 1200)), st.integers(1000, 2000)
    ),
    max_size=8,
)


@settings(deadline=None)
@given(st.sets(st.integers(1, 15), max_size=10), moves, st.integers(1, 5))
def test_a_batch_in_columns_counts_what_a_loop_counts(
    listed: set[int], chosen: list[tuple[int, int, int | None, int]], pairs_max: int
) -> None:
    versions = sorted(listed)
    reported = [version * 10 for version in versions]
    held = [NOT_YET if version % 3 == 0 else version * 20 for version in versions]
    batch = Moves(
        column([one[0] for one in chosen]),
        column([one[0] + one[1] for one in chosen]),
        column([NOT_YET if one[2] is None else one[2] for one in chosen]),
        column([one[3] for one in chosen]),
    )
    before, delays._PAIRS_MAX = delays._PAIRS_MAX, pairs_max
    try:
        counts = Counts()
        arrivals = arrive(Journeys(column(versions), column(reported), column(held)), batch, counts)
    finally:
        delays._PAIRS_MAX = before
    expected = Counts()
    for place, version in enumerate(versions):
        there = [one for one in chosen if one[0] < version <= one[0] + one[1]]
        assert arrivals.counts[place] == len(there)
        if there:
            assert arrivals.first_ms[place] == min(one[3] for one in there)
            assert arrivals.last_ms[place] == max(one[3] for one in there)
        offered = [one[2] for one in there if one[2] is not None]
        assert arrivals.first_offered_ms[place] == min(offered, default=NOT_YET)
        expected.add(Hop.TOTAL, column([one[3] - reported[place] for one in there]))
        expected.add(Hop.ACKNOWLEDGED, column([one[3] - one[2] for one in there if one[2] is not None]))
        if held[place] != NOT_YET:
            expected.add(Hop.OFFERED, column([at - held[place] for at in offered]))
    for ours, theirs in zip(counts.columns(), expected.columns(), strict=True):
        assert ours.tolist() == theirs.tolist()
