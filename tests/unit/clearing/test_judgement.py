"""The columns against a plain reading of the page: one record after the other, with sets and dictionaries."""

from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.records import bcd, otr
from libs.records.codes import Kind
from services.clearing.application.prepare import digest_rows
from services.clearing.domain.judgement import NEVER_S, Known, Loads, judge, needs_tac

DAY_S = 86_400
NOON_S = 1_735_790_400  # 2025-01-02 12:00 in Shanghai


@dataclass(frozen=True)
class Tap:
    """One record in plain values, and what the centre knows about it."""

    terminal: int = 1
    seq: int = 1
    card: int = 1
    counter: int = 0
    kind: int = Kind.PURCHASE
    amount: int = 100
    balance: int = 1000
    age_days: int = 0
    tac: bool = True
    terminal_known: bool = True
    card_known: bool = True
    listed: bool = False
    own: bool = True


def columns(taps: list[Tap]) -> tuple[otr.Records, np.ndarray, np.ndarray, Known]:
    count = len(taps)
    records = otr.new_records(count)
    records["kind"] = [tap.kind for tap in taps]
    records["card_class"] = 3
    records["issuer"] = records["acquirer"] = np.frombuffer(bytes.fromhex("11139901FFFFFFFF"), np.uint8)
    records["card_number"][:, 9] = [tap.card for tap in taps]
    records["terminal_number"] = bcd.uint_to_bcd(np.array([tap.terminal for tap in taps]), 6)
    records["terminal_seq"] = [tap.seq for tap in taps]
    records["card_counter"] = [tap.counter for tap in taps]
    records["tti"] = 6
    records["amount_fen"] = [tap.amount for tap in taps]
    records["balance_before_fen"] = [tap.balance for tap in taps]
    records["time"] = np.frombuffer(bytes.fromhex("20250102120000"), np.uint8)
    # Whether a TAC is right is a fact of the bytes.
    records["tac"][:, 3] = [tap.tac for tap in taps]
    records = otr.seal(records)

    def flags(name: str) -> np.ndarray:
        return np.array([getattr(tap, name) for tap in taps], np.bool_)

    zeros, none = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    known = Known(
        received_s=NOON_S + DAY_S * np.array([tap.age_days for tap in taps], np.int64),
        participant=np.ones(count, np.int64),
        terminal=flags("terminal_known"), psam=np.ones(count, np.bool_), psam_revoked_s=zeros + NEVER_S,
        same_taken=none.copy(), u1_taken=none.copy(), own_issuer=flags("own"),
        card=np.array([tap.card if tap.card_known else 0 for tap in taps], np.int64), generation=zeros + 1,
        start_day=zeros.copy(), expiry_day=zeros + 40_000, key=np.ones(count, np.bool_), tac=flags("tac"),
        u2_taken=none.copy(), counter_highest=zeros - 1, previous=none.copy(), previous_after_fen=zeros.copy(),
        previous_s=zeros.copy(), listed=flags("listed"), limit_fen=zeros + 5_000, loads=Loads.none(),
    )  # fmt: skip
    return records, digest_rows(records), otr.times_epoch_s(records), known


@dataclass
class PlainCentre:
    """Section 4 of record-formats.md read aloud."""

    contents: set[Tap] = field(default_factory=set)
    u1: set[tuple[int, int]] = field(default_factory=set)
    u2: set[tuple[int, int]] = field(default_factory=set)
    after: dict[tuple[int, int], int] = field(default_factory=dict)

    def code(self, tap: Tap) -> int:
        bytes_of_tap = replace(tap, age_days=0, terminal_known=True, card_known=True, listed=False, own=True)
        if not tap.terminal_known:
            return 31
        if bytes_of_tap in self.contents:
            return 1
        if not tap.own:
            return 50
        if not tap.card_known:
            return 11
        if tap.kind == Kind.GREY:
            return 1 if (tap.terminal, tap.seq) in self.u1 else 50
        if not tap.tac:
            return 12
        if (tap.terminal, tap.seq) in self.u1 or (tap.card, tap.counter) in self.u2:
            return 2
        highest = max((counter for card, counter in self.u2 if card == tap.card), default=-1)
        before = self.after.get((tap.card, tap.counter - 1))
        self.contents.add(bytes_of_tap)
        self.u1.add((tap.terminal, tap.seq))
        self.u2.add((tap.card, tap.counter))
        self.after[tap.card, tap.counter] = tap.balance - tap.amount
        if tap.age_days > 60:
            return 27
        if tap.listed:
            return 20
        if tap.amount > 5_000:
            return 23
        if tap.age_days > 10:
            return 26
        if tap.counter > highest + 1:
            return 25
        return 24 if before is not None and before != tap.balance else 0


