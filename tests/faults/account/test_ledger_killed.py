"""Twenty times the service or its database is killed in the middle of work: nothing is lost, nothing doubled."""

import asyncio
import contextlib
import random
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import nats
import nats.errors
import pytest
from citycard.account.v1 import account_pb2
from citycard.account.v1 import account_service_pb2 as pb
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.card.v1.events_pb2 import CardsIssued
from citycard.clearing.v1.events_pb2 import PostingLine, RecordsPosted
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from city.demo.platform import Callers
from city.launcher import Platform
from city.processes import StartFailed
from city.servers import LocalServers
from libs.runtime.events import ensure_streams, event_headers

KILLS = 20
CARDS = 40
OPENING_FEN = 100_000
OUTLETS = ("north", "south", "west")
# What a caller meets while a process or its database is away; it tries again under the same id.
AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
NOW = Timestamp(seconds=int(datetime.now(UTC).timestamp()))


@dataclass
class Told:
    """What the world was told: the ledger must hold exactly this."""

    debits: Counter[str] = field(default_factory=Counter)
    credits: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    repeated: int = 0
    batches: int = 0
    movements_fen: int = 0

    def posted(self, debit: str, credit: str, amount_fen: int) -> None:
        self.debits[debit] += amount_fen
        self.credits[credit] += amount_fen
        self.answered += 1


def a_transfer(debit: str, credit: str, amount_fen: int) -> pb.Posting:
    legs = [
        account_pb2.Leg(account=f"accounts/{debit}", side=account_pb2.SIDE_DEBIT, amount_fen=amount_fen),
        account_pb2.Leg(account=f"accounts/{credit}", side=account_pb2.SIDE_CREDIT, amount_fen=amount_fen),
    ]
    return pb.Posting(event="deposit_paid", reference="faults/1", legs=legs)


