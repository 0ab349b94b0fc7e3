"""A small synthetic city from the first card to the proof, through public RPCs only."""

import asyncio
import json
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from citycard.account.v1 import account_service_pb2
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.clearing.v1 import (
    clearing_pb2,
    clearing_service_pb2,
    day_service_pb2,
    dispute_service_pb2,
    settlement_service_pb2,
)
from citycard.clearing.v1.clearing_service_pb2_grpc import ClearingServiceStub
from citycard.clearing.v1.day_service_pb2_grpc import DayServiceStub
from citycard.clearing.v1.dispute_service_pb2_grpc import DisputeServiceStub
from citycard.clearing.v1.settlement_service_pb2_grpc import SettlementServiceStub
from citycard.common.v1 import types_pb2

from city.day.statements import KEY_FILE, fetch_statement, verify_folder
from city.demo import registration, story
from city.demo.collection import Sent, Watchers, deliver, list_files, open_collector
from city.demo.platform import Callers, DemoPlatform
from city.demo.run import prove_platform
from city.demo.settlement import Settlement, close_windows
from city.simulation.operators import OPERATORS, Operator
from city.simulation.play import PlayedDay
from libs.clock import FixedClock
from libs.records.batch import FileType, ResultExtension, decode_batch
from libs.records.codes import Kind, ResultCode
from libs.runtime.refusals import error_info

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400), pytest.mark.slow]

_BIN = Path(sys.executable).parent
_SERVICE_MEMORY_MAX = 300 * 2**20
_MEMORY_MAX = 3 * 2**30


@dataclass(frozen=True, slots=True)
class City:
    """A city whose day is over."""

    platform: DemoPlatform
    callers: Callers
    day: PlayedDay
    told: list[str]
    story: story.Story
    sent: Sent
    settlement: Settlement


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(new_root: Callable[[str], Path], small_day: PlayedDay) -> AsyncIterator[City]:
    plan = small_day.plan
    platform = DemoPlatform(new_root("day"), clock=plan.collected_at)
    told: list[str] = []
    async with platform, Callers(platform) as callers:
        await registration.register_day(callers, plan)
        lived = await story.live(platform, callers, lambda zh, en: told.extend((zh, en)))
        operators = [OPERATORS[place] for place in plan.operators]
        clock = FixedClock(plan.collected_at)
        sent = await deliver(
            callers,
            {operator: open_collector(platform, callers, operator, clock, 400) for operator in operators},
            {OPERATORS[place]: small_day.records_of(place) for place in plan.operators},
            Watchers(),
        )
        settlement = await close_windows(callers, operators, plan.settlement_date)
        yield City(platform, callers, small_day, told, lived, sent, settlement)


def rows_of(city: City, operator: Operator) -> object:
    return city.day.plan.operators_of_taps == OPERATORS.index(operator)


class TestOneCard:
    async def test_its_ride_is_accepted_and_the_lost_card_is_refused(self, city: City) -> None:
        assert city.story.ride_code == ResultCode.ACCEPTED
        assert city.story.refused_reason == "CARD_LISTED"
        assert (city.story.effective_time - city.day.plan.collected_at).total_seconds() >= 24 * 3600

    async def test_chip_and_centre_agree_to_the_fen(self, city: City) -> None:
        assert city.story.balance_on_chip_fen == city.story.balance_at_centre_fen == 100_00 - 8_00

    async def test_the_story_is_told_in_both_languages_without_a_full_card_number(self, city: City) -> None:
        text = "\n".join(city.told)
        assert "挂失成功" in text
        assert "reported lost" in text
        assert city.story.card.removeprefix("cards/") not in text


