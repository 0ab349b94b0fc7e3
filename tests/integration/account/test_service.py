"""The running service: calls through mutual TLS, events through the bus, the process itself."""

import asyncio
import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import grpc
import nats
import nats.js.errors
import psutil
import psycopg
import pytest
from citycard.account.v1 import account_pb2, events_pb2
from citycard.account.v1 import account_service_pb2 as pb
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.card.v1.events_pb2 import CardsIssued
from citycard.clearing.v1.events_pb2 import PostingLine, RecordsPosted, WindowClosed
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from nats.aio.client import Client

from city.postgres import DatabaseUrls
from city.servers import LocalServers
from libs.runtime.events import ensure_streams, event_headers
from libs.runtime.refusals import error_info
from libs.testkit.server import RunningServer, TestCertificates, a_settings, running_server
from services.account.settings import AccountSettings
from services.account.wiring import build_parts
from tests.unit.account.builders import NOON_S, a_key

CARD = "citycard://service/card"
AUDITOR = "citycard://auditor/anna"
METRO = "citycard://participant/metro"
KEY = a_key()
PURSE = f"purses/{KEY.name}"
NOW = Timestamp(seconds=NOON_S)


def leg(account: str, side: str, amount_fen: int, purse: str = "") -> account_pb2.Leg:
    return account_pb2.Leg(
        account=f"accounts/{account}", side=account_pb2.Side.Value(f"SIDE_{side}"), amount_fen=amount_fen, purse=purse
    )


def a_load(amount_fen: int) -> pb.Posting:
    legs = [leg("1221.north", "DEBIT", amount_fen), leg("2207", "CREDIT", amount_fen)]
    legs += [leg("2207", "DEBIT", amount_fen), leg("2201", "CREDIT", amount_fen, PURSE)]
    return pb.Posting(event="load", reference="loads/1", legs=legs)


def a_fee(amount_fen: int, participant: str = "metro") -> pb.Posting:
    legs = [leg(f"2203.{participant}", "DEBIT", amount_fen), leg("6002", "CREDIT", amount_fen)]
    return pb.Posting(event="fee", reference="fees/1", legs=legs)


def cards_issued(opening_fen: int = 1000) -> CardsIssued:
    return CardsIssued(
        card_numbers=bytes.fromhex(KEY.number),
        generations=[1],
        opening_balances_fen=[opening_fen],
        deposits_fen=[2000],
        scheme="jt",
        outlet="outlets/north",
        issue_time=NOW,
    )


def records_posted(amount_fen: int = 150, total_fen: int | None = None) -> RecordsPosted:
    line = PostingLine(
        debit_account="accounts/2201", credit_account="accounts/2203.metro", amount_fen=amount_fen, record_count=1
    )
    return RecordsPosted(
        batch_id=str(uuid.uuid4()),
        lines=[line],
        movement_total_fen=amount_fen if total_fen is None else total_fen,
        card_numbers=bytes.fromhex(KEY.number),
        schemes=b"\1",
        generations=[1],
        counters=[0],
        amounts_fen=[amount_fen],
        balances_before_fen=[1000],
        times_s=[NOON_S],
        post_time=NOW,
    )


