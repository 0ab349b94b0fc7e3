"""The rules of the books that need no transaction."""

import dataclasses
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from citycard.account.v1 import error_reason_pb2
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import DomainError
from services.account.adapters.binary import copy_rows, int4_array, pg_moments
from services.account.adapters.chart_file import standard_chart
from services.account.domain import bank_errors, errors, wallet_errors
from services.account.domain.accounts import Account, changes_of
from services.account.domain.batch import CreditLine, PostedBatch
from services.account.domain.book import GENESIS, Posting, chain_hash, journal_bytes
from services.account.domain.chart import AccountKind, Chart, is_account_name
from services.account.domain.columns import KeyColumns
from services.account.domain.errors import FactMalformed, LimitExceeded
from services.account.domain.folding import fold, may_repeat
from services.account.domain.purse import Purse, PurseKey
from tests.unit.account.builders import NOON, Row, a_batch, a_key, a_posting, credit, debit, issued, movements


def test_the_reasons_are_those_of_the_contract() -> None:
    modules = (errors, bank_errors, wallet_errors)
    kinds = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    ours = {kind.reason for kind in kinds if issubclass(kind, DomainError)}
    declared = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118 (an enum)
    assert ours - {"", "UNSPECIFIED"} == declared - {"UNSPECIFIED"}


def test_the_chart_has_the_numbers_of_the_standard_and_their_kinds() -> None:
    chart = standard_chart()
    numbers = (
        "1001 1002 1003 1004 1221 1222 1223 1224 2201 2202 2203 2204 2205 2206 2207 2208"
        " 6001 6002 6003 6004 6401 6402 6403"
    )
    # Beside the standard's numbers stand those of wallets.
    assert set(numbers.split()) <= set(chart.lines)
    kinds = {"1": AccountKind.ASSET, "2": AccountKind.LIABILITY, "60": AccountKind.INCOME, "64": AccountKind.EXPENSE}
    for number, line in chart.lines.items():
        if number[0] != "3":
            assert line.kind is kinds.get(number[0], kinds.get(number[:2]))
            assert line.asset == "CNY/2"
        assert line.name_zh
        assert line.name_en


def test_a_chart_that_names_a_number_twice_is_refused() -> None:
    line = '{"number": "2201", "kind": "liability", "owner": "centre", "zh": "a", "en": "b"}'
    text = '{{"asset": "CNY/2", "float": "2201", "load_events": [], "lines": [{}]}}'
    assert Chart.from_json(text.format(line)).line("2201.x").number == "2201"
    with pytest.raises(ValueError, match="twice"):
        Chart.from_json(text.format(f"{line}, {line}"))


@pytest.mark.parametrize("name", ["", "220", "22011", "2203.", "2203.Metro", "2203.a.b", "2203.a\n", "２２０３"])
def test_what_is_no_account_name_is_known(name: str) -> None:
    assert not is_account_name(name)


def test_the_seal_depends_on_everything_that_a_journal_says() -> None:
    one = UUID(int=1)
    base = a_posting(debit("2201", 5, a_key()), credit("2206", 5))
    variants: list[tuple[UUID, Posting, datetime]] = [
        (one, base, NOON),
        (UUID(int=2), base, NOON),
        (one, base, NOON + timedelta(microseconds=1)),
        (one, dataclasses.replace(base, event="other"), NOON),
        (one, dataclasses.replace(base, reference="other"), NOON),
        (one, dataclasses.replace(base, event_time=NOON + timedelta(microseconds=1)), NOON),
        (one, dataclasses.replace(base, legs=base.legs[::-1]), NOON),
        (one, a_posting(debit("2201", 5, a_key(2)), credit("2206", 5)), NOON),
        (one, a_posting(debit("2201", 6, a_key()), credit("2206", 6)), NOON),
        (one, a_posting(credit("2201", 5, a_key()), debit("2206", 5)), NOON),
        (one, a_posting(debit("2201", 5, a_key()), credit("2205", 5)), NOON),
    ]
    seals = {chain_hash(GENESIS, 1, journal_bytes(*variant)) for variant in variants}
    seals |= {
        chain_hash(GENESIS, 2, journal_bytes(*variants[0])),
        chain_hash(b"\1" * 32, 1, journal_bytes(*variants[0])),
    }
    assert len(seals) == len(variants) + 2


