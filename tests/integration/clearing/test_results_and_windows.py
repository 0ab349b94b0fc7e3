"""Result files, windows and statements against a real database."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pytest

from libs.purse import bulk
from libs.purse.scheme import Scheme
from libs.records import bcd, otr
from libs.records.batch import FileType, decode_batch
from libs.records.statement import decode_statement
from services.clearing.domain.errors import FileNotJudged, ParticipantUnknown, WindowBusy, WindowOrder
from services.clearing.domain.participant import Participant

from .conftest import ACQUIRER, ISSUER, Centre, a_batch

VECTOR_FILE = Path(__file__).parents[2] / "vectors" / "vectors.json"
VECTORS = {one["id"]: one for one in json.loads(VECTOR_FILE.read_text())["vectors"]}
OTHER = "11149901FFFFFFFF"
DAY = date(2025, 1, 2)
NOON = datetime(2025, 1, 2, 4, tzinfo=UTC)


def card_number(index: int) -> bytes:
    return bytes.fromhex(f"0000990100000{index:07d}")


async def a_city(centre: Centre, cards: int = 50) -> dict[str, Participant]:
    """Two operators with a terminal each, and some cards."""
    found = {
        "bus": await centre.add_participant("bus", ACQUIRER, 17),
        "metro": await centre.add_participant("metro", OTHER, 1, fee_rate_bp=0),
    }
    async with centre.unit_of_work() as uow:
        await uow.participants.register_issuer_key(ISSUER, 1, 0)
        await uow.registries.add_cards(
            [card_number(index) for index in range(cards)], [1] * cards, jt=False, issuer_id=ISSUER, issued_s=0,
            start_day=0, expiry_day=40_000,
        )  # fmt: skip
        await uow.registries.add_terminals(
            [(990100000001, "bus", bytes.fromhex("99010000000000000001")), (990100000002, "metro", b"\x02" * 10)]
        )
        await uow.commit()
    return found


def rides(
    centre: Centre, count: int, *, first_seq: int = 0, counter: int = 0, acquirer: str = ACQUIRER, operator: int = 17,
    terminal: int = 990100000001, at: str = "20250102080910", amount: int = 200, first_card: int = 0,
) -> otr.Records:  # fmt: skip
    """One ride of each of `count` cards, sealed, with right TACs."""
    records = otr.new_records(count)
    records["kind"], records["card_class"], records["key_version"], records["key_index"] = 1, 3, 1, 1
    records["issuer"] = np.frombuffer(bytes.fromhex(ISSUER), np.uint8)
    records["card_number"] = [list(card_number(first_card + index)) for index in range(count)]
    records["card_city"] = records["accepting_city"] = (0x99, 0x01)
    records["card_main_type"], records["industry"] = 1, 2
    records["acquirer"] = np.frombuffer(bytes.fromhex(acquirer), np.uint8)
    records["operator"] = operator
    records["terminal_number"] = bcd.uint_to_bcd(np.full(count, terminal), 6)
    psam = "99010000000000000001" if terminal == 990100000001 else "02" * 10
    records["psam_number"] = np.frombuffer(bytes.fromhex(psam), np.uint8)
    records["terminal_seq"] = first_seq + np.arange(count)
    records["card_counter"], records["tti"] = counter, 6
    records["balance_before_fen"] = 10_000 - counter * amount
    records["amount_fen"], records["list_price_fen"] = amount, amount + 50
    records["time"] = np.frombuffer(bytes.fromhex(at), np.uint8)
    records["tac"] = bulk.bulk_tac(
        centre.keys, Scheme.CJ, bytes.fromhex(ISSUER), records["card_number"], records["key_version"],
        records["algorithm"], otr.tac_data(records),
    )  # fmt: skip
    return otr.seal(records)


async def test_the_result_file_of_the_vector_is_made_byte_for_byte(centre: Centre) -> None:
    await centre.add_participant("bus", ACQUIRER, 0x11)
    async with centre.unit_of_work() as uow:
        await uow.participants.register_issuer_key(ISSUER, 1, 0)
        await uow.registries.add_cards(
            [bytes.fromhex("00009901000000012345")], [1], jt=False, issuer_id=ISSUER, issued_s=0, start_day=0,
            expiry_day=40_000,
        )  # fmt: skip
        await uow.registries.add_terminals([(990100000001, "bus", bytes.fromhex("99010000000000000001"))])
        await uow.commit()
    await centre.execute("UPDATE counter SET next = 1001 WHERE name = 'clearing_reference'")
    tx = VECTORS["cmp-batch-tx"]["outputs"]
    records = "".join(VECTORS[name]["outputs"]["record"] for name in ("cmp-otr-1", "cmp-otr-2", "cmp-otr-3"))
    content = bytes.fromhex(tx["header"] + records + tx["trailer"])
    upload = centre.gateway.store("bus", content, datetime(2025, 1, 2, 15, 30, tzinfo=UTC))
    await centre.reconcile()
    with pytest.raises(FileNotJudged):
        await centre.get_result("bus", upload.sha256)
    centre.clock.advance(datetime(2025, 1, 2, 16, 15, tzinfo=UTC) - centre.clock.now())
    await centre.judge_all()
    made = await centre.get_result("bus", upload.sha256)
    expected = VECTORS["cmp-batch-rs"]["outputs"]
    assert made.hex().upper() == expected["header"] + "".join(expected["records"]) + expected["trailer"]
    centre.clock.advance(timedelta(days=3))
    assert await centre.get_result("bus", upload.sha256) == made


async def test_a_statement_says_what_the_records_say(centre: Centre) -> None:
    await a_city(centre)
    centre.gateway.store("bus", a_batch(rides(centre, 50), 1), NOON)
    await centre.judge_all()
    statement = await centre.close_window("bus", DAY)
    totals = statement.totals
    assert (totals.record_count, totals.list_price_fen, totals.gross_fen, totals.discount_fen) == (
        50,
        12_500,
        10_000,
        2_500,
    )
    assert (totals.fee_fen, totals.net_fen) == (50, 9_950)
    batch = decode_batch(statement.st_file, FileType.ST)
    (line,) = decode_statement(batch.records)
    assert (line.count, line.gross_fen, line.fee_fen, line.net_fen, line.operator) == (50, 10_000, 50, 9_950, 17)
    assert await centre.close_window("bus", DAY) == statement


async def test_order_repetition_and_slicing_change_no_byte_of_a_statement(centre: Centre) -> None:
    made = []
    for order, size in (((1, 2, 3, 1), 20_000), ((3, 1, 2, 2), 7)):
        centre.wipe()
        await a_city(centre)
        centre.set_records_max = size
        parts = {number: rides(centre, 20, first_seq=number * 100, counter=number - 1) for number in (1, 2, 3)}
        batches = {number: a_batch(records, number) for number, records in parts.items()}
        for number in order:
            centre.gateway.store("bus", batches[number], NOON)
            await centre.judge_all()
        # The same records in a batch of another number: every one is known.
        again = centre.gateway.store("bus", a_batch(parts[1], 9), NOON)
        await centre.judge_all()
        assert set(await centre.codes(again)) == {1}
        made.append(await centre.close_window("bus", DAY))
    assert made[0] == made[1]


async def test_what_comes_after_closing_falls_into_the_next_window_under_its_own_date(centre: Centre) -> None:
    await a_city(centre)
    centre.gateway.store("bus", a_batch(rides(centre, 10), 1), NOON)
    await centre.judge_all()
    first = await centre.close_window("bus", DAY)
    centre.gateway.store("bus", a_batch(rides(centre, 10, first_seq=100, counter=1), 2), NOON + timedelta(hours=1))
    await centre.judge_all()
    assert await centre.close_window("bus", DAY) == first
    second = await centre.close_window("bus", DAY + timedelta(days=1))
    assert (second.number, second.totals.record_count) == (2, 10)
    rows = await centre.execute("SELECT settlement_date, count(*) AS n FROM record GROUP BY 1 ORDER BY 1")
    assert [(row.settlement_date, row.n) for row in rows] == [(DAY, 10), (DAY + timedelta(days=1), 10)]


async def test_closing_waits_for_files_that_were_accepted_in_time(centre: Centre) -> None:
    await a_city(centre)
    with pytest.raises(ParticipantUnknown):
        await centre.close_window("tram", DAY)
    # Nobody told clearing of this upload: closing itself finds it in the gateway's journal.
    centre.gateway.store("bus", a_batch(rides(centre, 10), 1), NOON)
    with pytest.raises(WindowBusy):
        await centre.close_window("bus", DAY)
    await centre.judge_all()
    with pytest.raises(WindowOrder):
        await centre.close_window("bus", DAY + timedelta(days=1))
    assert (await centre.close_window("bus", DAY)).totals.record_count == 10


async def test_one_participants_statement_is_the_same_whatever_another_does(centre: Centre) -> None:
    async def the_day(noise: bool) -> bytes:
        await a_city(centre)
        if noise:
            theirs = rides(centre, 30, acquirer=OTHER, operator=1, terminal=990100000002, first_seq=5, amount=700,
                           first_card=10)  # fmt: skip
            centre.gateway.store("metro", a_batch(theirs, 1, sender="11149901"), NOON)
            # Records of the bus company in a batch of the metro are not its to bring.
            stolen = centre.gateway.store("metro", a_batch(rides(centre, 5), 2, sender="11149901"), NOON)
            forged = centre.gateway.store("metro", a_batch(rides(centre, 5), 1), NOON)
            await centre.judge_all()
            assert await centre.codes(stolen) == [30] * 5
            assert await centre.codes(forged) == [-30]
            await centre.close_window("metro", DAY)
        centre.gateway.store("bus", a_batch(rides(centre, 10), 1), NOON)
        await centre.judge_all()
        return (await centre.close_window("bus", DAY)).st_file

    quiet = await the_day(noise=False)
    centre.wipe()
    assert await the_day(noise=True) == quiet


async def test_posting_and_closing_at_once_leave_every_record_in_exactly_one_window(centre: Centre) -> None:
    await a_city(centre)
    centre.set_records_max = 10
    for number in range(1, 13):
        batch = a_batch(rides(centre, 10, first_seq=number * 20, counter=number - 1), number)
        centre.gateway.store("bus", batch, NOON)

    async def close_until_done() -> None:
        for _ in range(200):
            try:
                await centre.close_window("bus", DAY)
                return
            except WindowBusy:
                await asyncio.sleep(0.01)
        raise AssertionError("the window never closed")

    await centre.reconcile()
    await asyncio.gather(close_until_done(), *(centre.judge_all() for _ in range(3)))
    statement = await centre.close_window("bus", DAY)
    assert statement.totals.record_count == 120
    proof = await centre.prove()
    assert [line for line in proof.lines if line.broken and line.invariant != "I10"] == []


async def test_the_proof_names_what_was_changed_by_hand(centre: Centre) -> None:
    await a_city(centre)
    centre.gateway.store("bus", a_batch(rides(centre, 10), 1), NOON)
    await centre.judge_all()
    await centre.close_window("bus", DAY)
    with psycopg.connect(centre.owner_url, autocommit=True) as owner:
        owner.execute("UPDATE record SET amount_fen = amount_fen + 1 WHERE terminal_seq = 3")
        owner.execute("UPDATE position_delta SET amount_fen = amount_fen + 1")
    broken = {line.invariant for line in (await centre.prove()).lines if line.broken}
    assert {"I2", "I6"} <= broken