class Bus:
    """The event bus as an onlooker with all rights sees it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._js = client.jetstream()

    async def publish(self, event: Message, event_id: uuid.UUID | None = None) -> uuid.UUID:
        event_id = event_id or uuid.uuid4()
        subject = event.DESCRIPTOR.full_name
        headers = event_headers(event_id, subject, subject.split(".")[1], datetime.now(UTC), "")
        # Another message id each time: a repetition shall reach the consumer instead of dying in the stream.
        headers["Nats-Msg-Id"] = str(uuid.uuid4())
        await self._js.publish(subject, event.SerializeToString(), headers=headers)
        return event_id

    async def last(self, kind: type[Message]) -> Message:
        raw = await self._js.get_last_msg("citycard_account", kind.DESCRIPTOR.full_name)
        return kind.FromString(raw.data or b"")


@pytest.fixture
async def bus(servers: LocalServers) -> AsyncIterator[Bus]:
    """The bus with empty streams: what tests of other services left there is none of our business."""
    client = await nats.connect(servers.nats_url())
    js = client.jetstream()
    for service in ("card", "clearing", "account"):
        with contextlib.suppress(nats.js.errors.NotFoundError):
            await js.delete_stream(f"citycard_{service}")
    await ensure_streams(js)
    yield Bus(client)
    await client.close()


@pytest.fixture
def settings(books: DatabaseUrls, servers: LocalServers, tmp_path: Path) -> tuple[AccountSettings, TestCertificates]:
    own = TestCertificates(tmp_path)
    addresses = {"database_url": books.application, "nats_url": servers.nats_url("account")}
    return a_settings(own, AccountSettings, **addresses, expiry_sweep_s=0.1), own


@pytest.fixture
async def server(settings: tuple[AccountSettings, TestCertificates], bus: Bus) -> AsyncIterator[RunningServer]:
    chosen, own = settings
    async with running_server(await build_parts(chosen), chosen, own) as running:
        yield running


def stub(server: RunningServer, as_: str = CARD) -> AccountServiceStub:
    return AccountServiceStub(server.channel(as_))


async def reason(call: Awaitable[object]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    detail = error_info(refused.value)
    assert detail is not None
    return f"{refused.value.code().name} {detail.reason}"


async def until(holds: Callable[[], Awaitable[bool]], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110 (the other side is a process, not an event of this loop)
            await asyncio.sleep(0.05)


async def purse_is(server: RunningServer, **values: int) -> bool:
    try:
        purse = await stub(server).GetPurse(pb.GetPurseRequest(name=PURSE))
    except grpc.aio.AioRpcError as refused:
        if refused.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return False
    return all(getattr(purse, name) == value for name, value in values.items())


async def test_a_load_goes_from_reserved_to_posted_over_the_wire(server: RunningServer, bus: Bus) -> None:
    ledger = stub(server)
    await bus.publish(cards_issued())
    await until(lambda: purse_is(server, opening_fen=1000))
    request = pb.ReserveRequest(request_id=str(uuid.uuid4()), posting=a_load(500))
    held = await ledger.Reserve(request)
    assert held.state == account_pb2.RESERVATION_STATE_PENDING
    assert held.name == f"reservations/{request.request_id}"
    assert await ledger.Reserve(request) == held
    assert await purse_is(server, balance_fen=1000, pending_loads_fen=500)
    committed = await ledger.CommitReservation(pb.CommitReservationRequest(name=held.name))
    assert committed.state == account_pb2.RESERVATION_STATE_COMMITTED
    assert await ledger.GetReservation(pb.GetReservationRequest(name=held.name)) == committed
    assert await purse_is(server, balance_fen=1500, pending_loads_fen=0)
    float_ = await ledger.GetAccount(pb.GetAccountRequest(name="accounts/2201"))
    assert (float_.balance_fen, float_.display_name_zh, float_.asset) == (1500, "卡内余额", "CNY/2")
    page = await ledger.ListEntries(pb.ListEntriesRequest(account="accounts/2201", page_size=1))
    assert [entry.event for entry in page.entries] == ["cards_issued"]
    rest = await ledger.ListEntries(
        pb.ListEntriesRequest(account="accounts/2201", page_size=1, page_token=page.next_page_token)
    )
    assert [(entry.purse, entry.journal) for entry in rest.entries] == [(PURSE, committed.journal)]
    assert rest.next_page_token == ""


async def test_refusals_carry_their_reason_and_facts(server: RunningServer) -> None:
    ledger = stub(server)
    one_sided = pb.Posting(event="fee", legs=[leg("6002", "CREDIT", 1), leg("6002", "CREDIT", 1)])
    post = pb.PostJournalRequest(request_id=str(uuid.uuid4()), posting=one_sided)
    assert await reason(ledger.PostJournal(post)) == "INVALID_ARGUMENT JOURNAL_UNBALANCED"
    reserve = pb.ReserveRequest(request_id=str(uuid.uuid4()), posting=a_load(1))
    assert await reason(ledger.Reserve(reserve)) == "NOT_FOUND PURSE_UNKNOWN"
    unknown = f"reservations/{uuid.uuid4()}"
    assert await reason(ledger.VoidReservation(pb.VoidReservationRequest(name=unknown))) == (
        "NOT_FOUND RESERVATION_UNKNOWN"
    )
    odd = pb.GetReservationRequest(name="reservations/" + "-" * 36)
    assert await reason(ledger.GetReservation(odd)) == "NOT_FOUND RESERVATION_UNKNOWN"
    await ledger.OpenAccount(
        pb.OpenAccountRequest(request_id=str(uuid.uuid4()), name="accounts/6002", balance_limit_fen=10)
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ledger.PostJournal(pb.PostJournalRequest(request_id=str(uuid.uuid4()), posting=a_fee(11)))
    detail = error_info(refused.value)
    assert detail is not None
    assert detail.reason == "LIMIT_EXCEEDED"
    assert "限额 10 分" in detail.message_zh


async def test_statements_stream_from_where_the_reader_stopped_with_the_balance_after_each(
    server: RunningServer,
) -> None:
    ledger = stub(server)
    postings = [a_fee(amount) for amount in (5, 6, 7)]
    linked = pb.PostLinkedJournalsRequest(request_id=str(uuid.uuid4()), postings=postings)
    journals = (await ledger.PostLinkedJournals(linked)).journals
    assert [journal.sequence for journal in journals] == [1, 2, 3]
    request = pb.StreamEntriesRequest(account="accounts/6002", after_sequence=1, after_leg_number=2)
    streamed = [answer.entry async for answer in stub(server, AUDITOR).StreamEntries(request)]
    assert [(entry.amount_fen, entry.balance_fen, entry.leg_number) for entry in streamed] == [(6, 11, 2), (7, 18, 2)]
    own = [
        answer
        async for answer in stub(server, METRO).StreamEntries(pb.StreamEntriesRequest(account="accounts/2203.metro"))
    ]
    assert [answer.entry.balance_fen for answer in own] == [-5, -11, -18]

    async def foreign() -> None:
        async for _ in stub(server, METRO).StreamEntries(request):
            pass

    assert await reason(foreign()) == "PERMISSION_DENIED NOT_YOURS"


async def test_balances_of_moments_journals_and_the_chart_are_read_over_the_wire(server: RunningServer) -> None:
    ledger = stub(server)
    journal = await ledger.PostJournal(pb.PostJournalRequest(request_id=str(uuid.uuid4()), posting=a_fee(5)))
    then = pb.GetBalanceRequest(account="accounts/6002", as_of_time=journal.post_time)
    assert (await ledger.GetBalance(then)).balance_fen == 5
    then.as_of_time.seconds -= 1
    assert (await ledger.GetBalance(then)).balance_fen == 0
    assert await ledger.GetJournal(pb.GetJournalRequest(name="journals/1")) == journal
    assert list((await ledger.ListJournals(pb.ListJournalsRequest())).journals) == [journal]
    reverse = pb.ReverseJournalRequest(request_id=str(uuid.uuid4()), name=journal.name)
    reversal = await stub(server, "citycard://administrator/li").ReverseJournal(reverse)
    assert reversal.reference == journal.name
    assert (await ledger.GetBalance(pb.GetBalanceRequest(account="accounts/6002"))).balance_fen == 0
    chart = {line.number: line for line in (await ledger.ListChart(pb.ListChartRequest())).lines}
    assert (chart["3002"].asset, chart["3002"].floored, chart["2201"].asset) == ("POINT/0", True, "CNY/2")
    ahead = a_fee(5)
    ahead.event_time.FromDatetime(datetime(9000, 1, 1, tzinfo=UTC))
    request = pb.PostJournalRequest(request_id=str(uuid.uuid4()), posting=ahead)
    assert await reason(ledger.PostJournal(request)) == "INVALID_ARGUMENT REQUEST_MALFORMED"


async def test_items_are_listed_and_closed_over_the_wire(server: RunningServer, bus: Bus) -> None:
    await bus.publish(cards_issued(900))
    await bus.publish(records_posted())
    await until(lambda: purse_is(server, opening_fen=900, debits_fen=150))
    staff = stub(server, "citycard://administrator/li")
    (item,) = (await staff.ListPurseItems(pb.ListPurseItemsRequest(purse=PURSE))).items
    assert (item.kind, item.amount_fen) == (account_pb2.PURSE_ITEM_KIND_BALANCE, -100)
    close = pb.ClosePurseItemRequest(request_id=str(uuid.uuid4()), name=item.name, note="checked")
    assert (await staff.ClosePurseItem(close)).outcome == account_pb2.PURSE_ITEM_OUTCOME_DECIDED
    assert not (await staff.ListPurseItems(pb.ListPurseItemsRequest())).items
    assert len((await staff.ListPurseItems(pb.ListPurseItemsRequest(include_closed=True))).items) == 1
    proof = await stub(server, AUDITOR).Prove(pb.ProveRequest())
    assert [line.first_broken for line in proof.lines if line.broken_count] == []


@pytest.mark.parametrize(
    "wrong",
    [
        leg("22", "DEBIT", 1),
        leg("2202", "UNSPECIFIED", 1),
        leg("2202", "DEBIT", 0),
        leg("2202", "DEBIT", 10**15 + 1),
        leg("2201", "DEBIT", 1, "purses/jt-1.1"),
        leg("2201", "DEBIT", 1, PURSE.replace(".1", ".0")),
    ],
    ids=["account", "side", "nothing", "too much", "purse", "generation"],
)
async def test_a_malformed_leg_is_stopped_at_the_door(server: RunningServer, wrong: account_pb2.Leg) -> None:
    posting = pb.Posting(event="fee", legs=[wrong, leg("6002", "CREDIT", 1)])
    request = pb.PostJournalRequest(request_id=str(uuid.uuid4()), posting=posting)
    assert await reason(stub(server).PostJournal(request)) == "INVALID_ARGUMENT REQUEST_MALFORMED"


async def test_a_participant_sees_its_own_accounts_and_posts_nothing(server: RunningServer) -> None:
    for participant in ("metro", "bus"):
        request = pb.PostJournalRequest(request_id=str(uuid.uuid4()), posting=a_fee(5, participant))
        await stub(server).PostJournal(request)
    metro = stub(server, METRO)
    own = await metro.GetAccount(pb.GetAccountRequest(name="accounts/2203.metro"))
    assert own.balance_fen == -5
    for foreign in ("2203.bus", "6002", "1221.metro", "7777"):
        call = metro.GetAccount(pb.GetAccountRequest(name=f"accounts/{foreign}"))
        assert await reason(call) == "PERMISSION_DENIED NOT_YOURS"
    entries = metro.ListEntries(pb.ListEntriesRequest(account="accounts/2203.bus"))
    assert await reason(entries) == "PERMISSION_DENIED NOT_YOURS"
    listed = await metro.ListAccounts(pb.ListAccountsRequest())
    assert [account.name for account in listed.accounts] == ["accounts/2203.metro"]
    post = metro.PostJournal(pb.PostJournalRequest(request_id=str(uuid.uuid4()), posting=a_fee(5)))
    assert await reason(post) == "PERMISSION_DENIED ROLE_NOT_ALLOWED"
    assert len((await stub(server, AUDITOR).ListAccounts(pb.ListAccountsRequest())).accounts) == 3


async def test_a_token_of_another_accounts_page_is_refused(server: RunningServer) -> None:
    ledger = stub(server)
    for _ in range(2):
        await ledger.PostJournal(pb.PostJournalRequest(request_id=str(uuid.uuid4()), posting=a_fee(5)))
    page = await ledger.ListEntries(pb.ListEntriesRequest(account="accounts/6002", page_size=1))
    moved = pb.ListEntriesRequest(account="accounts/2203.metro", page_token=page.next_page_token)
    assert await reason(ledger.ListEntries(moved)) == "INVALID_ARGUMENT PAGE_TOKEN_INVALID"


async def test_a_batch_delivered_again_under_its_own_and_under_another_event_id_has_one_effect(
    server: RunningServer, bus: Bus
) -> None:
    await bus.publish(cards_issued())
    batch = records_posted()
    event_id = await bus.publish(batch)
    await bus.publish(batch, event_id)
    await bus.publish(batch)
    closed = WindowClosed(
        window="participants/metro/windows/20180901", participant="participants/metro", fee_fen=1, close_time=NOW
    )
    for _ in range(2):
        await bus.publish(closed)
    # Events of one service come in order: once the fee is there, all deliveries of the batch were handled.
    await until(lambda: purse_is(server, balance_fen=850, debits_fen=150, counter_count=1, printed_balance_fen=850))

    async def fee_paid() -> bool:
        listed = await stub(server).ListAccounts(pb.ListAccountsRequest(chart_number="2203"))
        return [account.balance_fen for account in listed.accounts] == [149]

    await until(fee_paid)
    proof = await stub(server, AUDITOR).Prove(pb.ProveRequest())
    assert [line.first_broken for line in proof.lines if line.broken_count] == []
    assert (proof.batch_count, proof.movement_count, proof.purse_total_fen) == (1, 1, 850)

    folded: events_pb2.BatchFolded | None = None
    for _ in range(100):
        with contextlib.suppress(nats.js.errors.NotFoundError):
            last = await bus.last(events_pb2.BatchFolded)
            assert isinstance(last, events_pb2.BatchFolded)
            folded = last
            break
        await asyncio.sleep(0.1)
    assert folded is not None
    assert (folded.batch_id, folded.movement_total_fen, folded.journal[:9]) == (batch.batch_id, 150, "journals/")


def _short(event: RecordsPosted) -> RecordsPosted:
    del event.counters[:]
    return event


def _nameless(event: RecordsPosted) -> RecordsPosted:
    event.batch_id = "not a uuid"
    return event


def _not_the_float(event: RecordsPosted) -> RecordsPosted:
    event.lines[0].debit_account = "accounts/2202"
    return event


def _to_nowhere(event: RecordsPosted) -> RecordsPosted:
    event.lines[0].credit_account = "accounts/8888.metro"
    return event


def _no_digits(event: RecordsPosted) -> RecordsPosted:
    event.card_numbers = b"\xaa" * 10
    return event


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (records_posted(total_fen=1), "sum to 150"),
        (_short(records_posted()), "differ in length"),
        (_nameless(records_posted()), "no UUID"),
        (_not_the_float(records_posted()), "not the card float"),
        (_to_nowhere(records_posted()), "not in the chart"),
        (_no_digits(records_posted()), "digits"),
        (CardsIssued(scheme="xx", outlet="outlets/north"), "neither cj nor jt"),
        (WindowClosed(window="w", participant="participants/metro", fee_fen=-1), "fee of -1"),
    ],
    ids=["sums", "lengths", "batch id", "debit", "credit", "number", "scheme", "fee"],
)
async def test_a_fact_that_contradicts_itself_is_buried_with_its_reason_and_leaves_nothing(
    server: RunningServer, bus: Bus, books: DatabaseUrls, event: Message, why: str
) -> None:
    event_id = await bus.publish(event)

    def buried() -> list[str]:
        with psycopg.connect(books.owner) as connection:
            query = "SELECT reason FROM dead_letter WHERE event_id = %s"
            return [row[0] for row in connection.execute(query, (event_id,))]

    async def is_buried() -> bool:
        return bool(buried())

    await until(is_buried)
    assert why in buried()[0]
    assert not await purse_is(server)


async def test_an_overdue_reservation_is_swept_and_told(server: RunningServer, bus: Bus) -> None:
    ledger = stub(server)
    soon = Timestamp()
    soon.FromDatetime(datetime.now(UTC))
    request = pb.ReserveRequest(request_id=str(uuid.uuid4()), posting=a_fee(5), expire_time=soon)
    held = await ledger.Reserve(request)

    async def expired() -> bool:
        found = await ledger.GetReservation(pb.GetReservationRequest(name=held.name))
        return bool(found.state == account_pb2.RESERVATION_STATE_EXPIRED)

    await until(expired)
    commit = ledger.CommitReservation(pb.CommitReservationRequest(name=held.name))
    assert await reason(commit) == "FAILED_PRECONDITION RESERVATION_RESOLVED"

    async def told() -> bool:
        try:
            last = await bus.last(events_pb2.ReservationExpired)
        except nats.js.errors.NotFoundError:
            return False
        return isinstance(last, events_pb2.ReservationExpired) and last.reservation == held.name

    await until(told)


def test_the_process_serves_idles_below_150_mib_and_leaves_in_good_order(
    settings: tuple[AccountSettings, TestCertificates], tmp_path: Path, books: DatabaseUrls
) -> None:
    chosen, own = settings
    address_file = tmp_path / "address"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "CITYCARD_DEPLOYMENT": "test",
        "CITYCARD_DATABASE_URL": books.application,
        "CITYCARD_MIGRATION_DATABASE_URL": books.owner,
        "CITYCARD_NATS_URL": chosen.nats_url,
        "CITYCARD_TLS_CA_FILE": str(chosen.tls_ca_file),
        "CITYCARD_TLS_CERT_FILE": str(chosen.tls_cert_file),
        "CITYCARD_TLS_KEY_FILE": str(chosen.tls_key_file),
        "CITYCARD_ADDRESS_FILE": str(address_file),
    }
    command = [sys.executable, "-m", "services.account"]
    migrated = subprocess.run([*command, "migrate"], env=environment, capture_output=True, text=True, check=True)
    assert "0005→0005" in migrated.stdout
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, "serve"], env=environment, stderr=log)
    try:
        for _ in range(200):
            if address_file.exists():
                break
            assert process.poll() is None, (tmp_path / "log").read_text()
            psutil.wait_procs([psutil.Process(process.pid)], timeout=0.1)
        channel = grpc.secure_channel(address_file.read_text().strip(), own.of(AUDITOR).credentials())
        with channel:
            health = health_pb2_grpc.HealthStub(channel)
            answer = health.Check(health_pb2.HealthCheckRequest(service="citycard.account.v1.AccountService"))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            assert len(AccountServiceStub(channel).Prove(pb.ProveRequest()).lines) > 10
        memory_mib = psutil.Process(process.pid).memory_info().rss / 2**20
        print(f"idle process: {memory_mib:.0f} MiB")
        assert memory_mib < 150
    finally:
        process.terminate()
    assert process.wait(20) == 0