class World:
    """Callers, and a publisher that delivers everything twice, around a ledger that keeps dying."""

    def __init__(self, stub: Any, jetstream: Any, seed: int) -> None:
        self.stub = stub
        self.jetstream = jetstream
        self.chance = random.Random(seed)
        self.told = Told()
        self.stopping = False

    async def until_answered(self, call: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in AWAY:
                    raise
                self.told.repeated += 1
                await asyncio.sleep(0.1)

    async def caller(self) -> None:
        while not self.stopping:
            debit, amount = f"1221.{self.chance.choice(OUTLETS)}", self.chance.randrange(1, 1000)
            posting = a_transfer(debit, "2202", amount)
            kind = self.chance.randrange(4)
            if kind == 0:
                held = pb.ReserveRequest(request_id=str(uuid.uuid4()), posting=posting)
                name = (await self.until_answered(lambda: self.stub.Reserve(held))).name  # noqa: B023 (awaited here)
                if self.chance.random() < 0.3:
                    await self.until_answered(lambda: self.stub.VoidReservation(pb.VoidReservationRequest(name=name)))  # noqa: B023
                    continue
                commit = pb.CommitReservationRequest(name=name)
                await self.until_answered(lambda: self.stub.CommitReservation(commit))  # noqa: B023
            elif kind == 1:
                both = [posting, a_transfer("2202", "2206", amount)]
                linked = pb.PostLinkedJournalsRequest(request_id=str(uuid.uuid4()), postings=both)
                await self.until_answered(lambda: self.stub.PostLinkedJournals(linked))  # noqa: B023
                self.told.posted("2202", "2206", amount)
            else:
                post = pb.PostJournalRequest(request_id=str(uuid.uuid4()), posting=posting)
                await self.until_answered(lambda: self.stub.PostJournal(post))  # noqa: B023
            self.told.posted(debit, "2202", amount)

    async def publisher(self) -> None:
        taps = [0] * CARDS
        while not self.stopping:
            cards = [self.chance.randrange(CARDS) for _ in range(20)]
            rows = []
            for card in cards:
                rows.append((card, taps[card], OPENING_FEN - 10 * taps[card]))
                taps[card] += 1
            batch = a_batch(rows)
            for _ in range(2):
                await self.publish(batch)
            self.told.batches += 1
            self.told.movements_fen += batch.movement_total_fen
            await asyncio.sleep(0.05)

    async def publish(self, event: Message) -> None:
        subject = event.DESCRIPTOR.full_name
        headers = event_headers(uuid.uuid4(), subject, subject.split(".")[1], datetime.now(UTC), "")
        await self.jetstream.publish(subject, event.SerializeToString(), headers=headers)


def number_of(card: int) -> bytes:
    return bytes.fromhex(f"3104{card:016d}")


def a_batch(rows: list[tuple[int, int, int]]) -> RecordsPosted:
    total = 10 * len(rows)
    line = PostingLine(
        debit_account="accounts/2201", credit_account="accounts/2203.metro", amount_fen=total, record_count=len(rows)
    )
    return RecordsPosted(
        batch_id=str(uuid.uuid4()),
        lines=[line],
        movement_total_fen=total,
        card_numbers=b"".join(number_of(card) for card, _, _ in rows),
        schemes=b"\1" * len(rows),
        generations=[1] * len(rows),
        counters=[counter for _, counter, _ in rows],
        amounts_fen=[10] * len(rows),
        balances_before_fen=[before for _, _, before in rows],
        times_s=[NOW.seconds + counter for _, counter, _ in rows],
        post_time=NOW,
    )


class Service:
    """The service as a process of the test's own, so that nobody but the test starts it again."""

    def __init__(self, platform: Platform, log: Path, settings: Mapping[str, str] | None = None) -> None:
        self._environment = platform.environment("account") | dict(settings or {})
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "services.account", "serve"]
            self._process = subprocess.Popen(command, env=self._environment, stderr=log, stdout=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    # Servers of its own: what is killed here belongs to nobody else.
    city = Platform(tmp_path / "city", only=[])
    try:
        async with city:
            city.servers.ensure_database("account")
            await city.migrate("account")
            yield city
    finally:
        LocalServers(tmp_path / "city").destroy()


@pytest.fixture
async def service(platform: Platform, tmp_path: Path) -> AsyncIterator[Service]:
    running = Service(platform, tmp_path / "account.log")
    running.start()
    yield running
    running.kill()


async def kill_something(platform: Platform, service: Service, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(0.5, 3.0))
    if chance.random() < 0.5:
        await asyncio.to_thread(service.kill)
        service.start()
        return
    await asyncio.to_thread(platform.servers.kill, "postgres")
    for attempt in range(3):
        try:
            await asyncio.to_thread(platform.servers.restart, "postgres")
            return
        except StartFailed:
            # Backends of the killed server may still hold its memory; whoever operates it tries again.
            if attempt == 2:
                raise
            await asyncio.sleep(2)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_twenty_kills_lose_nothing_and_double_nothing(platform: Platform, service: Service) -> None:
    client = await nats.connect(platform.servers.nats_url())
    async with Callers(platform) as callers:
        jetstream = client.jetstream()
        await ensure_streams(jetstream, ["card", "clearing", "account"])
        stub = callers.stub(AccountServiceStub, "account", "service/card")
        world = World(stub, jetstream, seed=4)
        await world.publish(
            CardsIssued(
                card_numbers=b"".join(number_of(card) for card in range(CARDS)),
                generations=[1] * CARDS,
                opening_balances_fen=[OPENING_FEN] * CARDS,
                deposits_fen=[0] * CARDS,
                scheme="jt",
                outlet="outlets/north",
                issue_time=NOW,
            )
        )
        work = [asyncio.create_task(world.caller()) for _ in range(6)] + [asyncio.create_task(world.publisher())]
        for _ in range(KILLS):
            await kill_something(platform, service, world.chance)
            for task in work:
                assert not task.done(), task.exception()
        world.stopping = True
        await asyncio.gather(*work)
        told = world.told
        auditor = callers.stub(AccountServiceStub, "account", "auditor/faults")

        async def proof() -> Any:
            return await world.until_answered(lambda: auditor.Prove(pb.ProveRequest()))

        async with asyncio.timeout(120):
            while (found := await proof()).batch_count < told.batches:  # noqa: ASYNC110 (the other side is a process)
                await asyncio.sleep(0.5)
    with contextlib.suppress(nats.errors.Error):
        await client.close()
    print(f"{told.answered} postings answered, {told.repeated} calls repeated, {told.batches} batches delivered twice")
    assert told.repeated > 0, "the kills were felt"
    assert [line for line in found.lines if line.broken_count] == []
    assert (found.batch_count, found.movement_total_fen) == (told.batches, told.movements_fen)
    totals = {total.account.removeprefix("accounts/"): total for total in found.totals}
    told.posted("1221.north", "2201", CARDS * OPENING_FEN)
    for name, debits in told.debits.items():
        assert totals[name].debits_fen == debits, name
    for name in ("2202", "2206"):
        assert totals[name].credits_fen == told.credits[name], name
    assert found.pending_total_fen == 0
