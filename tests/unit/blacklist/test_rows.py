"""Ranges, staff and issuers: what may stand beside what, what was in force when, and the chain."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.blacklist.application.small_lists import SmallLists
from services.blacklist.domain.errors import PeriodEmpty, RangeOverlaps, RowInvalid
from services.blacklist.domain.rows import (
    KindHead,
    ListKind,
    Row,
    RowChange,
    append_rows,
    check_overlaps,
    check_rows,
    hash_after,
    row_at,
)
from tests.unit.blacklist.fakes import DAY, NOON


def packed(number: int) -> bytes:
    return bytes.fromhex(f"{number:020d}")


def a_range(first: int, last: int, **more: object) -> Row:
    row = Row(packed(first) + packed(last), 2, 8, NOON)
    return replace(row, **more)  # type: ignore[arg-type]  # fields of the test's choice


spans = st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(deadline=None)
@given(st.lists(spans, max_size=6))
def test_ranges_are_let_in_if_and_only_if_no_number_lies_in_two(chosen: list[tuple[int, int]]) -> None:
    numbers = [number for first, last in chosen for number in range(first, last + 1)]
    if len(numbers) == len(set(numbers)):
        check_overlaps([a_range(first, last) for first, last in chosen])
    else:
        with pytest.raises(RangeOverlaps):
            check_overlaps([a_range(first, last) for first, last in chosen])


@settings(deadline=None)
@given(st.lists(spans, max_size=6), st.integers(0, 80))
def test_a_number_is_found_in_its_range_and_nowhere_else(chosen: list[tuple[int, int]], number: int) -> None:
    kept: list[tuple[int, int]] = []
    for first, last in sorted(chosen):
        if not kept or first > kept[-1][1]:
            kept.append((first, last))
    lists = SmallLists(ranges=tuple(a_range(first, last) for first, last in kept))
    found = lists.range_of(packed(number))
    expected = [(first, last) for first, last in kept if first <= number <= last]
    assert ([] if found is None else [(int(found.first.hex()), int(found.last.hex()))]) == expected


def test_rows_that_make_no_sense_are_named() -> None:
    with pytest.raises(RowInvalid) as refused:
        check_rows(ListKind.RANGES, [a_range(1, 2), a_range(5, 4)])
    assert refused.value.facts["index"] == "1"
    with pytest.raises(RowInvalid):
        check_rows(ListKind.STAFF, [Row(b"k" * 14, 3, 0, NOON)] * 2)
    with pytest.raises(PeriodEmpty):
        check_rows(ListKind.RANGES, [a_range(1, 2, until_time=NOON)])


def test_every_fact_of_a_version_is_in_its_hash() -> None:
    change = RowChange(a_range(1, 2), True, NOON)
    first = append_rows(KindHead(ListKind.RANGES), [change], 1, NOON)
    hashes = {first.chain_hash}
    for other in (
        replace(change, put=False),
        replace(change, row=a_range(1, 3)),
        replace(change, row=a_range(1, 2, mode=1)),
        replace(change, row=a_range(1, 2, reason=4)),
        replace(change, row=a_range(1, 2, effective_time=NOON + DAY)),
        replace(change, row=a_range(1, 2, until_time=NOON + DAY)),
    ):
        hashes.add(append_rows(KindHead(ListKind.RANGES), [other], 1, NOON).chain_hash)
    hashes.add(append_rows(KindHead(ListKind.STAFF), [change], 1, NOON).chain_hash)
    hashes.add(append_rows(KindHead(ListKind.RANGES), [change, change], 1, NOON).chain_hash)
    hashes.add(append_rows(KindHead(ListKind.RANGES), [change], 1, NOON + DAY).chain_hash)
    hashes.add(hash_after(b"\1" * 32, ListKind.RANGES, 1, NOON, [change]))
    hashes.add(hash_after(bytes(32), ListKind.RANGES, 2, NOON, [change]))
    assert len(hashes) == 12


def test_the_past_of_a_row_stays_what_it_was() -> None:
    locked, refused = a_range(1, 9, mode=1), a_range(1, 9, until_time=NOON + 8 * DAY)
    history = [
        RowChange(locked, True, NOON + DAY / 2),
        RowChange(refused, True, NOON + 2 * DAY),
        RowChange(refused, False, NOON + 4 * DAY),
        RowChange(replace(refused, effective_time=NOON + 6 * DAY), True, NOON + 5 * DAY),
    ]
    modes = [row.mode if row else 0 for row in (row_at(history, NOON + timedelta(days=half / 2)) for half in range(18))]
    # From its own time on, then from the version on as put again; removed; put again to come; ended.
    assert modes == [1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0, 0, 2, 2, 2, 2, 0, 0]
    assert row_at(history, NOON - DAY) is None
