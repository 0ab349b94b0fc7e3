"""A list changed in its columns is the list written anew, byte for byte."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from libs.cardlist import (
    ENTRY,
    Action,
    CardList,
    Columns,
    DeltaMisfit,
    EcdsaSigner,
    EcdsaVerifier,
    Entries,
    EntryInvalid,
    Point,
    apply_delta,
    encode_change,
    encode_delta,
    encode_list,
)
from libs.cardlist.header import HEADER_LENGTH
from libs.cardlist.interchange import to_rows
from libs.records.numbers import card_bytes, make_cj_number, make_jt_number

KEY = ec.derive_private_key(314_159, ec.SECP256R1())
SIGNER, VERIFIER = EcdsaSigner(KEY), EcdsaVerifier([KEY.public_key()])
NOW_S = 1_756_699_200
REFUSING = (Action.LOCK, Action.REFUSE, Action.REFUSE_AT_EXIT, Action.IGNORE)

Key = tuple[bytes, int]
What = tuple[int, int, int]

numbers = st.one_of(
    st.integers(0, 30).map(lambda serial: card_bytes(make_jt_number("5840", serial))[1]),
    st.integers(0, 3).map(lambda serial: card_bytes(make_jt_number("5840", serial * 10**7))[1]),
    st.integers(0, 10).map(lambda serial: card_bytes(make_cj_number("5840", "0001", serial))[1]),
    # Wrong Luhn digits stand in a section of their own.
    st.integers(0, 99).map(lambda low: bytes.fromhex(f"031058400000000000{low:02d}")),
)
keys = st.tuples(numbers, st.integers(1, 3))
whats = st.tuples(st.sampled_from(REFUSING), st.integers(1, 8), st.sampled_from([0, 0, NOW_S - 9, NOW_S + 9]))


def columns_of(cards: dict[Key, What]) -> Entries:
    made = np.zeros(len(cards), dtype=ENTRY)
    for place, ((number, generation), what) in enumerate(cards.items()):
        made[place] = (np.frombuffer(number, np.uint8), generation, *what)
    return made


def a_file(entries: Entries | Columns, version: int, left_out: int = 0) -> bytes:
    point = Point(version, bytes((version % 256,)) * 32)
    return encode_list(entries, SIGNER, point, created_s=NOW_S, settled_until_s=NOW_S, left_out=left_out)


@settings(deadline=None)
@given(st.dictionaries(keys, whats), st.dictionaries(keys, whats), st.data())
def test_a_change_in_the_columns_is_the_list_written_anew(
    cards: dict[Key, What], put: dict[Key, What], data: st.DataObject
) -> None:
    taken = data.draw(st.lists(st.sampled_from(sorted(cards)), unique=True)) if cards else []
    changed = Columns.of_entries(columns_of(cards)).change(
        columns_of(put), columns_of({key: cards[key] for key in taken})
    )
    assert changed is not None
    expected = {key: what for key, what in cards.items() if key not in taken} | put
    assert changed.pack(NOW_S) == Columns.of_entries(columns_of(expected)).pack(NOW_S)
    assert changed.pack(0) == Columns.of_entries(columns_of(expected)).pack(0)
    assert len(changed) == len(expected)
    if expected:
        assert changed.entries().tobytes() == Columns.of_entries(columns_of(expected)).entries().tobytes()


@settings(deadline=None)
@given(st.dictionaries(keys, whats, min_size=1))
def test_what_is_not_there_cannot_be_taken_away(cards: dict[Key, What]) -> None:
    (missing, _), *_ = cards
    only = {(missing, 4): cards[next(iter(cards))]}
    none = columns_of({})
    assert Columns.of_entries(columns_of(cards)).change(none, columns_of(only)) is None


@settings(deadline=None)
@given(st.dictionaries(keys, whats, min_size=1))
def test_every_listed_card_is_found_and_nothing_else(cards: dict[Key, What]) -> None:
    held = CardList.open(a_file(columns_of(cards), 1), VERIFIER)
    for number in {number for number, _ in cards} | {card_bytes(make_jt_number("5840", 12))[1]}:
        for generation in (1, 2, 3):
            found, what = held.find(number, generation), cards.get((number, generation))
            if what is None:
                assert found is None
                continue
            assert found is not None
            effective_s = what[2] if what[2] > NOW_S else 0
            assert (found.generation, found.action, found.reason, found.effective_s) == (
                generation, what[0], what[1], effective_s,
            )  # fmt: skip
        latest = max((generation for listed, generation in cards if listed == number), default=None)
        found = held.find(number)
        assert (found.generation if found else None) == latest


class CentreAndTerminal(RuleBasedStateMachine):
    """A centre that publishes, and a terminal that takes some versions and misses others."""

    def __init__(self) -> None:
        super().__init__()
        self.cards: dict[Key, What] = {}
        self.version = 1
        self.columns = Columns.of_entries(columns_of({}))
        self.files = {1: a_file(self.columns, 1)}
        self.lists: dict[int, dict[Key, What]] = {1: {}}
        self.held = CardList.open(self.files[1], VERIFIER)

    @rule(put=st.dictionaries(keys, whats, max_size=4), data=st.data())
    def publish(self, put: dict[Key, What], data: st.DataObject) -> None:
        taken = data.draw(st.lists(st.sampled_from(sorted(self.cards)), unique=True, max_size=3)) if self.cards else []
        gone = {key: self.cards[key] for key in taken if key not in put}
        changed = self.columns.change(columns_of(put), columns_of(gone))
        assert changed is not None
        self.columns = changed
        self.cards = {key: what for key, what in self.cards.items() if key not in gone} | put
        self.version += 1
        self.files[self.version] = a_file(self.columns, self.version)
        self.lists[self.version] = dict(self.cards)

    @precondition(lambda self: self.held.point.version < self.version)
    @rule()
    def catch_up_by_a_delta(self) -> None:
        target = CardList.open(self.files[self.version], VERIFIER)
        delta = encode_delta(CardList.open(self.files[self.held.point.version], VERIFIER), target, SIGNER)
        self.held = apply_delta(self.held, delta, VERIFIER)

    @precondition(lambda self: self.held.point.version < self.version)
    @rule()
    def catch_up_by_what_the_centre_knows_of_the_change(self) -> None:
        before, after = self.lists[self.held.point.version], self.cards
        put = {key: what for key, what in after.items() if before.get(key) != what}
        taken = {key: what for key, what in before.items() if key not in after}
        target = CardList.open(self.files[self.version], VERIFIER)
        delta = encode_change(
            self.held.point, target.header, self.files[self.version][:HEADER_LENGTH], columns_of(put),
            columns_of(taken), SIGNER, settled_until_s=NOW_S,
        )  # fmt: skip
        self.held = apply_delta(self.held, delta, VERIFIER)

    @invariant()
    def the_terminal_holds_what_was_published(self) -> None:
        assert self.held.data == self.files[self.held.point.version]
        assert len(self.held) == len(self.lists[self.held.point.version])


TestCentreAndTerminal = CentreAndTerminal.TestCase
TestCentreAndTerminal.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)


def test_a_list_that_leaves_cards_out_says_so_and_takes_no_delta() -> None:
    cards: dict[Key, What] = {(card_bytes(make_jt_number("5840", serial))[1], 1): (1, 1, 0) for serial in range(9)}
    few = dict(list(cards.items())[:3])
    capped = CardList.open(a_file(columns_of(few), 1, left_out=6), VERIFIER)
    assert (len(capped), capped.header.left_out, capped.is_complete) == (3, 6, False)
    base, target = (
        CardList.open(a_file(columns_of(cards), 1), VERIFIER),
        CardList.open(a_file(columns_of(few), 2), VERIFIER),
    )
    assert base.is_complete
    with pytest.raises(DeltaMisfit):
        apply_delta(capped, encode_delta(base, target, SIGNER), VERIFIER)


def test_rows_know_no_card_to_be_ignored_and_no_exit() -> None:
    number = card_bytes(make_jt_number("5840", 1))[1]
    other = card_bytes(make_jt_number("5840", 2))[1]
    entries = columns_of({(number, 1): (Action.IGNORE, 1, 0), (other, 1): (Action.REFUSE_AT_EXIT, 2, 0)})
    rows = to_rows(entries, NOW_S)
    assert [bytes(row["card_number"]) for row in rows] == [other]
    assert rows["mode"].tolist() == [2]
    changes = to_rows(entries, NOW_S, columns_of({}))
    assert {bytes(row["card_number"]): int(row["action"]) for row in changes} == {number: 2, other: 1}


def test_a_generation_named_twice_is_refused() -> None:
    twice = np.concatenate([columns_of({(card_bytes(make_jt_number("5840", 1))[1], 1): (1, 1, 0)})] * 2)
    with pytest.raises(EntryInvalid):
        Columns.of_entries(twice)
    with pytest.raises(EntryInvalid):
        Columns.of_entries(columns_of({})).change(twice, columns_of({}))
