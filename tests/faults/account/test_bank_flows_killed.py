"""The service and a bank that misbehaves are killed at random points: every flow ends once, and both books agree."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from citycard.account.v1 import account_pb2
from citycard.account.v1 import account_service_pb2 as ledger_pb
from citycard.account.v1 import bank_service_pb2 as pb
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.account.v1.bank_service_pb2_grpc import BankServiceStub
from citycard.common.v1.types_pb2 import Date
from google.protobuf.duration_pb2 import Duration

from city.demo.platform import Callers
from city.launcher import Platform
from libs.clock import CITY_TZ
from services.account.domain.bank import Bank
from tests.faults.account.test_ledger_killed import AWAY, Service
from tests.faults.account.test_ledger_killed import platform as platform
from tests.integration.account.reference_bank import ReferenceBank

KILLS = 12
FAULTS = "away=0.04,lost=0.04,never=0.04,late=0.05,twice=0.08,contradict=0.04"
START_FEN = 10_000_000
HOLDER = "accounts/2211.holder-1"
ENDS = (pb.BANK_FLOW_STATE_POSTED, pb.BANK_FLOW_STATE_VOIDED, pb.BANK_FLOW_STATE_UNDONE)
# The service takes its pace from here: a test cannot wait for minutes.
PACE = {
    "CITYCARD_BANK_SWEEP_S": "0.2",
    "CITYCARD_BANK_RETRY_FIRST_S": "0.2",
    "CITYCARD_BANK_RETRY_LAST_S": "1",
    "CITYCARD_BANK_WAIT_S": "3",
}


@pytest.fixture
async def service(platform: Platform, tmp_path: Path) -> AsyncIterator[Service]:
    running = Service(platform, tmp_path / "account.log", PACE)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def banks(platform: Platform, tmp_path: Path) -> Iterator[dict[str, ReferenceBank]]:
    made = {
        name: ReferenceBank(
            tmp_path / name, name, platform.certificates.issue("participant", name), {"alice": START_FEN}
        )
        for name in ("icbc", "abc")
    }
    yield made
    for bank in made.values():
        bank.kill()


class World:
    """Callers that begin flows of all kinds and never give up, and somebody who kills."""

    def __init__(self, calls: Any, ledger: Any, seed: int) -> None:
        self.calls = calls
        self.ledger = ledger
        self.chance = random.Random(seed)
        self.names: list[str] = []
        self.repeated = 0
        self.stopping = False

    async def until_answered(self, call: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in AWAY:
                    raise
                self.repeated += 1
                await asyncio.sleep(0.1)

    async def caller(self) -> None:
        while not self.stopping:
            request_id = str(uuid.uuid4())
            names = self.chance.sample(["banks/icbc", "banks/abc"], 2)
            source, target = (pb.BankAccount(bank=name, account_token="alice") for name in names)
            amount = self.chance.randrange(1, 500)
            kind = self.chance.randrange(5)
            if kind == 0:
                load = pb.LoadFromBankRequest(request_id=request_id, source=source, amount_fen=amount, account=HOLDER)
                flow = await self.until_answered(lambda: self.calls.LoadFromBank(load))  # noqa: B023 (awaited here)
            elif kind == 1:
                unload = pb.UnloadToBankRequest(request_id=request_id, account=HOLDER, target=target, amount_fen=amount)
                flow = await self.until_answered(lambda: self.calls.UnloadToBank(unload))  # noqa: B023
            elif kind == 2:
                buy = pb.PurchaseFromBankRequest(
                    request_id=request_id, source=source, merchant="participants/cinema", amount_fen=amount
                )
                flow = await self.until_answered(lambda: self.calls.PurchaseFromBank(buy))  # noqa: B023
            elif kind == 3:
                cash = pb.WithdrawCashRequest(
                    request_id=request_id, source=source, outlet="outlets/north", amount_fen=amount
                )
                flow = await self.until_answered(lambda: self.calls.WithdrawCash(cash))  # noqa: B023
            else:
                move = pb.TransferBetweenBanksRequest(
                    request_id=request_id, source=source, target=target, amount_fen=amount
                )
                flow = await self.until_answered(lambda: self.calls.TransferBetweenBanks(move))  # noqa: B023
            self.names.append(flow.name)

    async def flow(self, name: str) -> pb.BankFlow:
        answer: pb.BankFlow = await self.until_answered(
            lambda: self.calls.GetBankFlow(pb.GetBankFlowRequest(name=name))
        )
        return answer

    async def all_ended(self) -> list[pb.BankFlow]:
        waiting, ended = list(self.names), []
        while waiting:
            flow = await self.flow(waiting[-1])
            if flow.state in ENDS:
                ended.append(flow)
                waiting.pop()
            else:
                await asyncio.sleep(0.3)
        return ended

    async def open_breaks(self) -> list[pb.BankBreak]:
        listed = await self.until_answered(lambda: self.calls.ListBreaks(pb.ListBreaksRequest(page_size=500)))
        return list(listed.breaks)


async def kill_something(
    world: World, service: Service, banks: dict[str, ReferenceBank], options: Sequence[str]
) -> None:
    chance = world.chance
    # It is up before the next blow: what matters is work that is cut, not a service that never comes to work.
    await world.until_answered(lambda: world.calls.ListBanks(pb.ListBanksRequest()))
    await asyncio.sleep(chance.uniform(1.0, 4.0))
    if chance.random() < 0.5:
        await asyncio.to_thread(service.kill)
        service.start()
        return
    bank = banks[chance.choice(sorted(banks))]
    await asyncio.to_thread(bank.kill)
    await asyncio.sleep(chance.uniform(0, 1.0))
    await asyncio.to_thread(bank.start, *options, "--seed", str(chance.randrange(1000)))


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_kills_of_service_and_bank_lose_no_money(
    platform: Platform, service: Service, banks: dict[str, ReferenceBank], tmp_path: Path
) -> None:
    options = ("--platform", platform.address("account"), "--faults", FAULTS, "--late-s", "1.2")
    for bank in banks.values():
        await asyncio.to_thread(bank.start, *options)
    async with Callers(platform) as callers:
        calls = callers.stub(BankServiceStub, "account", "administrator/faults")
        world = World(calls, callers.stub(AccountServiceStub, "account", "administrator/faults"), seed=11)
        for name, bank in banks.items():
            registered = pb.Bank(
                name=f"banks/{name}",
                address=bank.address,
                works_weekends=True,
                call_timeout=Duration(nanos=600_000_000),
                patience=Duration(seconds=4),
            )
            register = pb.RegisterBankRequest(bank=registered, request_id=str(uuid.uuid4()))
            await world.until_answered(lambda: calls.RegisterBank(register))  # noqa: B023 (awaited here)
        legs = [
            account_pb2.Leg(account="accounts/1221.north", side=account_pb2.SIDE_DEBIT, amount_fen=START_FEN),
            account_pb2.Leg(account=HOLDER, side=account_pb2.SIDE_CREDIT, amount_fen=START_FEN),
        ]
        posting = ledger_pb.Posting(event="online_account_paid_in", reference="faults/1", legs=legs)
        start = ledger_pb.PostJournalRequest(request_id=str(uuid.uuid4()), posting=posting)
        await world.until_answered(lambda: world.ledger.PostJournal(start))
        first_day = datetime.now(UTC)
        work = [asyncio.create_task(world.caller()) for _ in range(6)]
        for _ in range(KILLS):
            await kill_something(world, service, banks, options)
            for task in work:
                assert not task.done(), task.exception()
        world.stopping = True
        await asyncio.gather(*work)
        # The banks are well again; what is under way comes to its end.
        for bank in banks.values():
            await asyncio.to_thread(bank.kill)
            await asyncio.to_thread(bank.start)
        async with asyncio.timeout(180):
            await world.all_ended()
            # Twice: what the first file shows against a bank's own word is reversed there, the second says so.
            for _ in range(2):
                await fetch_files(world, banks, first_day)
                await asyncio.sleep(1)
                flows = await world.all_ended()
        auditor = callers.stub(AccountServiceStub, "account", "auditor/faults")
        proof = await world.until_answered(lambda: auditor.Prove(ledger_pb.ProveRequest()))
        breaks = await world.open_breaks()
    states = Counter(pb.BankFlowState.Name(flow.state) for flow in flows)
    kinds = Counter(pb.BankBreakKind.Name(row.kind) for row in breaks)
    print(f"{len(flows)} flows {dict(states)}, {world.repeated} calls repeated, open breaks {dict(kinds)}")
    assert world.repeated > 0, "the kills were felt"
    assert len({flow.name for flow in flows}) == len(flows)
    assert states["BANK_FLOW_STATE_POSTED"] > 0
    assert [line for line in proof.lines if line.broken_count] == []
    assert proof.pending_total_fen == 0
    # What is left open are words that banks broke, each about one operation; no money differs.
    assert set(kinds) <= {"BANK_BREAK_KIND_CONTRADICTION", "BANK_BREAK_KIND_STUCK"}
    totals = {total.account.removeprefix("accounts/"): total for total in proof.totals}
    for name, bank in banks.items():
        ours = totals[f"2216.{name}"]
        assert ours.debits_fen - ours.credits_fen == bank.captured_fen(), name
        (balance, held) = bank.accounts()["alice"]
        assert (balance, held) == (START_FEN - bank.captured_fen(), 0)


async def fetch_files(world: World, banks: dict[str, ReferenceBank], since: datetime) -> None:
    """Every day that the run has touched: it may have gone over the cut-off."""
    for name in banks:
        bank = Bank(name, "", works_weekends=True)
        for day in sorted({bank.business_date(since), bank.business_date(datetime.now(CITY_TZ))}):
            wanted = pb.FetchBankFileRequest(
                bank=f"banks/{name}", business_date=Date(year=day.year, month=day.month, day=day.day)
            )
            await world.until_answered(lambda: world.calls.FetchBankFile(wanted))  # noqa: B023 (awaited here)