def test_a_reference_cannot_pass_for_a_leg() -> None:
    honest = a_posting(debit("1221", 5), credit("2202", 5), reference="x")
    forged = a_posting(credit("2202", 5), reference="x\n1|1221|1|5|")
    assert journal_bytes(UUID(int=1), honest, NOON) != journal_bytes(UUID(int=1), forged, NOON)


def test_the_canonical_form_is_what_the_page_says() -> None:
    posting = a_posting(debit("1221.north", 5), credit("2201", 5, a_key()), event="load", reference="卡")
    assert journal_bytes(UUID(int=1), posting, NOON).decode() == (
        "00000000-0000-0000-0000-000000000001\nload\n1535774400000000\n1535774400000000\n3\n卡\n"
        f"1|1221.north|1|5|\n2|2201|2|5|{a_key().name}\n"
    )


def test_changes_are_summed_per_account_in_the_order_of_locks() -> None:
    legs = (debit("2207", 5), credit("1221.z", 5), credit("2207", 3), debit("1221.a", 3))
    assert [(change.name, change.debits_fen, change.credits_fen) for change in changes_of(legs, posted=1)] == [
        ("1221.a", 3, 0),
        ("1221.z", 0, 5),
        ("2207", 5, 3),
    ]
    assert [change.pending_debits_fen for change in changes_of(legs, pending=-1)] == [-3, 0, -5]


@pytest.mark.parametrize(("kind", "sign"), [(AccountKind.ASSET, 1), (AccountKind.EXPENSE, 1), (AccountKind.INCOME, -1)])
def test_a_balance_stands_on_its_own_side(kind: AccountKind, sign: int) -> None:
    assert Account("1", kind, NOON, debits_fen=7, credits_fen=3).balance_fen == sign * 4


def test_the_limit_is_reached_and_not_passed() -> None:
    account = Account("1221", AccountKind.ASSET, NOON, debits_fen=90, balance_limit_fen=100, pending_credits_fen=50)
    account.check_limit(grows_fen=10, shrinks_fen=0)
    account.check_limit(grows_fen=30, shrinks_fen=20)
    # What may yet shrink it does not count before it does.
    with pytest.raises(LimitExceeded):
        account.check_limit(grows_fen=11, shrinks_fen=0)


keys = st.builds(a_key, st.integers(0, 3), st.integers(1, 2), st.sampled_from(["cj", "jt"]))
rows = st.tuples(keys, st.integers(0, 6), st.integers(0, 50), st.integers(-20, 100))


@given(st.lists(keys, max_size=30))
def test_grouping_gives_every_key_once_in_order_and_leads_back(some: list[PurseKey]) -> None:
    columns = KeyColumns.of(some)
    grouped, positions = columns.grouped()
    assert [grouped.key(row) for row in range(len(grouped))] == sorted(set(some))
    assert [grouped.key(int(position)) for position in positions] == some


@given(st.lists(rows, min_size=1, max_size=40), st.sets(st.tuples(keys, st.integers(0, 6)), max_size=10))
def test_folding_equals_counting_by_hand(batch: list[Row], before: set[tuple[PurseKey, int]]) -> None:
    moved = movements(batch)
    grouped, positions = moved.keys.grouped()
    seen = np.array([(key, counter) in before for key, counter, _, _ in batch])
    highest = np.array([max((c for k, c in before if k == grouped.key(n)), default=-1) for n in range(len(grouped))])
    folded, found = fold(moved, positions, highest, seen)
    by_hand: defaultdict[PurseKey, list[Row]] = defaultdict(list)
    for row in batch:
        by_hand[row[0]].append(row)
    for place in range(len(grouped)):
        mine = by_hand[grouped.key(place)]
        counters = {counter for _, counter, _, _ in mine}
        first = next(row for row in mine if row[1] == max(counters))
        assert folded.debits_fen[place] == sum(row[2] for row in mine)
        assert folded.counter_max[place] == max(counters)
        assert folded.printed_balance_fen[place] == first[3] - first[2]
        known = {c for key, c in before if key == mine[0][0]}
        assert folded.counter_count[place] == len(counters - known)
        gaps = [place == p for p in found.gap_positions.tolist()]
        missing = {
            counter
            for is_mine, first, last in zip(gaps, found.gap_from.tolist(), found.gap_to.tolist(), strict=True)
            if is_mine
            for counter in range(first, last + 1)
        }
        above = range(int(highest[place]) + 1, max(counters, default=0) + 1)
        assert missing == set(above) - counters
        late = zip(found.late_positions.tolist(), found.late_counters.tolist(), strict=True)
        assert {c for p, c in late if p == place} == {c for c in counters - known if c < highest[place]}
        kept = {}
        for row in mine:
            if row[1] not in known:
                kept.setdefault(row[1], row[2])
        assert folded.repeats_fen[place] == sum(row[2] for row in mine) - sum(kept.values())
    assert len(found.repeats) == len(batch) - int(folded.counter_count.sum())