TAPS = st.builds(
    Tap,
    terminal=st.integers(1, 2),
    seq=st.integers(1, 4),
    card=st.integers(1, 3),
    counter=st.integers(0, 4),
    amount=st.sampled_from([0, 100, 6_000]),
    balance=st.sampled_from([900, 1000]),
    age_days=st.sampled_from([0, 0, 0, 11, 61]),
    tac=st.sampled_from([True, True, True, False]),
    listed=st.sampled_from([False, False, True]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(TAPS, min_size=1, max_size=25))
def test_the_columns_say_what_the_page_says_record_by_record(taps: list[Tap]) -> None:
    # What the centre knows of a card or terminal is one fact per card or terminal, not per record.
    records, digests, times_s, known = columns(taps)
    plain = PlainCentre()
    expected = [plain.code(tap) for tap in taps]
    assert list(judge(records, digests, times_s, known, production=True).codes) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(TAPS, min_size=1, max_size=25))
def test_keys_are_taken_once_and_only_by_right_tacs(taps: list[Tap]) -> None:
    records, digests, times_s, known = columns(taps)
    judgement = judge(records, digests, times_s, known, production=True)
    taken = [tap for tap, takes in zip(taps, judgement.takes, strict=True) if takes]
    assert all(tap.tac for tap in taken)
    assert len({(tap.terminal, tap.seq) for tap in taken}) == len(taken)
    assert len({(tap.card, tap.counter) for tap in taken}) == len(taken)


def test_a_record_that_is_not_own_unknown_or_unregistered_takes_nothing() -> None:
    taps = [Tap(own=False), Tap(seq=2, card_known=False), Tap(seq=3, terminal_known=False), Tap(seq=4)]
    judgement = judge(*columns(taps), production=True)
    assert list(judgement.codes) == [50, 11, 31, 0]
    assert list(judgement.waits) == [True, True, True, False]


def test_a_load_between_two_taps_explains_a_higher_balance() -> None:
    taps = [Tap(seq=1, counter=0, balance=1000), Tap(seq=2, counter=1, balance=5_900)]
    records, digests, times_s, known = columns(taps)
    records = records.copy()
    records["time"][1] = np.frombuffer(bytes.fromhex("20250102130000"), np.uint8)
    otr.seal(records)
    digests, times_s = digest_rows(records), otr.times_epoch_s(records)
    assert list(judge(records, digests, times_s, known, production=True).codes) == [0, 24]
    load = Loads(np.array([1]), np.array([NOON_S + 60]), np.array([5_000]))
    assert list(judge(records, digests, times_s, replace(known, loads=load), production=True).codes) == [0, 0]


def test_test_records_are_refused_in_production_only() -> None:
    records, _, times_s, known = columns([Tap()])
    records = records.copy()
    records["flags"] = otr.Flag.TEST
    otr.seal(records)
    assert list(judge(records, digest_rows(records), times_s, known, production=True).codes) == [33]
    assert list(judge(records, digest_rows(records), times_s, known, production=False).codes) == [0]


def test_kinds_without_a_tac_are_not_asked_for_one() -> None:
    records, _, _, _ = columns([Tap(kind=kind) for kind in range(1, 11)])
    assert [int(kind) for kind in records["kind"][needs_tac(records)]] == [1, 2, 3, 4, 6]
