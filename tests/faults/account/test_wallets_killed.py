"""The service or its database dies under people who pay out of wallets: nothing is lost, nothing doubled."""

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from citycard.account.v1 import account_service_pb2, wallet_pb2
from citycard.account.v1 import wallet_service_pb2 as pb
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.account.v1.wallet_service_pb2_grpc import WalletServiceStub

from city.demo.platform import Callers
from city.launcher import Platform
from libs.runtime.refusals import error_info
from tests.faults.account import test_ledger_killed as ledger_killed

KILLS = 6
CARDS = tuple(f"jt-{number:020d}-1" for number in range(1, 4))
KINDS = ("online", "points")
PAYEES = {"online": "2203.bus", "points": "3001.bus"}
SOURCES = {"online": "1221.north", "points": "3001.mall"}
FILLED = 100_000

platform = ledger_killed.platform
service = ledger_killed.service


class Payers:
    """Callers that repeat every request until it is answered, and remember what they were told."""

    def __init__(self, stub: Any, seed: int) -> None:
        self.stub = stub
        self.chance = random.Random(seed)
        self.taken: Counter[str] = Counter()
        self.answered = 0
        self.repeated = 0
        self.stopping = False

    async def until_answered(self, call: Callable[[Any], Awaitable[Any]], request: Any) -> Any:
        while True:
            try:
                return await call(request)
            except grpc.aio.AioRpcError as error:
                if error.code() not in ledger_killed.AWAY:
                    raise
                self.repeated += 1
                await asyncio.sleep(0.1)

    async def prepare(self) -> None:
        for kind in KINDS:
            grant = wallet_pb2.Grant(
                name=f"grants/{kind}", grantee="participants/bus", action="GRANT_ACTION_DEBIT", kind=kind
            )
            await self.until_answered(self.stub.SetGrant, pb.SetGrantRequest(request_id=new(), grant=grant))
            for card in CARDS:
                opened = pb.OpenWalletRequest(request_id=new(), kind=kind, holder=card)
                await self.until_answered(self.stub.OpenWallet, opened)
                for _ in range(4):
                    filled = pb.CreditWalletRequest(
                        request_id=new(),
                        wallet=f"wallets/{kind}.{card}",
                        amount_fen=FILLED // 4,
                        source=f"accounts/{SOURCES[kind]}",
                    )
                    await self.until_answered(self.stub.CreditWallet, filled)

    async def caller(self) -> None:
        while not self.stopping:
            kind, card = self.chance.choice(KINDS), self.chance.choice(CARDS)
            wallet, amount = f"wallets/{kind}.{card}", self.chance.randrange(2, 40)
            wanted = {
                "request_id": new(),
                "participant": "participants/bus",
                "purpose": "retail",
                "total_fen": amount,
                "tenders": [pb.TenderWish(wallet=wallet)],
            }
            if self.chance.random() < 0.5:
                debit = await self.until_answered(self.stub.DebitWallets, pb.DebitWalletsRequest(**wanted))
            else:
                held = await self.until_answered(self.stub.ReserveWallets, pb.ReserveWalletsRequest(**wanted))
                if self.chance.random() < 0.3:
                    await self.until_answered(self.stub.VoidWalletDebit, pb.VoidWalletDebitRequest(name=held.name))
                    continue
                amount = self.chance.randrange(1, amount + 1)
                part = pb.CommitWalletDebitRequest(name=held.name, amounts_fen=[amount])
                debit = await self.until_answered(self.stub.CommitWalletDebit, part)
            if self.chance.random() < 0.3:
                back = pb.ReverseWalletDebitRequest(request_id=new(), name=debit.name, amount_fen=1)
                await self.until_answered(self.stub.ReverseWalletDebit, back)
                amount -= 1
            self.taken[wallet] += amount
            self.answered += 1


def new() -> str:
    return str(uuid.uuid4())


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_kills_lose_nothing_and_double_nothing_of_wallets(
    platform: Platform, service: ledger_killed.Service
) -> None:
    async with Callers(platform) as callers:
        payers = Payers(callers.stub(WalletServiceStub, "account", "administrator/faults"), seed=7)
        await payers.prepare()
        work = [asyncio.create_task(payers.caller()) for _ in range(5)]
        for _ in range(KILLS):
            # A kill that finds nobody at work proves nothing, however slow the machine is.
            enough = payers.answered + 15
            async with asyncio.timeout(120):
                while payers.answered < enough:  # noqa: ASYNC110 (the other side is a process)
                    await asyncio.sleep(0.05)
            await ledger_killed.kill_something(platform, service, payers.chance)
            for task in work:
                assert not task.done(), error_info(task.exception())  # type: ignore[arg-type]  # shown to people only
        payers.stopping = True
        await asyncio.gather(*work)
        auditor = callers.stub(AccountServiceStub, "account", "auditor/faults")
        found = await payers.until_answered(auditor.Prove, account_service_pb2.ProveRequest())
        for kind in KINDS:
            for card in CARDS:
                name = f"wallets/{kind}.{card}"
                wallet = await payers.until_answered(payers.stub.GetWallet, pb.GetWalletRequest(name=name))
                assert (wallet.balance_fen, wallet.held_fen) == (FILLED - payers.taken[name], 0), name
    print(f"{payers.answered} payments answered, {payers.repeated} calls repeated over {KILLS} kills")
    assert payers.repeated > 0, "the kills were felt"
    assert [line for line in found.lines if line.broken_count] == []
