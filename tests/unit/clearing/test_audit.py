"""The price audit against the evaluator of one ride, and the words that it finds for a deviation."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.fares.evaluate import Tap, evaluate
from libs.fares.rules import RulePack, load_pack
from libs.records import otr
from libs.records.codes import Kind
from services.clearing.domain.audit import DeviationKind, FarePack, audit, explain, pack_of

SHENZHEN = load_pack("shenzhen")
AT = datetime(2025, 1, 2, 4, tzinfo=UTC)
AT_S = int(AT.timestamp())
METRO, BUS = 1, 2
HALF_PRICE = RulePack.from_dict(
    {"name": "half", "version": 2, "rules": [{"id": 9, "name": "HALF", "step": "card_type", "percent": 50,
                                              "zh": "半价", "en": "half"}]}
)  # fmt: skip


def a_record(
    price: int, paid: int, *, mode: int = BUS, mark: bool = False, main_type: int = 1, kind: int = Kind.PURCHASE
) -> otr.Records:
    record = otr.new_records(1)
    record["kind"], record["industry"], record["card_main_type"] = kind, mode, main_type
    record["list_price_fen"], record["amount_fen"] = price, paid
    record["flags"] = otr.Flag.TRANSFER_DISCOUNT if mark else 0
    return record


def found(record: otr.Records, *packs: FarePack, participant: int = 7) -> list[tuple[int, int]]:
    column = np.array([participant])
    given_packs = list(packs) or [FarePack(1, 0, 0, SHENZHEN)]
    deviations = audit(record, np.array([AT_S]), column, np.ones(1, np.bool_), given_packs)
    return list(zip(deviations.kind.tolist(), deviations.expected_fen.tolist(), strict=True))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (a_record(200, 160), []),
        (a_record(200, 120, mark=True), []),
        (a_record(200, 120), [(DeviationKind.UNMARKED_TRANSFER, 160)]),
        (a_record(200, 160, mark=True), [(DeviationKind.MARKED_WITHOUT_DISCOUNT, 120)]),
        (a_record(200, 100), [(DeviationKind.OTHER_CARD_TYPE, 160)]),
        (a_record(200, 100, main_type=2), []),
        (a_record(200, 161), [(DeviationKind.UNEXPLAINED, 160)]),
        (a_record(500, 475, mode=METRO), []),
        # A refund or a load is no fare.
        (a_record(200, 1, kind=Kind.REFUND_DEBIT), []),
    ],
)
def test_a_deviation_is_told_with_the_first_reason_that_explains_it(
    record: otr.Records, expected: list[tuple[int, int]]
) -> None:
    assert found(record) == expected


def test_the_pack_in_force_at_the_instant_counts_and_a_participants_own_overrules() -> None:
    general, later = FarePack(1, 0, 0, SHENZHEN), FarePack(2, 0, AT_S + 1, HALF_PRICE)
    own, others = FarePack(3, 7, AT_S, HALF_PRICE), FarePack(4, 8, 0, HALF_PRICE)
    assert found(a_record(200, 160), general, later, others) == []
    assert found(a_record(200, 100), general, own) == []
    assert found(a_record(200, 160), own, general) == [(DeviationKind.UNEXPLAINED, 100)]
    assert pack_of([general, later, own], 7, AT_S) == own
    assert pack_of([later], 7, AT_S) is None
    assert found(a_record(200, 1), later) == []


@given(st.integers(0, 3_000), st.integers(0, 3_000), st.sampled_from([METRO, BUS, 9]), st.booleans(), st.integers(1, 7))
def test_columns_and_the_explanation_agree_on_the_right_price(
    price: int, paid: int, mode: int, mark: bool, main_type: int
) -> None:
    record = a_record(price, paid, mode=mode, mark=mark, main_type=main_type)
    charge = explain(SHENZHEN, record, AT)
    tap = Tap(mode=mode, main_type=main_type, list_price_fen=price, at=AT, transfer=mark)
    assert charge.amount_fen == evaluate(SHENZHEN, tap).amount_fen == charge.steps[-1].amount_fen
    told = [expected for _, expected in found(record)]
    assert told == ([] if paid == charge.amount_fen else [charge.amount_fen])