class TestTheDay:
    async def test_every_operator_gets_what_its_taps_say(self, city: City) -> None:
        taps = city.day.plan.taps
        assert len(city.settlement.statements) == len(OPERATORS)
        for operator, statement in city.settlement.statements:
            rows = rows_of(city, operator)
            expected = (rows.sum(), taps["list_price_fen"][rows].sum(), taps["amount_fen"][rows].sum())
            assert (statement.record_count, statement.list_price_fen, statement.gross_fen) == expected
            assert statement.discount_fen == statement.list_price_fen - statement.gross_fen
            assert statement.net_fen == statement.gross_fen - statement.fee_fen
            assert statement.fee_fen == (2 * statement.gross_fen * 50 + 10_000) // 20_000

    async def test_repeated_records_are_answered_as_duplicates_and_paid_once(self, city: City) -> None:
        repeated = len(city.day.plan.sent_again)
        assert city.sent.record_count == len(city.day.plan.taps) + repeated
        assert city.settlement.duplicate_count == repeated
        assert city.settlement.record_count == len(city.day.plan.taps)

    async def test_counts_in_are_counts_out_in_every_file(self, city: City) -> None:
        for file in await list_files(city.callers):
            assert file.state == clearing_pb2.FILE_STATE_JUDGED
            assert sum(verdict.record_count for verdict in file.verdicts) == file.record_count

    async def test_the_result_file_answers_every_record_in_order(self, city: City) -> None:
        clearing = city.callers.stub(ClearingServiceStub, "clearing")
        codes: Counter[int] = Counter()
        for upload in city.sent.receipts:
            name = upload.name.replace("/uploads/", "/files/")
            parts = [part.data async for part in clearing.GetResult(clearing_service_pb2.GetResultRequest(name=name))]
            again = [part.data async for part in clearing.GetResult(clearing_service_pb2.GetResultRequest(name=name))]
            assert b"".join(parts) == b"".join(again)
            result = decode_batch(b"".join(parts), FileType.RS)
            assert isinstance(result.header.extension, ResultExtension)
            assert result.header.extension.original_batch_number == upload.batch_number
            assert result.records["index"].tolist() == list(range(upload.record_count))
            codes.update(result.records["code"].tolist())
        assert codes[ResultCode.DUPLICATE] == len(city.day.plan.sent_again)
        assert set(codes) <= {
            ResultCode.ACCEPTED,
            ResultCode.DUPLICATE,
            # Files of several operators come in any order: a card's later tap may come first.
            ResultCode.ACCEPTED_COUNTER_GAP,
            ResultCode.ACCEPTED_BALANCE_JUMP,
        }

    async def test_entries_are_stored_and_move_no_money(self, city: City) -> None:
        clearing = city.callers.stub(ClearingServiceStub, "clearing")
        metro = OPERATORS[0]
        kinds: Counter[int] = Counter()
        token = ""
        while True:
            page = await clearing.ListRecords(
                clearing_service_pb2.ListRecordsRequest(participant=metro.participant, page_size=50, page_token=token)
            )
            for record in page.records:
                kinds[record.kind] += 1
                assert record.kind != Kind.ENTRY or record.amount_fen == 0
            token = page.next_page_token
            if not token:
                break
        planned = Counter(city.day.plan.taps["kind"][rows_of(city, metro)].tolist())
        assert kinds == planned

    async def test_purses_of_the_ledger_hold_what_the_chips_hold(self, city: City) -> None:
        account = city.callers.stub(AccountServiceStub, "account")
        names = city.day.plan.cards.names()
        for card in range(0, len(names), 25):
            purse = await account.GetPurse(
                account_service_pb2.GetPurseRequest(name=f"{names[card].replace('cards/', 'purses/')}.1")
            )
            assert purse.balance_fen == city.day.balances_fen[card]
            assert not purse.gap_open
            assert purse.counter_count == (city.day.plan.taps["card"] == card).sum()

    async def test_closing_again_answers_the_statement_that_stands(self, city: City) -> None:
        operators = [operator for operator, _ in city.settlement.statements]
        again = await close_windows(city.callers, operators, city.day.plan.settlement_date)
        assert again.statements == city.settlement.statements

    async def test_sending_everything_again_stores_nothing(self, city: City) -> None:
        operator, statement = city.settlement.statements[0]
        collector = open_collector(city.platform, city.callers, operator, FixedClock(city.day.plan.collected_at), 400)
        # The spool is empty and its numbers go on, so these are new files with the same records.
        collector.pack(city.day.records_of(OPERATORS.index(operator))[:10])
        (receipt,) = await collector.send_waiting()
        name = receipt.name.replace("/uploads/", "/files/")
        clearing = city.callers.stub(ClearingServiceStub, "clearing")

        async def judged() -> bool:
            try:
                file = await clearing.GetFile(clearing_service_pb2.GetFileRequest(name=name))
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return False
                raise
            return bool(file.state == clearing_pb2.FILE_STATE_JUDGED)

        await registration.wait_until(judged, "the repeated records to be judged")
        file = await clearing.GetFile(clearing_service_pb2.GetFileRequest(name=name))
        assert {verdict.code: verdict.record_count for verdict in file.verdicts} == {int(ResultCode.DUPLICATE): 10}
        same = await close_windows(city.callers, [operator], city.day.plan.settlement_date)
        assert same.statements == ((operator, statement),)


