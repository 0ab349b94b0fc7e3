"""The acceptance tests of a record, case by case, against a real database (vector `cmp-acceptance`)."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from libs.records import bcd, otr

from .conftest import ACQUIRER, ISSUER, Centre, a_batch

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "vectors.json").read_text())["vectors"]
ACCEPTANCE = next(vector for vector in VECTORS if vector["id"] == "cmp-acceptance")


def local(digits: str) -> datetime:
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=bcd.LOCAL_TIME).astimezone(UTC)


def day_number(digits: str) -> int:
    return (date.fromisoformat(digits) - date(1970, 1, 1)).days


async def the_centre_of_the_vector(centre: Centre) -> None:
    facts: dict[str, Any] = ACCEPTANCE["inputs"]
    await centre.add_participant("bus", ACQUIRER, 0x11)
    number = bytes.fromhex(facts["card"]["card_no"])
    async with centre.unit_of_work() as uow:
        await uow.participants.register_issuer_key(ISSUER, 1, 0)
        await uow.participants.set_industry_limit(-1, local("20200101000000"), facts["limit"])
        await uow.registries.add_cards(
            [number], [1], jt=False, issuer_id=ISSUER, issued_s=int(local("20250101000000").timestamp()),
            start_day=day_number(facts["card"]["start"]), expiry_day=day_number(facts["card"]["expiry"]),
        )  # fmt: skip
        for psam, state in facts["psams"].items():
            await uow.registries.add_terminals([(int(facts["terminals"][0]), "bus", bytes.fromhex(psam))])
            if state.startswith("revoked"):
                revoked = int(local(state.split()[1]).timestamp())
                await uow.registries.revoke_psam(bytes.fromhex(psam), revoked)
        added, deleted = (int(local(entry["effective"]).timestamp()) for entry in facts["blacklist"])
        await uow.registries.list_card(number, 1, jt=False, version=1, effective_s=added)
        await uow.registries.unlist_card(number, 1, jt=False, version=2, removed_s=deleted)
        await uow.commit()
    first = int(facts["card"]["next_offline_counter"], 16)
    await centre.execute("UPDATE card SET counter_first = :first", first=first)


async def test_every_case_gets_its_code_when_it_arrives_alone(centre: Centre) -> None:
    await the_centre_of_the_vector(centre)
    found, expected = {}, {}
    for number, case in enumerate(ACCEPTANCE["outputs"]["cases"], start=1):
        record = otr.read_records(bytes.fromhex(case["record"]))
        upload = centre.gateway.store("bus", a_batch(record, number), local(case["received_at"]))
        await centre.judge_all()
        (found[case["name"]],) = await centre.codes(upload)
        expected[case["name"]] = int(case["code"])
    assert found == expected
    proof = await centre.prove()
    assert [line for line in proof.lines if line.broken and line.invariant != "I10"] == []


async def test_cases_of_one_moment_get_the_same_codes_in_one_batch(centre: Centre) -> None:
    await the_centre_of_the_vector(centre)
    cases = [case for case in ACCEPTANCE["outputs"]["cases"] if case["received_at"] == "20250102210000"]
    records = otr.read_records(bytes.fromhex("".join(case["record"] for case in cases)))
    upload = centre.gateway.store("bus", a_batch(records, 1), local("20250102210000"))
    await centre.judge_all()
    codes = await centre.codes(upload)
    assert dict(zip([c["name"] for c in cases], codes, strict=True)) == {c["name"]: int(c["code"]) for c in cases}


@pytest.mark.parametrize("size", [1, 3])
async def test_a_file_judged_in_slices_gets_the_same_codes(centre: Centre, size: int) -> None:
    await the_centre_of_the_vector(centre)
    cases = [case for case in ACCEPTANCE["outputs"]["cases"] if case["received_at"] == "20250102210000"]
    records = otr.read_records(bytes.fromhex("".join(case["record"] for case in cases)))
    upload = centre.gateway.store("bus", a_batch(records, 1), local("20250102210000"))
    centre.set_records_max = size
    await centre.judge_all()
    assert await centre.codes(upload) == [int(case["code"]) for case in cases]


async def test_a_record_of_an_unknown_card_is_decided_when_the_card_is_heard_of(centre: Centre) -> None:
    await the_centre_of_the_vector(centre)
    kept = await centre.execute("SELECT * FROM card")
    await centre.execute("DELETE FROM card")
    good = ACCEPTANCE["outputs"]["cases"][0]
    record = otr.read_records(bytes.fromhex(good["record"]))
    upload = centre.gateway.store("bus", a_batch(record, 1), local(good["received_at"]))
    await centre.judge_all()
    assert await centre.codes(upload) == [11]
    assert await centre.rejudge() == 0
    (card,) = kept
    async with centre.unit_of_work() as uow:
        await uow.registries.add_cards(
            [bytes(card.number)], [1], jt=False, issuer_id=ISSUER, issued_s=card.issued_s, start_day=card.start_day,
            expiry_day=card.expiry_day,
        )  # fmt: skip
        await uow.commit()
    await centre.execute("UPDATE card SET counter_first = :first", first=card.counter_first)
    assert await centre.rejudge() == 1
    (stored,) = await centre.execute("SELECT code, amount_fen FROM record")
    assert (stored.code, stored.amount_fen) == (0, 200)
    assert await centre.rejudge() == 0
    centre.clock.advance(timedelta(days=1))
    proof = await centre.prove()
    assert [line for line in proof.lines if line.broken and line.invariant != "I10"] == []
