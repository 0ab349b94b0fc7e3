"""Bank flows through the running service: calls by certificate, the reference bank behind them, the daily match."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from citycard.account.v1 import account_pb2, account_service_pb2
from citycard.account.v1 import bank_service_pb2 as pb
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.account.v1.bank_service_pb2_grpc import BankServiceStub
from citycard.common.v1.types_pb2 import Date
from citycard.participant.v1 import bank_adapter_service_pb2 as adapter_pb
from google.protobuf.duration_pb2 import Duration

from city.postgres import DatabaseUrls
from city.servers import LocalServers
from libs.runtime.refusals import error_info
from libs.testkit.server import RunningServer, TestCertificates, a_settings, running_server
from services.account.domain.bank import Bank
from services.account.settings import AccountSettings
from services.account.wiring import build_parts
from tests.integration.account.reference_bank import ReferenceBank
from tests.unit.account.bank_fakes import a_file

ADMIN = "citycard://administrator/ann"
PORTAL = "citycard://service/card"
ICBC = "citycard://participant/icbc"
TODAY = Bank("icbc", "").business_date(datetime.now(UTC))
ALICE = pb.BankAccount(bank="banks/icbc", account_token="alice")
HOLDER = "accounts/2211.holder-1"


@pytest.fixture
def own(tmp_path: Path) -> TestCertificates:
    return TestCertificates(tmp_path / "certificates")


@pytest.fixture
def bank(own: TestCertificates, tmp_path: Path) -> Iterator[ReferenceBank]:
    reference = ReferenceBank(tmp_path / "icbc", "icbc", own.of(ICBC), {"alice": 10_000, "bob": 0})
    reference.start()
    yield reference
    reference.kill()


@pytest.fixture
async def server(books: DatabaseUrls, servers: LocalServers, own: TestCertificates) -> AsyncIterator[RunningServer]:
    settings = a_settings(
        own,
        AccountSettings,
        database_url=books.application,
        nats_url=servers.nats_url("account"),
        bank_sweep_s=0.1,
        bank_retry_first_s=0.1,
        bank_retry_last_s=0.5,
        bank_wait_s=8.0,
    )
    async with running_server(await build_parts(settings), settings, own) as running:
        yield running


@pytest.fixture
async def registered(server: RunningServer, bank: ReferenceBank) -> pb.Bank:
    return await register(server, bank.address)


async def register(server: RunningServer, address: str, **values: Any) -> pb.Bank:
    timings = {"call_timeout": Duration(seconds=1), "patience": Duration(seconds=4)}
    wanted = pb.Bank(name="banks/icbc", address=address, **(timings | values))
    return await stub(server, ADMIN).RegisterBank(pb.RegisterBankRequest(bank=wanted, request_id=str(uuid.uuid4())))


def stub(server: RunningServer, as_: str = PORTAL) -> Any:
    return BankServiceStub(server.channel(as_))


def a_load(amount_fen: int = 500, request_id: str = "") -> pb.LoadFromBankRequest:
    return pb.LoadFromBankRequest(
        request_id=request_id or str(uuid.uuid4()), source=ALICE, amount_fen=amount_fen, account=HOLDER
    )


async def reason(call: Awaitable[object]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    detail = error_info(refused.value)
    assert detail is not None
    return f"{refused.value.code().name} {detail.reason}"


async def until(holds: Callable[[], Awaitable[bool]], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110 (the other side is a process, not an event of this loop)
            await asyncio.sleep(0.1)


async def proven(server: RunningServer) -> None:
    auditor: Any = AccountServiceStub(server.channel("citycard://auditor/bob"))
    proof = await auditor.Prove(account_service_pb2.ProveRequest())
    assert [line for line in proof.lines if line.broken_count] == []


def day(of: Any = TODAY) -> Date:
    return Date(year=of.year, month=of.month, day=of.day)


async def send(server: RunningServer, content: bytes, as_: str = ADMIN, bank: str = "banks/icbc") -> pb.BankFile:
    async def parts() -> AsyncIterator[pb.ImportBankFileRequest]:
        yield pb.ImportBankFileRequest(bank=bank)
        for start in range(0, len(content), 50):
            yield pb.ImportBankFileRequest(chunk=content[start : start + 50])

    answer: pb.BankFile = await stub(server, as_).ImportBankFile(parts())
    return answer


async def test_a_load_is_posted_while_the_caller_waits_and_a_repetition_finds_it(
    server: RunningServer, registered: pb.Bank, bank: ReferenceBank
) -> None:
    request = a_load(500)
    flow = await stub(server).LoadFromBank(request)
    assert flow.name == f"bankFlows/{request.request_id}"
    assert (flow.state, flow.kind) == (pb.BANK_FLOW_STATE_POSTED, pb.BANK_FLOW_KIND_LOAD)
    assert (flow.account, flow.amount_fen, flow.legs[0].reference) == (HOLDER, 500, "BK0000000001")
    assert await stub(server).LoadFromBank(request) == flow
    assert "alice" not in str(flow), "account tokens stay inside"
    assert bank.accounts()["alice"] == (9_500, 0)
    ledger: Any = AccountServiceStub(server.channel(ADMIN))
    journal = await ledger.GetJournal(account_service_pb2.GetJournalRequest(name=flow.journal))
    assert (journal.event, journal.reference) == ("bank_load", flow.name)
    await proven(server)


async def test_all_five_flows_end_posted_and_the_banks_file_matches(
    server: RunningServer, registered: pb.Bank, bank: ReferenceBank
) -> None:
    calls = stub(server)
    load = await calls.LoadFromBank(a_load(3_000))
    unload = await calls.UnloadToBank(
        pb.UnloadToBankRequest(request_id=str(uuid.uuid4()), account=HOLDER, target=ALICE, amount_fen=1_000)
    )
    purchase = await calls.PurchaseFromBank(
        pb.PurchaseFromBankRequest(
            request_id=str(uuid.uuid4()), source=ALICE, merchant="participants/cinema", amount_fen=400
        )
    )
    cash = await stub(server, "citycard://outlet/north").WithdrawCash(
        pb.WithdrawCashRequest(request_id=str(uuid.uuid4()), source=ALICE, outlet="outlets/north", amount_fen=600)
    )
    bob = pb.BankAccount(bank="banks/icbc", account_token="bob")
    transfer = await calls.TransferBetweenBanks(
        pb.TransferBetweenBanksRequest(request_id=str(uuid.uuid4()), source=ALICE, target=bob, amount_fen=250)
    )
    flows = (load, unload, purchase, cash, transfer)
    assert {flow.state for flow in flows} == {pb.BANK_FLOW_STATE_POSTED}
    assert [flow.kind for flow in flows] == [1, 2, 3, 4, 5]
    assert bank.accounts() == {"alice": (10_000 - 3_000 + 1_000 - 400 - 600 - 250, 0), "bob": (250, 0)}
    match = await stub(server, ADMIN).FetchBankFile(pb.FetchBankFileRequest(bank="banks/icbc", business_date=day()))
    assert (match.line_count, match.matched_count) == (6, 6)
    assert (match.debit_total_fen, match.credit_total_fen) == (3_000 + 400 + 600 + 250, 1_000 + 250)
    again = await stub(server, ADMIN).FetchBankFile(pb.FetchBankFileRequest(bank="banks/icbc", business_date=day()))
    assert (again.repeated, again.digest) == (True, match.digest)
    listed = await stub(server, ADMIN).ListBreaks(pb.ListBreaksRequest())
    assert list(listed.breaks) == []
    await proven(server)


async def test_flows_are_listed_page_by_page(server: RunningServer, registered: pb.Bank) -> None:
    names = [(await stub(server).LoadFromBank(a_load(1))).name for _ in range(3)]
    request = pb.ListBankFlowsRequest(page_size=2, bank="banks/icbc", state=pb.BANK_FLOW_STATE_POSTED)
    first = await stub(server, ICBC).ListBankFlows(request)
    request.page_token = first.next_page_token
    second = await stub(server, ICBC).ListBankFlows(request)
    assert [flow.name for flow in (*first.flows, *second.flows)] == names
    assert second.next_page_token == ""


async def test_everybody_sees_and_does_only_what_is_theirs(server: RunningServer, registered: pb.Bank) -> None:
    flow = await stub(server).LoadFromBank(a_load())
    get = pb.GetBankFlowRequest(name=flow.name)
    assert (await stub(server, ICBC).GetBankFlow(get)).name == flow.name
    for stranger in ("citycard://participant/abc", "citycard://outlet/north"):
        assert await reason(stub(server, stranger).GetBankFlow(get)) == "PERMISSION_DENIED NOT_YOURS"
    abc = stub(server, "citycard://participant/abc")
    for call in (
        abc.GetBank(pb.GetBankRequest(name="banks/icbc")),
        abc.ListBankFlows(pb.ListBankFlowsRequest()),
        abc.ListBreaks(pb.ListBreaksRequest(bank="banks/icbc")),
        send(server, a_file([]), "citycard://participant/abc"),
        stub(server, "citycard://outlet/south").WithdrawCash(
            pb.WithdrawCashRequest(request_id=str(uuid.uuid4()), source=ALICE, outlet="outlets/north", amount_fen=1)
        ),
        abc.PurchaseFromBank(
            pb.PurchaseFromBankRequest(
                request_id=str(uuid.uuid4()), source=ALICE, merchant="participants/cinema", amount_fen=1
            )
        ),
    ):
        assert await reason(call) == "PERMISSION_DENIED NOT_YOURS"
    told = adapter_pb.BankOperation(
        operation_id=flow.legs[0].operation_id, state=adapter_pb.BANK_OPERATION_STATE_REVERSED
    )
    request = pb.ReportBankAnswerRequest(request_id=str(uuid.uuid4()), operation=told)
    assert await reason(abc.ReportBankAnswer(request)) == "NOT_FOUND BANK_OPERATION_UNKNOWN"


async def test_refusals_come_in_their_order_with_what_they_are_about(
    server: RunningServer, registered: pb.Bank, bank: ReferenceBank
) -> None:
    calls = stub(server)
    stranger = pb.BankAccount(bank="banks/nobody", account_token="alice")
    request_id = str(uuid.uuid4())
    unknown = pb.LoadFromBankRequest(request_id=request_id, source=stranger, amount_fen=1, account=HOLDER)
    assert await reason(calls.LoadFromBank(unknown)) == "NOT_FOUND BANK_UNKNOWN"
    card = pb.LoadFromBankRequest(
        request_id=request_id, source=ALICE, amount_fen=1, purse="purses/jt-31040000000000000009.1"
    )
    assert await reason(calls.LoadFromBank(card)) == "NOT_FOUND PURSE_UNKNOWN"
    unload = pb.UnloadToBankRequest(request_id=request_id, account=HOLDER, target=ALICE, amount_fen=1)
    assert await reason(calls.UnloadToBank(unload)) == "FAILED_PRECONDITION INSUFFICIENT_BALANCE"
    await register(server, bank.address, operation_limit_fen=10)
    assert await reason(calls.LoadFromBank(a_load(11))) == "FAILED_PRECONDITION BANK_LIMIT_EXCEEDED"
    await register(server, bank.address, suspended=True)
    assert await reason(calls.LoadFromBank(a_load())) == "FAILED_PRECONDITION BANK_SUSPENDED"
    for wrong in (
        pb.LoadFromBankRequest(request_id=request_id, source=ALICE, amount_fen=0, account=HOLDER),
        pb.LoadFromBankRequest(request_id=request_id, source=ALICE, amount_fen=1),
        pb.LoadFromBankRequest(request_id="again", source=ALICE, amount_fen=1, account=HOLDER),
        pb.LoadFromBankRequest(request_id=request_id, source=ALICE, amount_fen=1, account="accounts/1002"),
    ):
        assert await reason(calls.LoadFromBank(wrong)) == "INVALID_ARGUMENT REQUEST_MALFORMED"


@pytest.mark.parametrize(
    "values",
    [
        {"name": "banks/ICBC"},
        {"name": "icbc"},
        {"address": "nowhere"},
        {"currency": "yuan"},
        {"cut_off_time": "25:00:00"},
        {"operation_limit_fen": -1},
        {"holidays": [Date(year=2018, month=2, day=30)]},
        {"patience": Duration(seconds=-1)},
        {"settlement_account": "6" * 65},
    ],
)
async def test_a_bank_is_registered_with_sensible_data_only(server: RunningServer, values: dict[str, Any]) -> None:
    wanted = pb.Bank(**({"name": "banks/icbc", "address": "bank:1"} | values))
    request = pb.RegisterBankRequest(bank=wanted, request_id=str(uuid.uuid4()))
    assert await reason(stub(server, ADMIN).RegisterBank(request)) == "INVALID_ARGUMENT REQUEST_MALFORMED"


async def test_a_bank_that_is_away_is_given_up_and_the_flow_ends_when_it_is_back(
    server: RunningServer, registered: pb.Bank, bank: ReferenceBank
) -> None:
    first = await stub(server).LoadFromBank(a_load(100))
    bank.kill()
    waiting = await stub(server).LoadFromBank(a_load(500))
    assert waiting.state in (pb.BANK_FLOW_STATE_AUTHORISING, pb.BANK_FLOW_STATE_GIVING_UP)
    get = pb.GetBankFlowRequest(name=waiting.name)

    async def there(state: int) -> bool:
        return bool((await stub(server).GetBankFlow(get)).state == state)

    await until(lambda: there(pb.BANK_FLOW_STATE_GIVING_UP))
    bank.start()
    await until(lambda: there(pb.BANK_FLOW_STATE_VOIDED))
    ended = await stub(server).GetBankFlow(get)
    assert (ended.refusal, first.state) == ("timeout", pb.BANK_FLOW_STATE_POSTED)
    assert bank.accounts()["alice"] == (9_900, 0)
    await proven(server)


async def test_a_posted_flow_is_taken_back(server: RunningServer, registered: pb.Bank, bank: ReferenceBank) -> None:
    flow = await stub(server).LoadFromBank(a_load(500))
    request = pb.ReverseBankFlowRequest(name=flow.name, request_id=str(uuid.uuid4()))
    undone = await stub(server, ADMIN).ReverseBankFlow(request)
    assert (undone.state, undone.undo_journal != "") == (pb.BANK_FLOW_STATE_UNDONE, True)
    assert await stub(server, ADMIN).ReverseBankFlow(request) == undone
    assert bank.accounts()["alice"] == (10_000, 0)
    unknown = pb.ReverseBankFlowRequest(name=f"bankFlows/{uuid.uuid4()}", request_id=str(uuid.uuid4()))
    assert await reason(stub(server, ADMIN).ReverseBankFlow(unknown)) == "NOT_FOUND BANK_FLOW_UNKNOWN"
    await proven(server)


async def test_a_file_that_is_broken_is_refused_with_its_line_and_nothing_is_taken(
    server: RunningServer, registered: pb.Bank
) -> None:
    await stub(server).LoadFromBank(a_load(500))
    torn = a_file(["D,none"], business_date=TODAY)
    assert await reason(send(server, torn)) == "INVALID_ARGUMENT BANK_FILE_MALFORMED"
    assert await reason(send(server, b"")) == "INVALID_ARGUMENT BANK_FILE_MALFORMED"
    assert await reason(send(server, a_file([], bank="abc"))) == "INVALID_ARGUMENT BANK_FILE_FOREIGN"
    assert await reason(send(server, b"", bank="")) == "INVALID_ARGUMENT REQUEST_MALFORMED"
    assert list((await stub(server, ADMIN).ListBreaks(pb.ListBreaksRequest())).breaks) == []
    match = await send(server, a_file([], business_date=TODAY), ICBC)
    assert (match.line_count, match.only_ours_count) == (0, 1)
    other = a_file([f"D,{uuid.uuid4()},DEBIT,1,HELD,x,2018-09-03T04:00:00Z"], business_date=TODAY)
    assert await reason(send(server, other)) == "ALREADY_EXISTS BANK_FILE_CONFLICT"
    (found,) = (await stub(server, ICBC).ListBreaks(pb.ListBreaksRequest(bank="banks/icbc"))).breaks
    assert (found.kind, found.owner) == (pb.BANK_BREAK_KIND_ONLY_OURS, "banks/icbc")
    close = pb.CloseBreakRequest(name=found.name, note="paid by hand", request_id=str(uuid.uuid4()))
    closed = await stub(server, ADMIN).CloseBreak(close)
    assert (closed.outcome, closed.note) == (pb.BANK_BREAK_OUTCOME_DECIDED, "paid by hand")
    close.request_id = str(uuid.uuid4())
    assert await reason(stub(server, ADMIN).CloseBreak(close)) == "FAILED_PRECONDITION BREAK_CLOSED"
    assert list((await stub(server, ADMIN).ListBreaks(pb.ListBreaksRequest())).breaks) == []


async def test_what_a_flow_holds_cannot_be_ended_beside_it(
    server: RunningServer, registered: pb.Bank, bank: ReferenceBank
) -> None:
    bank.kill()
    flow = await stub(server).LoadFromBank(a_load(500))
    ledger: Any = AccountServiceStub(server.channel(ADMIN))
    void = account_service_pb2.VoidReservationRequest(name=flow.reservation)
    assert await reason(ledger.VoidReservation(void)) == "FAILED_PRECONDITION RESERVATION_OWNED"
    leg = account_pb2.Leg(account="accounts/2202", side=account_pb2.SIDE_CREDIT, amount_fen=1)
    other = account_pb2.Leg(account="accounts/1221.north", side=account_pb2.SIDE_DEBIT, amount_fen=1)
    posting = account_service_pb2.Posting(event="bank_load", reference="x", legs=[leg, other])
    request = account_service_pb2.PostJournalRequest(request_id=str(uuid.uuid4()), posting=posting)
    assert await reason(ledger.PostJournal(request)) == "INVALID_ARGUMENT REQUEST_MALFORMED"
