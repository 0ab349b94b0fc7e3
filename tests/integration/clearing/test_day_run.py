"""The end of day as a run: stages, failures that stop nobody else, reruns, kills."""

import asyncio
import json
from datetime import date, timedelta
from importlib import resources
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.clearing.adapters.signer import Signer
from services.clearing.adapters.statement_xlsx import render
from services.clearing.application.apportionment import CarryShares
from services.clearing.application.day_run import DayReads, RunDay, WorkOnDays
from services.clearing.application.day_work import DayWork
from services.clearing.application.further_results import MakeFurtherResults
from services.clearing.application.replay import ReplayDay, WhatIf
from services.clearing.application.settlement import MakeInstructions, SetPaymentAccount
from services.clearing.application.statement_forms import StatementForms
from services.clearing.domain.day_run import DayRun, Stage, StageState, progress_of
from services.clearing.domain.errors import StatementUnknown
from services.clearing.domain.errors_settlement import DayRunUnknown
from services.clearing.domain.settlement import PaymentAccount

from .conftest import CENTRE, Centre, a_batch
from .test_results_and_windows import DAY, NOON, OTHER, a_city, rides
from .test_suspense import ANN


def key_file(folder: Path) -> Path:
    file = folder / "key.pem"
    file.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


def replay(centre: Centre) -> ReplayDay:
    return ReplayDay(centre.unit_of_work, centre.gateway, centre.keys, centre_institution_id=CENTRE)


def work(centre: Centre, signer: Signer) -> WorkOnDays:
    stages = DayWork(
        centre.unit_of_work, centre.clock, close=centre.close_window, replay=replay(centre),
        carry=CarryShares(centre.unit_of_work, centre.clock),
        results=MakeFurtherResults(centre.unit_of_work, centre.clock, centre_institution_id=CENTRE),
        forms=StatementForms(centre.unit_of_work, centre.clock, signer, render),
        instruct=MakeInstructions(centre.unit_of_work, centre.clock),
    )  # fmt: skip
    return WorkOnDays(centre.unit_of_work, centre.clock, stages.stages())


async def start(centre: Centre, day: date = DAY) -> DayRun:
    return await RunDay(centre.unit_of_work, centre.clock, lambda: None)(day, ANN)


async def a_day(centre: Centre) -> None:
    """Rides of the bus company and of the metro, stored but not judged; the bus company has an account."""
    await a_city(centre)
    await SetPaymentAccount(centre.unit_of_work)(PaymentAccount("bus", "metro", "6222-0001", "Bus"))
    theirs = rides(centre, 10, acquirer=OTHER, operator=1, terminal=990100000002, first_seq=5, first_card=20)
    centre.gateway.store("bus", a_batch(rides(centre, 10), 1), NOON)
    centre.gateway.store("metro", a_batch(theirs, 1, sender="11149901"), NOON)


async def until_it_stops(round_: WorkOnDays) -> None:
    for _ in range(30):
        if not await round_():
            return
    raise AssertionError("the run never stops")


async def states(centre: Centre) -> dict[tuple[str, str], str]:
    run = await DayReads(centre.unit_of_work).run(DAY)
    return {(row.participant, row.stage.name): row.state.name for row in run.stages}


async def test_a_day_waits_for_its_end_and_its_records_and_then_runs_through(centre: Centre, tmp_path: Path) -> None:
    await a_day(centre)
    round_ = work(centre, Signer(key_file(tmp_path)))
    assert not progress_of((await start(centre)).stages).finished
    await until_it_stops(round_)
    # It is 21:00: the day has not ended for anybody.
    run = await DayReads(centre.unit_of_work).run(DAY)
    assert {row.reason for row in run.stages if row.stage is Stage.CLOSE} == {"DAY_NOT_OVER"}
    centre.clock.advance(timedelta(hours=1))
    await until_it_stops(round_)
    run = await DayReads(centre.unit_of_work).run(DAY)
    assert {row.reason for row in run.stages if row.stage is Stage.CLOSE} == {"WINDOW_BUSY"}
    await centre.judge_all()
    await until_it_stops(round_)
    found = await states(centre)
    assert set(found.values()) == {"DONE", "SKIPPED"}
    # The metro said nowhere where it is paid.
    assert [key for key, state in found.items() if state == "SKIPPED"] == [("metro", "INSTRUCT")]
    run = await DayReads(centre.unit_of_work).run(DAY)
    progress = progress_of(run.stages)
    assert (progress.finished, progress.done, progress.participants_done) == (True, 12, 2)
    details = {row.stage.name: row.detail for row in run.stages if row.participant == "bus"}
    assert details["CLOSE"] == "statement 1: 10 records, net 19.90"
    assert details["REPLAY"] == "10 records of 1 uploads"
    assert details["INSTRUCT"] == "1 instructions, 19.90"


