"""Shares are exact to the fen, rules are applied in their order, fees round once per line."""

from datetime import UTC, date, datetime, time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.money import largest_remainder
from libs.records import otr
from services.clearing.domain.apportion import (
    Clause,
    Discount,
    FeeRule,
    Rules,
    Scope,
    apportion,
    fundings,
    moved,
    split_columns,
)
from services.clearing.domain.errors_settlement import RulesInvalid
from services.clearing.domain.fees import fee_of, fees_of_line
from services.clearing.domain.judgement import Judgement
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import PostingLine
from services.clearing.domain.terms import Terms

DAY = date(2025, 1, 2)
IDS = {1: "bus", 2: "metro", 3: "ferry"}
BUS = Participant("bus", 1, "", "", "11139901FFFFFFFF", 17, time(22), "Asia/Shanghai", 50, (), datetime.now(UTC))


def a_clause(number: int, shares: list[tuple[str, int]], **scope: object) -> Clause:
    return Clause(number, "票款", "fare", Scope(**scope), tuple(shares))  # type: ignore[arg-type]  # by name


def some_rules(*fares: Clause, discounts: tuple[Clause, ...] = (), fees: tuple[FeeRule, ...] = ()) -> Rules:
    return Rules(DAY, fares, discounts, fees)


def records_of(*rows: tuple[int, int, str, int]) -> otr.Records:
    """Amount, list price, line, flags."""
    records = otr.new_records(len(rows))
    records["kind"], records["industry"], records["operator"] = 1, 2, 17
    for place, (amount, price, line, flags) in enumerate(rows):
        records["amount_fen"][place], records["list_price_fen"][place] = amount, price
        records["line"][place], records["flags"][place] = list(bytes.fromhex(line)), flags
    return records


def run(records: otr.Records, rules: Rules, code: int = 0):  # type: ignore[no-untyped-def]  # a helper
    count = len(records)
    yes = np.ones(count, np.bool_)
    owner, day = np.full(count, 1, np.int64), np.full(count, (DAY - date(1970, 1, 1)).days, np.int64)
    judgement = Judgement(np.full(count, code, np.uint8), yes, ~yes)
    return apportion(records, judgement, owner, day, None, [rules], IDS, yes)


@given(
    st.lists(st.integers(0, 10_000_000), min_size=1, max_size=20),
    st.lists(st.integers(0, 10_000), min_size=1, max_size=6).filter(lambda weights: sum(weights) > 0),
)
def test_columns_are_split_as_one_amount_is(amounts: list[int], weights: list[int]) -> None:
    split = split_columns(np.array(amounts, np.int64), weights)
    assert split.tolist() == [largest_remainder(amount, weights) for amount in amounts]
    assert split.sum(axis=1).tolist() == amounts


def test_the_first_clause_that_fits_splits_and_what_none_fits_is_ones_own() -> None:
    rules = some_rules(
        a_clause(1, [("self", 2), ("metro", 1)], lines=("000113",)), a_clause(2, [("ferry", 1)], industries=(2,)),
        a_clause(3, [("metro", 1)]),
    )  # fmt: skip
    made = run(records_of((200, 200, "000113", 0), (100, 100, "000113", 0), (50, 50, "000999", 0)), rules)
    assert {(one.party, one.clause, one.line): one.amount_fen for one in made.shares} == {
        (1, 1, "000113"): 133 + 67, (2, 1, "000113"): 67 + 33, (3, 2, "000999"): 50,
    }  # fmt: skip
    assert sum(one.record_count for one in made.shares) == 3
    (only,) = run(records_of((70, 70, "000001", 0)), some_rules()).shares
    assert (only.owner, only.party, only.clause, only.amount_fen) == (1, 1, 0, 70)


def test_records_that_are_not_paid_have_no_shares() -> None:
    assert run(records_of((200, 200, "000113", 0)), some_rules(), code=20).shares == ()


def test_the_lines_of_the_book_follow_the_shares_and_their_total_stays() -> None:
    rules = some_rules(a_clause(1, [("metro", 1), ("self", 0)]))
    shares = run(records_of((200, 200, "000113", 0)), rules).shares
    lines = [PostingLine("accounts/2201", "accounts/2203.bus", 200, 1),
             PostingLine("accounts/2201", "accounts/2205.bus", 40, 1)]  # fmt: skip
    assert [(one.credit_account, one.amount_fen) for one in moved(lines, shares, IDS)] == [
        ("accounts/2203.metro", 200), ("accounts/2205.bus", 40),
    ]  # fmt: skip


def test_discounts_are_borne_once_per_line_by_those_that_the_clause_names() -> None:
    clause = a_clause(7, [("authority:bureau", 50), ("metro", 25), ("self", 25)], transfer=True)
    rules = some_rules(discounts=(clause,))
    records = records_of((200, 231, "000113", 8), (200, 270, "000113", 8), (200, 250, "000113", 0))
    made = run(records, rules)
    assert [(one.clause, one.record_count, one.amount_fen) for one in made.discounts] == [(7, 2, 101)]
    found = fundings(made.discounts, rules)
    assert [(one.funder, one.amount_fen, one.discount_fen) for one in found] == [
        ("authority:bureau", 51, 101), ("metro", 25, 101),
    ]  # fmt: skip


@given(st.integers(0, 10_000_000), st.integers(0, 100))
def test_one_authority_pays_its_share_half_up(discount: int, percent: int) -> None:
    clause = a_clause(1, [("authority:bureau", percent), ("self", 100 - percent)])
    found = fundings([Discount(1, DAY, 1, "A", "B", 17, 1, discount)], some_rules(discounts=(clause,)))
    expected = (2 * discount * percent + 100) // 200
    assert sum(one.amount_fen for one in found) == expected


@pytest.mark.parametrize(
    ("fault", "rules"),
    [
        ("WEIGHTS", some_rules(a_clause(1, [("self", 0)]))),
        ("WEIGHTS", some_rules(a_clause(1, [("self", -1), ("metro", 2)]))),
        ("PARTY_TWICE", some_rules(a_clause(1, [("self", 1), ("self", 2)]))),
        ("AUTHORITY_EARNS_NO_FARE", some_rules(a_clause(1, [("authority:bureau", 1)]))),
        ("NUMBER", some_rules(a_clause(1, [("self", 1)]), a_clause(1, [("metro", 1)]))),
    ],
)
def test_rules_that_cannot_be_applied_are_refused_by_name(fault: str, rules: Rules) -> None:
    with pytest.raises(RulesInvalid) as refused:
        rules.check()
    assert refused.value.facts["fault"] == fault


def test_fees_by_class_take_the_first_rule_that_fits_and_round_once_per_line() -> None:
    fees = (
        FeeRule(1, "centre", "", "AA", (), 30, 0, ""), FeeRule(2, "centre", "", "", (), 50, 0, ""),
        FeeRule(3, "service", "bus", "", (17,), 0, 2, "metro"),
    )  # fmt: skip
    terms = Terms(DAY, fees=fees)
    found = fees_of_line(BUS, terms, "AA", 17, 12_345, 7)
    assert [(one.fee_class, one.rule, one.payee, one.amount_fen) for one in found] == [
        ("centre", 1, "", 37), ("service", 3, "metro", 14),
    ]  # fmt: skip
    assert [one.amount_fen for one in fees_of_line(BUS, terms, "BB", 18, 12_345, 7)] == [62]
    # Without a schedule: the rate of the registration, as vector `fee-example`.
    assert fees_of_line(BUS, Terms(DAY), "AA", 17, 600, 3)[0].amount_fen == fee_of(600, 50) == 3
