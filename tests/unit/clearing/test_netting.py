"""Nets sum to zero, and every model pays the same in the end."""

import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.records.statement import StatementLine
from services.clearing.domain.fees import fee_of
from services.clearing.domain.netting import CENTRE, Model, netting, orders

VECTORS = {
    one["id"]: one
    for one in json.loads((Path(__file__).parents[2] / "vectors" / "vectors.json").read_text())["vectors"]
}
DAY = date(2025, 1, 3)


def a_line(issuer: str, acquirer: str, gross: int, fee: int, subsidy: int = 0, adjustment: int = 0) -> StatementLine:
    return StatementLine(DAY, issuer, acquirer, 1, 0, 0, 0, 1, gross, subsidy, fee, adjustment, DAY, 1)


def test_the_nets_of_the_vector() -> None:
    vector = VECTORS["netting-example"]
    lines = [
        a_line(one["issuer"], one["acquirer"], one["gross"], fee_of(one["gross"], vector["inputs"]["rate_bp"]))
        for one in vector["inputs"]["lines"]
    ]
    assert [line.fee_fen for line in lines] == [one["fee"] for one in vector["outputs"]["lines"]]
    nets = {one.party.upper() if one.party == CENTRE else one.party: one.net_fen for one in netting(lines)}
    assert nets == vector["outputs"]["net"]


amounts = st.integers(0, 10**9)
lines_of_a_day = st.lists(
    st.builds(
        a_line, st.sampled_from("ABC"), st.sampled_from("BCD"), amounts, amounts, amounts, st.integers(-(10**9), 10**9)
    ),
    max_size=12,
)


@given(lines_of_a_day)
def test_the_nets_of_a_day_sum_to_zero(lines: list[StatementLine]) -> None:
    subsidies = [("authority:bureau", line.subsidy_fen) for line in lines]
    assert sum(one.net_fen for one in netting(lines, subsidies)) == 0


@given(lines_of_a_day, st.sampled_from(Model))
def test_whatever_the_model_orders_sum_to_the_net(lines: list[StatementLine], model: Model) -> None:
    made = orders(model, lines)
    assert sum(one.amount_fen for one in made) == sum(line.net_fen for line in lines)
    assert all(one.amount_fen for one in made)
    assert len({one.part for one in made}) == len(made)


def test_gross_pays_and_collects_apart_and_bilateral_by_issuer() -> None:
    lines = [a_line("A", "C", 1_000, 5), a_line("B", "C", 500, 3, adjustment=-700)]
    assert [(one.part, one.amount_fen) for one in orders(Model.GROSS, lines)] == [("gross", 800), ("fee", -8)]
    assert [(one.part, one.amount_fen) for one in orders(Model.BILATERAL, lines)] == [("A", 995), ("B", -203)]
    assert [(one.part, one.amount_fen) for one in orders(Model.NET, lines)] == [("net", 792)]


@pytest.mark.parametrize("model", list(Model))
def test_nothing_is_no_order(model: Model) -> None:
    assert orders(model, []) == []