def test_only_counters_that_are_not_above_the_highest_are_looked_up() -> None:
    moved = movements([(a_key(1), 5, 1, 1), (a_key(1), 6, 1, 1), (a_key(2), 0, 1, 1)])
    _, positions = moved.keys.grouped()
    assert may_repeat(moved, positions, np.array([5, -1])).tolist() == [True, False, False]


def test_gaps_are_counted_from_zero() -> None:
    assert not Purse(a_key()).gap_open
    assert not Purse(a_key(), counter_max=2, counter_count=3).gap_open
    assert Purse(a_key(), counter_max=2, counter_count=2).gap_open


def test_a_batch_must_agree_with_itself_in_every_sum_and_range() -> None:
    chart = standard_chart()
    good = a_batch((a_key(), 0, 5, 9))
    good.check(chart)

    def altered(**values: object) -> PostedBatch:
        return dataclasses.replace(good, **values)  # type: ignore[arg-type]  # the fields vary from case to case

    wrong = [
        altered(total_fen=4),
        altered(lines=()),
        altered(lines=(CreditLine("2203.metro", 6), CreditLine("2203.bus", -1))),
        altered(lines=(CreditLine("2203.METRO", 5),)),
        altered(lines=(CreditLine("2999", 5),)),
        altered(movements=movements([(a_key(), 0, 6, 9), (a_key(), 0, -1, 9)])),
        altered(movements=movements([(a_key(), -1, 5, 9)])),
        altered(movements=dataclasses.replace(good.movements, times_s=np.zeros(2, dtype=np.int64))),
    ]
    for batch in wrong:
        with pytest.raises(FactMalformed):
            batch.check(chart)


def test_issued_cards_must_agree_with_themselves() -> None:
    issued(a_key(1), a_key(2)).check()
    wrong = [
        issued(a_key(1), a_key(1)),
        issued(a_key(1), opening_fen=-1),
        issued(a_key(1), deposit_fen=-1),
        issued(a_key(1), price_fen=-1),
        issued(a_key(1), outlet="North"),
        dataclasses.replace(issued(a_key(1)), openings_fen=np.zeros(2, dtype=np.int64)),
    ]
    for cards in wrong:
        with pytest.raises(FactMalformed):
            cards.check()


@pytest.mark.parametrize(
    ("schemes", "numbers", "generations"),
    [
        ([2], bytes(10), [1]),
        ([1], bytes(9), [1]),
        ([1], bytes(9) + b"\x0a", [1]),
        ([1], b"\xa0" + bytes(9), [1]),
        ([1], bytes(10), [0]),
        ([1], bytes(10), [10**9]),
        ([1], bytes(10), [1, 1]),
    ],
)
def test_keys_that_are_none_are_refused(schemes: list[int], numbers: bytes, generations: list[int]) -> None:
    with pytest.raises(FactMalformed):
        KeyColumns.read(np.array(schemes, dtype=np.uint8), numbers, np.array(generations, dtype=np.int64))


def test_rows_and_arrays_have_the_form_of_the_manual() -> None:
    row = copy_rows([np.array([1], dtype=">i4"), pg_moments(np.array([946_684_801]))])
    assert row.hex() == (
        "5047434f50590aff0d0a00"
        + "0000000000000000"
        + "0002"
        + "0000000400000001"
        + "0000000800000000000f4240"
        + "ffff"
    )
    assert int4_array(np.array([7])).hex() == "0000000100000000000000170000000100000001" + "0000000400000007"
    assert int4_array(np.array([], dtype=np.int64)).hex() == "000000000000000000000017"


def test_moments_before_the_year_2000_are_negative() -> None:
    assert pg_moments(np.array([int(datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())])).tolist() == [
        -1_000_000
    ]