async def test_what_fails_for_one_stops_nobody_else_and_is_run_again(centre: Centre, tmp_path: Path) -> None:
    await a_day(centre)
    await centre.judge_all()
    centre.clock.advance(timedelta(hours=1))
    round_ = work(centre, Signer(key_file(tmp_path)))
    await start(centre)
    with psycopg.connect(centre.owner_url, autocommit=True) as owner:
        # Somebody changes a record of the metro by hand: its statement does not follow from its uploads any more.
        owner.execute("UPDATE record SET amount_fen = amount_fen + 1 WHERE terminal_number = 990100000002")
        await until_it_stops(round_)
        found = await states(centre)
        assert (found["metro", "CLOSE"], found["metro", "REPLAY"], found["metro", "SIGN"]) == (
            "DONE",
            "FAILED",
            "PENDING",
        )
        assert {state for (name, _), state in found.items() if name == "bus"} == {"DONE"}
        run = await DayReads(centre.unit_of_work).wait(DAY, 1)
        assert (progress_of(run.stages).finished, progress_of(run.stages).failed) == (True, 1)
        row = next(one for one in run.stages if one.state is StageState.FAILED)
        assert (row.reason, row.attempts) == ("REPLAY_DIFFERS", 1)
        owner.execute("UPDATE record SET amount_fen = amount_fen - 1 WHERE terminal_number = 990100000002")
    await start(centre)
    await until_it_stops(round_)
    assert (await states(centre))["metro", "SIGN"] == "DONE"


async def test_a_stage_whose_process_died_is_taken_up_by_another(centre: Centre, tmp_path: Path) -> None:
    await a_day(centre)
    await centre.judge_all()
    centre.clock.advance(timedelta(hours=1))
    await start(centre)
    async with centre.unit_of_work() as uow:
        now = centre.clock.now()
        assert await uow.day_runs.claim(DAY, "bus", Stage.CLOSE, now, now + timedelta(seconds=30))
        assert not await uow.day_runs.claim(DAY, "bus", Stage.CLOSE, now, now + timedelta(seconds=30))
        await uow.commit()
    round_ = work(centre, Signer(key_file(tmp_path)))
    await until_it_stops(round_)
    assert (await states(centre))["bus", "CLOSE"] == "RUNNING"
    centre.clock.advance(timedelta(seconds=31))
    await until_it_stops(round_)
    assert (await states(centre))["bus", "INSTRUCT"] == "DONE"


async def test_two_processes_work_on_one_run_and_make_the_statements_of_one(centre: Centre, tmp_path: Path) -> None:
    await a_day(centre)
    await centre.judge_all()
    centre.clock.advance(timedelta(hours=1))
    signer = Signer(key_file(tmp_path))
    await start(centre)
    first, second = work(centre, signer), work(centre, signer)
    for _ in range(12):
        await asyncio.gather(first(), second())
    assert set((await states(centre)).values()) == {"DONE", "SKIPPED"}
    rows = await centre.execute("SELECT count(*) AS n FROM statement")
    assert rows[0].n == 2


async def test_a_day_that_was_never_run_is_refused_and_days_are_listed_newest_first(centre: Centre) -> None:
    reads = DayReads(centre.unit_of_work)
    with pytest.raises(DayRunUnknown):
        await reads.run(DAY)
    await a_city(centre)
    await start(centre)
    await start(centre, DAY + timedelta(days=1))
    page = await reads.page(None, 1)
    assert [one.settlement_date for one in page] == [DAY + timedelta(days=1)]
    assert [one.settlement_date for one in await reads.page(page[0].settlement_date, 5)] == [DAY]


async def test_a_closed_day_is_replayed_from_its_uploads_and_a_forged_upload_is_named(centre: Centre) -> None:
    await a_day(centre)
    await centre.judge_all()
    with pytest.raises(StatementUnknown):
        await replay(centre)("bus", DAY)
    await centre.close_window("bus", DAY)
    found = await replay(centre)("bus", DAY)
    assert (found.record_count, found.file_count, found.differences) == (10, 1, ())
    ((name, sha), (upload, _)) = next(item for item in centre.gateway.uploads.items() if item[0][0] == "bus")
    forged = rides(centre, 10)
    forged["tac"] = 0
    centre.gateway.uploads[name, sha] = (upload, a_batch(forged, 1))
    found = await replay(centre)("bus", DAY)
    assert "10 records differ from their uploads" in found.differences
    assert "10 records have a wrong TAC" in found.differences


async def test_other_fares_are_tried_on_the_real_taps_of_a_day(centre: Centre) -> None:
    await a_day(centre)
    await centre.judge_all()
    await centre.close_window("bus", DAY)
    document = json.loads((resources.files("libs.fares") / "packs" / "shenzhen.json").read_text())
    (one,) = await WhatIf(centre.unit_of_work, centre.gateway)("bus", DAY, document)
    # 10 rides of 250 fen list price, paid 200 each; the pack of Shenzhen asks 80 percent.
    assert (one.industry, one.card_main_type, one.record_count, one.paid_fen, one.would_fen) == (2, 1, 10, 2_000, 2_000)