class TestTheProof:
    async def test_nothing_is_broken(self, city: City) -> None:
        proof = await prove_platform(city.platform)
        assert [line for line in proof.lines if line.broken] == []
        assert {line.service for line in proof.lines} == {
            "card", "account", "blacklist", "terminal_gw", "clearing", "between",
        }  # fmt: skip
        assert proof.checked > len(city.day.plan.taps)

    async def test_the_command_proves_a_running_city(self, city: City) -> None:
        status, output, _ = await _run(_BIN / "citycard", "prove", "--root", str(city.platform.root))
        assert status == 0, output
        assert "nothing is broken" in output

    async def test_the_command_proves_one_service_alone(self, city: City) -> None:
        root = str(city.platform.root)
        status, output, _ = await _run(_BIN / "citycard", "prove", "--root", root, "--service", "account")
        assert status == 0, output
        assert "clearing" not in output.replace("clearing's", "")

    async def test_the_command_says_where_no_city_runs(self, city: City, tmp_path: Path) -> None:
        status, _, error = await _run(_BIN / "citycard", "prove", "--root", str(tmp_path / "nowhere"))
        assert status == 2
        assert "no city runs" in error


class TestCallers:
    async def _get_statement(self, city: City, name: str, *tls: str) -> tuple[int, str, str]:
        return await _run(
            _BIN / "buf",
            "curl",
            "--protocol",
            "grpc",
            "--cacert",
            str(city.platform.tls("auditor/demo").ca),
            *tls,
            "-d",
            json.dumps({"name": name}),
            f"https://{city.platform.address('clearing')}/citycard.clearing.v1.ClearingService/GetStatement",
        )

    def _certificate(self, city: City, caller: str) -> tuple[str, ...]:
        files = city.platform.tls(caller)
        return "--cert", str(files.cert), "--key", str(files.key)

    async def test_a_participant_reads_its_statement_with_reflection_and_nothing_else(self, city: City) -> None:
        operator, statement = city.settlement.statements[0]
        name = f"{operator.participant}/statements/{city.day.plan.settlement_date:%Y%m%d}"
        status, output, error = await self._get_statement(
            city, name, *self._certificate(city, f"participant/{operator.slug}")
        )
        assert status == 0, error
        assert int(json.loads(output)["grossFen"]) == statement.gross_fen

    async def test_without_a_certificate_nobody_is_answered(self, city: City) -> None:
        operator, _ = city.settlement.statements[0]
        name = f"{operator.participant}/statements/{city.day.plan.settlement_date:%Y%m%d}"
        status, output, _ = await self._get_statement(city, name)
        assert status != 0
        assert not output

    async def test_another_participant_is_refused(self, city: City) -> None:
        operator, _ = city.settlement.statements[0]
        other, _ = city.settlement.statements[1]
        name = f"{operator.participant}/statements/{city.day.plan.settlement_date:%Y%m%d}"
        clearing = city.callers.stub(ClearingServiceStub, "clearing", f"participant/{other.slug}")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await clearing.GetStatement(clearing_service_pb2.GetStatementRequest(name=name))
        assert error_info(refused.value).reason == "NOT_YOURS"

    async def test_a_participant_does_not_close_windows(self, city: City) -> None:
        operator, _ = city.settlement.statements[0]
        clearing = city.callers.stub(ClearingServiceStub, "clearing", f"participant/{operator.slug}")
        name = f"{operator.participant}/windows/{city.day.plan.settlement_date:%Y%m%d}"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await clearing.CloseWindow(clearing_service_pb2.CloseWindowRequest(name=name))
        assert error_info(refused.value).reason == "ROLE_NOT_ALLOWED"


