"""Versions, their chain, and what a card's history says about an instant."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.blacklist.domain.chain import EMPTY_HASH, Change, Head, append, listed_at
from services.blacklist.domain.entry import Entry, Listing, ListMode, ListReason
from tests.unit.blacklist.fakes import DAY, NOON, a_card

LOST = Listing(ListReason.LOST, ListMode.LOCK, NOON + DAY, NOON)


def a_change(**values: Any) -> Change:
    return replace(Change(1, a_card(), True, LOST, LOST.effective_time, NOON), **values)


def test_a_version_without_a_change_is_a_defect() -> None:
    with pytest.raises(AssertionError):
        append(Head(), Entry(a_card()), Entry(a_card()), NOON)


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"card": a_card(2)},
        {"card": a_card(generation=2)},
        {"card": replace(a_card(), scheme="cj")},
        {"added": False},
        {"listing": replace(LOST, reason=ListReason.COURT)},
        {"listing": replace(LOST, mode=ListMode.REFUSE)},
        {"listing": replace(LOST, effective_time=LOST.effective_time + timedelta(microseconds=1))},
        {"listing": replace(LOST, report_time=NOON + timedelta(microseconds=1))},
        {"holds_from": NOON},
        {"create_time": NOON + timedelta(microseconds=1)},
    ],
)
def test_every_fact_of_a_change_is_in_its_hash(changed: dict[str, Any]) -> None:
    assert a_change(**changed).hash_after(EMPTY_HASH) != a_change().hash_after(EMPTY_HASH)


def test_a_hash_depends_on_all_versions_before() -> None:
    assert a_change().hash_after(b"\1" * 32) != a_change().hash_after(EMPTY_HASH)


def test_versions_count_up_and_count_cards() -> None:
    empty = Entry(a_card())
    listed = empty.report_loss(NOON, NOON + DAY)
    head, added = append(Head(), listed, empty, NOON)
    assert (head.version, head.entry_count, added.added, added.holds_from) == (1, 1, True, NOON + DAY)
    removed = listed.cancel_loss(NOON + DAY)
    head, gone = append(head, removed, listed, NOON + 2 * DAY)
    assert (head.version, head.entry_count, gone.added, gone.holds_from) == (2, 0, False, NOON + DAY)
    assert gone.chain_hash == gone.hash_after(added.chain_hash) == head.chain_hash


def test_history_answers_for_every_instant() -> None:
    history = [
        a_change(),
        a_change(version=2, listing=replace(LOST, reason=ListReason.COURT)),
        a_change(version=3, added=False, holds_from=NOON + 3 * DAY),
        a_change(version=4, listing=replace(LOST, effective_time=NOON + 5 * DAY), holds_from=NOON + 5 * DAY),
    ]
    listed = [listed_at(history, NOON + timedelta(days=half / 2)) is not None for half in range(12)]
    assert listed == [False, False, True, True, True, True, False, False, False, False, True, True]


def test_an_entry_removed_before_it_took_effect_never_was_in_force() -> None:
    history = [a_change(), a_change(version=2, added=False, holds_from=NOON + DAY / 2)]
    assert not any(listed_at(history, NOON + timedelta(hours=hour)) for hour in range(100))
