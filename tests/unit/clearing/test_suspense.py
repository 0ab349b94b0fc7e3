"""Suspense items: who may decide what, and where the money goes."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.clearing.domain.errors_settlement import DecisionForbidden, SamePerson, SplitWrong, SuspenseStateForbids
from services.clearing.domain.judgement import Judgement
from services.clearing.domain.late import uncovered
from services.clearing.domain.suspense import (
    Condition,
    Correction,
    Decision,
    ItemState,
    LiabilityRule,
    Shares,
    SuspenseItem,
    advise,
    list_condition,
)

AT = datetime(2025, 1, 5, tzinfo=UTC)
ANN, BOB = "citycard://administrator/ann", "citycard://administrator/bob"


def an_item(code: int = 20, *, debited: bool = True, amount: int = 200) -> SuspenseItem:
    return SuspenseItem(
        1, "bus", "bus", bytes(16), date(2025, 1, 2), code, debited, amount, "01019901FFFFFFFF", "cj-" + "0" * 20, 1, 2,
        "participants/bus/files/00", 0, AT,
    )  # fmt: skip


def decided(item: SuspenseItem, decision: Decision, shares: Shares = Shares()) -> SuspenseItem:  # noqa: B008 (frozen)
    return item.investigate().decide(decision, shares, "because", ANN, AT)


@pytest.mark.parametrize(
    ("decision", "account"),
    [
        (Decision.PAY_ACQUIRER, "accounts/2203.bus"),
        (Decision.RETURN_TO_HOLDER, "accounts/2206"),
        (Decision.WRITE_OFF, "accounts/6003"),
    ],
)
def test_what_a_card_lost_goes_where_it_was_decided(decision: Decision, account: str) -> None:
    (line,) = decided(an_item(), decision).lines()
    assert (line.debit_account, line.credit_account, line.amount_fen) == ("accounts/2205.bus", account, 200)


def test_a_split_sums_to_the_item_and_nothing_else_does() -> None:
    item = an_item()
    lines = decided(item, Decision.SPLIT, Shares(120, 50, 30)).lines()
    assert {line.credit_account: line.amount_fen for line in lines} == {
        "accounts/2203.bus": 120, "accounts/2206": 50, "accounts/6003": 30,
    }  # fmt: skip
    for shares in (Shares(), Shares(200, 1, 0), Shares(199, 0, 0), Shares(300, -100, 0)):
        with pytest.raises(SplitWrong):
            decided(item, Decision.SPLIT, shares)


def test_who_decided_cannot_approve_and_what_is_posted_stays() -> None:
    item = decided(an_item(), Decision.PAY_ACQUIRER)
    with pytest.raises(SamePerson):
        item.approve(ANN, AT, date(2025, 1, 6))
    posted = item.approve(BOB, AT, date(2025, 1, 6))
    assert (posted.state, posted.final_code, posted.approved_by) == (ItemState.POSTED, 0, BOB)
    for again in (posted.investigate, lambda: posted.approve(BOB, AT, date(2025, 1, 6))):
        with pytest.raises(SuspenseStateForbids):
            again()


def test_deciding_takes_looking_and_looking_again_takes_a_decision_back() -> None:
    with pytest.raises(SuspenseStateForbids):
        an_item().decide(Decision.WRITE_OFF, Shares(), "", ANN, AT)
    assert decided(an_item(), Decision.WRITE_OFF).investigate() == an_item().investigate()


def test_money_of_a_card_must_go_somewhere_and_a_memorandum_cannot_be_given_back() -> None:
    with pytest.raises(DecisionForbidden):
        decided(an_item(), Decision.NO_EFFECT)
    for code in (11, 13, 31, 50):
        for decision in (Decision.PAY_ACQUIRER, Decision.RETURN_TO_HOLDER, Decision.SPLIT):
            with pytest.raises(DecisionForbidden):
                decided(an_item(code, debited=False), decision)
    assert decided(an_item(31, debited=False), Decision.WRITE_OFF).lines() == ()
    (line,) = decided(an_item(2, debited=False), Decision.PAY_ACQUIRER).lines()
    assert (line.debit_account, line.credit_account) == ("accounts/6402", "accounts/2203.bus")


def test_a_correction_names_another_payee_and_bounds_what_is_paid() -> None:
    looked = an_item().investigate()
    with pytest.raises(SplitWrong):
        looked.correct(Correction("metro", 201, "wrong operator", ANN, AT))
    corrected = looked.correct(Correction("metro", 150, "wrong operator", ANN, AT))
    with pytest.raises(SplitWrong):
        corrected.decide(Decision.PAY_ACQUIRER, Shares(), "", ANN, AT)
    lines = corrected.decide(Decision.SPLIT, Shares(150, 50, 0), "", ANN, AT).lines()
    assert lines[0].credit_account == "accounts/2203.metro"
    # What the record said is kept.
    assert (corrected.participant, corrected.amount_fen) == ("bus", 200)


@pytest.mark.parametrize(
    ("held", "listed", "condition"),
    [(5, 5, 1), (6, 5, 1), (4, 5, 2), (2, 65_535, 1), (65_535, 2, 2), (70_000 & 0xFFFF, 70_001, 2)],
)
def test_the_list_of_a_terminal_is_compared_round_the_end_of_its_sixteen_bits(
    held: int, listed: int, condition: int
) -> None:
    assert list_condition(held, listed) == condition


def test_the_rule_of_a_condition_goes_before_the_general_one() -> None:
    general = LiabilityRule(20, Condition.ANY, Decision.WRITE_OFF, "一", "one")
    late = LiabilityRule(20, Condition.LIST_LATE, Decision.PAY_ACQUIRER, "二", "two")
    assert advise([general, late], 20, Condition.LIST_LATE) == late
    assert advise([general, late], 20, Condition.LIST_HELD) == general
    assert advise([general, late], 21, Condition.ANY) is None


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 500), st.sampled_from([0, 26, 20])), max_size=30),
    st.lists(st.integers(-2000, 2000), min_size=3, max_size=3),
)
def test_late_records_are_paid_as_far_as_the_card_had_money(taps, left_after) -> None:  # type: ignore[no-untyped-def]  # drawn by Hypothesis
    card = np.array([one[0] for one in taps], np.int64)
    amount = np.array([one[1] for one in taps], np.int64)
    codes = np.array([one[2] for one in taps], np.uint8)
    takes = np.ones(len(taps), np.bool_)
    cards = np.unique(card[codes == 26])
    ledger = np.array([left_after[one - 1] for one in cards.tolist()], np.int64)
    rest = uncovered(card, amount, Judgement(codes, takes, ~takes), cards, ledger, np.ones(len(cards), np.bool_))
    # One by one: what the card had, then what each record took.
    has = {one: left_after[one - 1] + sum(a for c, a, _ in taps if c == one) for one in (1, 2, 3)}
    for place, (one, fen, code) in enumerate(taps):
        expected = max(fen - max(has[one], 0), 0) if code == 26 else 0
        assert rest[place] == expected
        has[one] -= fen


def test_a_card_whose_opening_was_never_heard_of_covers_everything() -> None:
    takes = np.ones(1, np.bool_)
    judgement = Judgement(np.array([26], np.uint8), takes, ~takes)
    one = np.array([1], np.int64)
    assert uncovered(one, one * 500, judgement, one, one * -500, ~takes).tolist() == [0]


def test_an_item_is_a_value() -> None:
    assert replace(an_item(), amount_fen=1) != an_item()