class TestTheEndOfTheDay:
    async def test_the_day_runs_through_every_stage_and_the_city_is_proven_after_it(self, city: City) -> None:
        day = city.day.plan.settlement_date
        date = types_pb2.Date(year=day.year, month=day.month, day=day.day)
        days = city.callers.stub(DayServiceStub, "clearing")
        operator, statement = city.settlement.statements[0]
        settlement = city.callers.stub(SettlementServiceStub, "clearing")
        account = settlement_service_pb2.PaymentAccount(
            participant=operator.participant, bank=operator.participant, account="6222-0001", holder="公交"
        )
        await settlement.SetPaymentAccount(settlement_service_pb2.SetPaymentAccountRequest(account=account))
        operation = await days.RunDay(day_service_pb2.RunDayRequest(settlement_date=date))
        run = await days.GetDayRun(day_service_pb2.GetDayRunRequest(name=f"dayRuns/{day:%Y%m%d}"))
        for _ in range(60):
            if run.progress.participant_done_count >= len(OPERATORS):
                break
            # Not done within the second: somebody else's day has not ended, and nobody here waits for it.
            await days.WaitOperation(day_service_pb2.WaitOperationRequest(name=operation.name, timeout_s=1))
            run = await days.GetDayRun(day_service_pb2.GetDayRunRequest(name=f"dayRuns/{day:%Y%m%d}"))
        ours = {operator.participant for operator in OPERATORS}
        passed = (day_service_pb2.STAGE_STATE_DONE, day_service_pb2.STAGE_STATE_SKIPPED)
        assert [one for one in run.stages if one.participant in ours and one.state not in passed] == []
        assert {one.reason for one in run.stages if one.participant not in ours} <= {"", "DAY_NOT_OVER"}
        made = await settlement.ListInstructions(settlement_service_pb2.ListInstructionsRequest())
        assert [(one.participant, one.amount_fen) for one in made.instructions] == [
            (operator.participant, statement.net_fen)
        ]
        assert (await prove_platform(city.platform)).holds

    async def test_a_partner_verifies_its_signed_statement_offline(self, city: City, tmp_path: Path) -> None:
        operator, statement = city.settlement.statements[0]
        channel = city.platform.channel("clearing", f"participant/{operator.slug}")
        day = city.day.plan.settlement_date
        try:
            files = await fetch_statement(channel, operator.slug, day, tmp_path)
        finally:
            await channel.close()
        assert {file.suffix for file in files} == {".pb", ".st", ".csv", ".xlsx", ".pem"}
        assert verify_folder(tmp_path, tmp_path / KEY_FILE) == (1, [])
        assert (tmp_path / f"{operator.slug}-{day:%Y%m%d}.st").read_bytes() == statement.st_file

    async def test_what_two_persons_decide_reaches_the_books(self, city: City) -> None:
        operator, _ = city.settlement.statements[0]
        first = city.callers.stub(DisputeServiceStub, "clearing", "administrator/ann")
        second = city.callers.stub(DisputeServiceStub, "clearing", "administrator/bob")
        made = await first.ProposeAdjustment(
            dispute_service_pb2.ProposeAdjustmentRequest(
                request_id=str(uuid.uuid4()), participant=operator.participant, amount_fen=-77,
                contra=dispute_service_pb2.CONTRA_ACCOUNT_COMPENSATION, reason="a broken reader",
            )
        )  # fmt: skip
        decide = dispute_service_pb2.DecideAdjustmentRequest(request_id=str(uuid.uuid4()), name=made.name, approve=True)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await first.DecideAdjustment(decide)
        assert error_info(refused.value).reason == "SAME_PERSON"
        await second.DecideAdjustment(decide)
        # The proof waits until the ledger has heard: what clearing decided stands on its accounts, to the fen.
        assert (await prove_platform(city.platform)).holds
        accounts = city.callers.stub(AccountServiceStub, "account")
        income = await accounts.GetAccount(account_service_pb2.GetAccountRequest(name="accounts/6003"))
        assert income.credits_fen == 77


async def test_the_whole_city_stays_small(city: City) -> None:
    memory = city.platform.memory()
    assert sum(memory.values()) < _MEMORY_MAX
    for service in ("card", "account", "blacklist", "terminal_gw", "clearing"):
        assert memory[service] < _SERVICE_MEMORY_MAX


async def _run(*command: str | Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, error = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), error.decode()
