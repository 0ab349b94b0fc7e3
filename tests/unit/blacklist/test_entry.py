"""What facts about a card make of its entry, in any order."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from services.blacklist.domain.entry import CardKey, Entry, Listing, ListMode, ListReason
from services.blacklist.domain.errors import EntryUnknown
from tests.unit.blacklist.fakes import DAY, NOON, a_card

HOUR = timedelta(hours=1)
COUNTERFEIT = Listing(ListReason.COUNTERFEIT, ListMode.REFUSE, NOON + 3 * DAY, NOON + 5 * HOUR)


def reported(entry: Entry, hours: int) -> Entry:
    return entry.report_loss(NOON + hours * HOUR, NOON + hours * HOUR + DAY)


def cancelled(entry: Entry, hours: int) -> Entry:
    return entry.cancel_loss(NOON + hours * HOUR)


@pytest.mark.parametrize("text", ["jt-123.1", "xx-" + "0" * 20 + ".1", "jt-" + "0" * 20, "jt-" + "0" * 20 + ".0"])
def test_a_name_that_is_no_card_is_unknown(text: str) -> None:
    with pytest.raises(EntryUnknown):
        CardKey.parse(text)


def test_a_cancellation_before_its_report_leaves_the_card_alone() -> None:
    entry = reported(cancelled(Entry(a_card()), hours=2), hours=1)
    assert not entry.listed
    assert entry.shown is None


def test_a_doubled_report_changes_nothing() -> None:
    once = reported(Entry(a_card()), hours=1)
    assert reported(once, hours=1) == once


def test_a_late_copy_of_an_old_report_does_not_list_again() -> None:
    entry = cancelled(reported(Entry(a_card()), hours=1), hours=2)
    assert reported(entry, hours=1) == entry


def test_a_cancellation_at_the_moment_of_the_report_wins() -> None:
    entry = cancelled(reported(Entry(a_card()), hours=1), hours=1)
    assert not entry.listed
    assert cancelled(entry, hours=1) == entry


def test_every_order_and_doubling_of_the_same_facts_ends_alike() -> None:
    facts = [(reported, 1), (cancelled, 2), (reported, 3), (cancelled, 4), (reported, 5)]
    ends = set()
    for order in permutations([*facts, facts[1], facts[4]]):
        entry = Entry(a_card())
        for apply, hours in order:
            entry = apply(entry, hours)
        ends.add((entry.listed, entry.loss_open, entry.loss_time))
    assert ends == {(True, True, NOON + 5 * HOUR)}


def test_a_cancelled_loss_does_not_free_a_card_that_an_officer_listed() -> None:
    entry = cancelled(reported(Entry(a_card()), hours=1).decide(COUNTERFEIT), hours=6)
    assert entry.listed
    assert entry.shown is not None
    assert entry.shown.reason is ListReason.COUNTERFEIT


def test_a_listed_card_keeps_its_first_effective_time() -> None:
    entry = reported(Entry(a_card()), hours=1).decide(COUNTERFEIT)
    assert entry.shown is not None
    assert entry.shown.effective_time == NOON + HOUR + DAY
    assert entry.shown.mode is ListMode.REFUSE


def test_an_officers_removal_ends_both_causes_and_a_new_report_lists_again() -> None:
    entry = reported(Entry(a_card()), hours=1).decide(COUNTERFEIT).remove(NOON + 2 * HOUR)
    assert not entry.listed
    assert entry.remove_time == NOON + 2 * HOUR
    assert not reported(entry, hours=1).listed
    assert reported(entry, hours=3).listed


def test_a_report_that_was_under_way_during_a_removal_is_not_swallowed() -> None:
    entry = Entry(a_card()).decide(COUNTERFEIT).remove(NOON + 6 * HOUR)
    assert reported(entry, hours=5).listed


def test_what_is_not_listed_cannot_be_removed() -> None:
    with pytest.raises(EntryUnknown) as refused:
        Entry(a_card()).remove(NOON)
    assert refused.value.facts == {"entry": f"entries/{a_card()}"}


def test_the_list_says_otherwise_only_when_a_reader_can_tell() -> None:
    empty = Entry(a_card())
    assert not cancelled(empty, hours=1).says_otherwise(empty)
    listed = reported(empty, hours=1)
    assert listed.says_otherwise(empty)
    assert not reported(listed, hours=2).says_otherwise(listed)
    assert listed.decide(COUNTERFEIT).says_otherwise(listed)
    assert not replace(listed, decided=True).says_otherwise(listed)
