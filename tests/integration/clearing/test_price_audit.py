"""The price audit against a real database: packs by instant, deviations by rule, terminal and card, explanations."""

import json
import uuid
from datetime import timedelta
from importlib import resources
from typing import Any

import pytest

from libs.records import otr
from libs.runtime.requests import RequestKey
from services.clearing.application.fare_audit import FareAudit, PublishedPack, PublishFarePack
from services.clearing.domain.audit import DeviationKind
from services.clearing.domain.errors import (
    FarePackExists,
    FarePackInvalid,
    FarePackUnknown,
    ParticipantUnknown,
    RecordUnknown,
)

from .conftest import Centre, a_batch
from .test_results_and_windows import DAY, NOON, a_city, rides

TERMINAL = 990100000001


def pack(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(resources.files("libs.fares").joinpath("packs", f"{name}.json").read_text())
    return loaded


async def publish(
    centre: Centre, document: dict[str, Any], *, participant: str = "", late_s: int = -86_400
) -> PublishedPack:
    use_case = PublishFarePack(centre.unit_of_work, centre.clock)
    request = RequestKey("citycard://administrator/demo", "PublishFarePack", str(uuid.uuid4()), b"")
    return await use_case(participant, document, NOON + timedelta(seconds=late_s), request)


def a_ride(centre: Centre, seq: int, price: int, paid: int, *, mark: bool = False) -> otr.Records:
    ride = rides(centre, 1, first_seq=seq, counter=0, amount=paid, first_card=seq).copy()
    ride["list_price_fen"] = price
    ride["flags"] = otr.Flag.TRANSFER_DISCOUNT if mark else 0
    return otr.seal(ride)


async def send(centre: Centre, *records: otr.Records, number: int = 1) -> None:
    joined = otr.read_records(b"".join(one.tobytes() for one in records))
    centre.gateway.store("bus", a_batch(joined, number), NOON)
    await centre.judge_all()


async def test_what_was_charged_otherwise_is_listed_and_paid_all_the_same(centre: Centre) -> None:
    await a_city(centre)
    await publish(centre, pack("shenzhen"))
    await send(centre, a_ride(centre, 1, 200, 160), a_ride(centre, 2, 200, 120), a_ride(centre, 3, 200, 120, mark=True))
    audit = FareAudit(centre.unit_of_work, centre.gateway)
    (deviation,) = await audit.deviations("bus", None, 0, None, 10)
    assert (deviation.terminal_seq, deviation.kind, deviation.amount_fen, deviation.expected_fen) == (
        2, DeviationKind.UNMARKED_TRANSFER, 120, 160,
    )  # fmt: skip
    assert deviation.settlement_date == DAY
    for by, key in (("rule", "2"), ("terminal", f"{TERMINAL:012d}"), ("card", deviation.card.removeprefix("cards/"))):
        (total,) = await audit.sums("bus", DAY, by)
        assert (total.key, total.record_count, total.amount_fen, total.expected_fen) == (key, 1, 120, 160)
    assert await audit.sums("metro", None, "rule") == []
    assert (await centre.close_window("bus", DAY)).totals.gross_fen == 400


async def test_a_charge_is_explained_step_by_step_from_the_upload(centre: Centre) -> None:
    await a_city(centre)
    audit = FareAudit(centre.unit_of_work, centre.gateway)
    await send(centre, a_ride(centre, 1, 200, 120, mark=True))
    with pytest.raises(RecordUnknown):
        await audit.explain(TERMINAL, 99)
    with pytest.raises(FarePackUnknown):
        await audit.explain(TERMINAL, 1)
    await publish(centre, pack("shenzhen"))
    explanation = await audit.explain(TERMINAL, 1)
    assert [step.amount_fen for step in explanation.charge.steps] == [200, 160, 120]
    assert all(step.zh and step.en for step in explanation.charge.steps)
    assert explanation.transfer_marked


async def test_a_pack_holds_from_its_instant_and_is_never_replaced(centre: Centre) -> None:
    await a_city(centre)
    with pytest.raises(FarePackInvalid):
        await publish(centre, {"name": "empty"})
    with pytest.raises(FarePackInvalid):
        await publish(centre, pack("beijing"))
    with pytest.raises(ParticipantUnknown):
        await publish(centre, pack("shenzhen"), participant="tram")
    first = await publish(centre, pack("shenzhen"))
    assert (await publish(centre, pack("shenzhen"))).id == first.id
    other = pack("shenzhen") | {"version": 99}
    with pytest.raises(FarePackExists):
        await publish(centre, other)
    # The ride was before the new pack begins.
    halved = [rule | {"percent": 50} if rule["name"] == "SZ_METRO_95" else rule for rule in other["rules"]]
    await publish(centre, other | {"rules": halved}, late_s=1)
    await send(centre, a_ride(centre, 1, 200, 160))
    assert await FareAudit(centre.unit_of_work, centre.gateway).deviations("bus", None, 0, None, 10) == []
