"""The whole service over real connections: certificates, PostgreSQL, the event bus; the ledger is a double."""

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import nats
import pytest
from citycard.card.v1 import card_pb2, events_pb2
from citycard.card.v1 import card_service_pb2 as pb
from citycard.card.v1.card_service_pb2_grpc import CardServiceStub

from libs.keystore.dev import create_test_keystore, demo_keystore
from libs.keystore.errors import PublicKeyRefused
from libs.keystore.sealed import Passphrase
from libs.purse import inspect, outlet
from libs.purse.card import JT, VirtualCard, card_keys, personalise
from libs.purse.scheme import CardIdentity, Scheme
from libs.runtime.refusals import error_info
from libs.runtime.settings import ServiceSettings, SettingsInvalid, load_settings
from libs.testkit.server import RunningServer, TestCertificates, a_settings, running_server
from services.card.settings import CardSettings
from services.card.wiring import build_parts, open_key_store
from tests.integration.card.account_double import COMMITTED, PENDING, VOIDED, AccountDouble
from tests.unit.card.fakes import ISSUER, a_number

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls
    from city.servers import LocalServers

SEED = "card service tests"
NUMBER = a_number(1)
TERMINAL = "000000000042"
ADMINISTRATOR, NORTH, SOUTH = "citycard://administrator/test", "citycard://outlet/north", "citycard://outlet/south"


class AccountSettings(ServiceSettings):
    service = "account"


def an_id() -> str:
    return str(uuid.uuid4())


@dataclass
class World:
    server: RunningServer
    account: AccountDouble
    settings: CardSettings

    def stub(self, as_: str = ADMINISTRATOR) -> Any:
        return CardServiceStub(self.server.channel(as_))

    async def refusal(self, call: Any) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        return error_info(refused.value).reason

    async def product(self, **values: Any) -> card_pb2.Product:
        defaults: dict[str, Any] = {
            "name": "products/registered",
            "display_name_zh": "记名卡",
            "display_name_en": "Registered",
            "kind": card_pb2.PRODUCT_KIND_REGISTERED,
            "card_main_type": 1,
            "deposit_fen": 20_00,
            "load_step_fen": 10_00,
            "balance_limit_fen": 1000_00,
            "validity_days": 3650,
        }
        product = card_pb2.Product(**defaults | values)
        return await self.stub().CreateProduct(pb.CreateProductRequest(request_id=an_id(), product=product))

    async def stock(self, numbers: list[str], product: str = "products/registered") -> card_pb2.StockLevel:
        return await self.stub().ReceiveStock(
            pb.ReceiveStockRequest(
                request_id=an_id(),
                product=product,
                outlet="outlets/north",
                cards=[f"cards/{number}" for number in numbers],
                issuer_id=ISSUER,
                key_version=1,
                algorithm_id=0,
            )
        )

    async def sold(self, number: str = NUMBER) -> card_pb2.Card:
        await self.product()
        await self.stock([number])
        holder = pb.Holder(display_name="王小明", certificate_type="00", certificate_number="440301199001011234")
        card = await self.stub(NORTH).IssueCard(
            pb.IssueCardRequest(request_id=an_id(), name=f"cards/{number}", outlet="outlets/north", holder=holder)
        )
        self.account.balances[f"purses/{number}.1"] = 0
        return card

    def order(self, chip: VirtualCard, amount_fen: int = 50_00) -> pb.AuthoriseLoadRequest:
        inspect.select(chip, JT.aid)
        answer_a = outlet.initialise_load(chip, amount_fen, terminal=bytes.fromhex(TERMINAL))
        return pb.AuthoriseLoadRequest(
            request_id=an_id(),
            card=f"cards/{NUMBER}",
            amount_fen=amount_fen,
            outlet="outlets/north",
            terminal_number=TERMINAL,
            answer_a=answer_a,
            tender=card_pb2.TENDER_CASH,
        )


def a_chip(number: str = NUMBER) -> VirtualCard:
    store = demo_keystore(SEED, [(Scheme.JT, bytes.fromhex(ISSUER))])
    me = CardIdentity.from_text(number, bytes.fromhex(ISSUER))
    return personalise(JT, me.number, card_keys(store, me), issuer=me.issuer)


def host_time(load: card_pb2.Load) -> datetime:
    return datetime.strptime(load.host_time.hex() + "+0800", "%Y%m%d%H%M%S%z")


@pytest.fixture
def certificates(tmp_path: Path) -> TestCertificates:
    return TestCertificates(tmp_path / "certificates")


@pytest.fixture
def key_files(tmp_path: Path) -> dict[str, Path]:
    files = {"key_file": tmp_path / "keys", "key_passphrase_file": tmp_path / "passphrase"}
    files["key_passphrase_file"].write_text("open sesame")
    issuers = [(Scheme.JT, bytes.fromhex(ISSUER))]
    create_test_keystore(files["key_file"], Passphrase(b"open sesame"), SEED, issuers)
    return files


@pytest.fixture
async def world(
    empty_database: "DatabaseUrls",
    servers: "LocalServers",
    certificates: TestCertificates,
    key_files: dict[str, Path],
) -> AsyncIterator[World]:
    account = AccountDouble()
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(
            running_server(account.parts(), a_settings(certificates, AccountSettings), certificates)
        )
        settings = a_settings(
            certificates,
            CardSettings,
            database_url=empty_database.application,
            nats_url=servers.nats_url("card"),
            service_addresses={"account": ledger.address},
            load_sweep_period_s=0.1,
            **key_files,
        )
        server = await stack.enter_async_context(running_server(await build_parts(settings), settings, certificates))
        yield World(server, account, settings)


async def test_a_card_is_sold_topped_up_lost_and_found(world: World, servers: "LocalServers") -> None:
    sold = await world.sold()
    assert (sold.state, sold.registered, sold.deposit_fen) == (card_pb2.CARD_STATE_ACTIVE, True, 20_00)
    chip, desk = a_chip(), world.stub(NORTH)

    order = world.order(chip)
    load = await desk.AuthoriseLoad(order)
    assert load.state == card_pb2.LOAD_STATE_AUTHORISED
    assert (await desk.AuthoriseLoad(order)).mac2 == load.mac2
    tac = outlet.credit_for_load(chip, host_time(load), load.mac2)
    assert await world.refusal(desk.ConfirmLoad(pb.ConfirmLoadRequest(name=load.name, tac=bytes(4)))) == "TAC_WRONG"
    confirmed = await desk.ConfirmLoad(pb.ConfirmLoadRequest(name=load.name, tac=tac))
    assert (confirmed.state, confirmed.mac2) == (card_pb2.LOAD_STATE_CONFIRMED, b"")
    assert world.account.total(COMMITTED) == 50_00
    legs = [(leg.account, leg.side, leg.amount_fen, leg.purse) for leg in world.account.reservations.popitem()[1].legs]
    assert legs == [
        ("accounts/1221.north", 1, 50_00, ""),
        ("accounts/2207", 2, 50_00, ""),
        ("accounts/2207", 1, 50_00, ""),
        ("accounts/2201", 2, 50_00, f"purses/{NUMBER}.1"),
    ]
    assert (await desk.GetCard(pb.GetCardRequest(name=sold.name))).balance_fen == 50_00

    lost = await desk.ReportLoss(pb.ReportLossRequest(name=sold.name, request_id=an_id()))
    assert lost.state == card_pb2.CARD_STATE_LOST
    assert await world.refusal(desk.AuthoriseLoad(world.order(chip))) == "CARD_STATE_FORBIDS"
    await desk.CancelLossReport(pb.CancelLossReportRequest(name=sold.name, request_id=an_id()))

    proof = await world.stub("citycard://auditor/test").Prove(pb.ProveRequest())
    assert [line.statement for line in proof.lines if line.broken_count] == []
    assert (proof.issued_count, proof.deposit_total_fen, proof.confirmed_load_total_fen) == (1, 20_00, 50_00)
    assert (proof.open_load_total_fen, proof.lost_count) == (0, 0)

    events = await _events(servers, 4)
    assert [type(event).__name__ for event in events] == [
        "CardsIssued",
        "LoadConfirmed",
        "CardLossReported",
        "CardLossCancelled",
    ]
    issued, told = events[0], events[1]
    assert (issued.card_numbers, issued.scheme, issued.issuer_id) == (bytes.fromhex(NUMBER[3:]), "jt", ISSUER)
    assert (issued.deposits_fen, issued.product, issued.outlet) == ([20_00], "products/registered", "outlets/north")
    assert (told.load, told.amount_fen, told.new_balance_fen, told.online_counter) == (load.name, 50_00, 50_00, 0)
    assert told.load_time.ToDatetime(UTC) == host_time(load)
    for event in events:
        assert "王小明".encode() not in event.SerializeToString()


async def _events(servers: "LocalServers", count: int) -> list[Any]:
    """The last `count` events of the card's stream, once they have come."""
    client = await nats.connect(servers.nats_url())
    try:
        stream, found = client.jetstream(), []
        for _ in range(100):
            await asyncio.sleep(0.1)
            try:
                state = (await stream.stream_info("citycard_card")).state
                numbers = range(max(state.first_seq, state.last_seq - count + 1), state.last_seq + 1)
            except nats.js.errors.NotFoundError:
                continue
            found = [_event(await stream.get_msg("citycard_card", number)) for number in numbers]
            if len(found) == count and isinstance(found[-1], events_pb2.CardLossCancelled):
                return found
        raise AssertionError(f"only {found} came")
    finally:
        await client.close()


def _event(message: Any) -> Any:
    kind = getattr(events_pb2, message.subject.rpartition(".")[2])
    return kind.FromString(message.data)


async def test_a_card_that_was_not_written_gives_the_money_back(world: World) -> None:
    await world.sold()
    chip, desk = a_chip(), world.stub(NORTH)
    load = await desk.AuthoriseLoad(world.order(chip))
    nothing = pb.ReverseLoadRequest(name=load.name)
    assert await world.refusal(desk.ReverseLoad(nothing)) == "REQUEST_MALFORMED"
    torn = pb.ReverseLoadRequest(name=load.name, status_word=b"\x93\x02")
    assert (await desk.ReverseLoad(torn)).state == card_pb2.LOAD_STATE_REVERSED
    assert (world.account.total(VOIDED), world.account.total(PENDING)) == (50_00, 0)
    assert (
        await world.refusal(desk.ConfirmLoad(pb.ConfirmLoadRequest(name=load.name, tac=b"TAC!")))
        == "LOAD_STATE_FORBIDS"
    )


async def test_the_next_sight_of_the_card_confirms_what_was_written(world: World) -> None:
    await world.sold()
    chip, desk = a_chip(), world.stub(NORTH)
    first = await desk.AuthoriseLoad(world.order(chip))
    outlet.credit_for_load(chip, host_time(first), first.mac2)
    second = await desk.AuthoriseLoad(world.order(chip, 10_00))
    assert second.card_balance_fen == 50_00
    assert (await desk.GetLoad(pb.GetLoadRequest(name=first.name))).state == card_pb2.LOAD_STATE_CONFIRMED
    listed = await world.stub().ListLoads(pb.ListLoadsRequest(card=f"cards/{NUMBER}", page_size=1))
    assert [load.name for load in listed.loads] == [second.name]
    assert listed.loads[0].mac2 == b""
    rest = await world.stub().ListLoads(
        pb.ListLoadsRequest(card=f"cards/{NUMBER}", page_size=1, page_token=listed.next_page_token)
    )
    assert ([load.name for load in rest.loads], rest.next_page_token) == ([first.name], "")


async def test_a_forged_answer_and_an_unknown_key_are_told_apart(world: World) -> None:
    await world.sold()
    order = world.order(a_chip())
    desk = world.stub(NORTH)
    order.answer_a = order.answer_a[:6] + bytes((order.answer_a[6] ^ 0x80,)) + order.answer_a[7:]
    assert await world.refusal(desk.AuthoriseLoad(order)) == "KEY_UNKNOWN"
    forged = world.order(a_chip(a_number(2)))
    assert await world.refusal(desk.AuthoriseLoad(forged)) == "MAC1_WRONG"
    assert world.account.reservations == {}


async def test_an_outlet_without_credit_is_told_so(world: World) -> None:
    await world.sold()
    world.account.limit_fen = 40_00
    assert await world.refusal(world.stub(NORTH).AuthoriseLoad(world.order(a_chip()))) == "OUTLET_CREDIT_EXHAUSTED"


async def test_a_card_loaded_a_moment_after_its_sale_waits_for_the_ledger_to_hear(world: World) -> None:
    await world.sold()
    world.account.balances.clear()

    async def hear() -> None:
        await asyncio.sleep(0.3)
        world.account.balances[f"purses/{NUMBER}.1"] = 0

    load, _ = await asyncio.gather(world.stub(NORTH).AuthoriseLoad(world.order(a_chip())), hear())
    assert load.state == card_pb2.LOAD_STATE_AUTHORISED


async def test_outlets_act_for_themselves_only(world: World) -> None:
    await world.sold()
    chip, other = a_chip(), world.stub(SOUTH)
    order = world.order(chip)
    assert await world.refusal(other.AuthoriseLoad(order)) == "NOT_YOURS"
    load = await world.stub(NORTH).AuthoriseLoad(order)
    assert await world.refusal(other.GetLoad(pb.GetLoadRequest(name=load.name))) == "NOT_YOURS"
    assert await world.refusal(other.ConfirmLoad(pb.ConfirmLoadRequest(name=load.name, tac=bytes(4)))) == "NOT_YOURS"
    mine = await world.stub(NORTH).GetLoad(pb.GetLoadRequest(name=load.name))
    staffs = await world.stub().GetLoad(pb.GetLoadRequest(name=load.name))
    assert (mine.mac2, staffs.mac2) == (load.mac2, b"")
    assert [level.outlet for level in (await other.ListStock(pb.ListStockRequest())).levels] == []
    assert await world.refusal(other.ListStock(pb.ListStockRequest(outlet="outlets/north"))) == "NOT_YOURS"
    assert (
        await world.refusal(world.stub("citycard://participant/metro").Prove(pb.ProveRequest())) == "ROLE_NOT_ALLOWED"
    )


async def test_without_the_ledger_no_balance_is_made_up(world: World) -> None:
    await world.sold()
    stocked = a_number(5)
    await world.stock([stocked])
    world.settings.service_addresses["account"] = "127.0.0.1:1"
    async with running_server(await build_parts(world.settings), world.settings, world.server.certificates) as alone:
        stub: Any = CardServiceStub(alone.channel())
        card = pb.GetCardRequest(name=f"cards/{NUMBER}")
        assert await world.refusal(stub.GetCard(card, timeout=10)) == "DEPENDENCY_UNAVAILABLE"
        assert (await stub.GetCard(pb.GetCardRequest(name=f"cards/{stocked}"))).balance_fen == 0
        # What does not need the ledger works on.
        await stub.ReportLoss(pb.ReportLossRequest(name=f"cards/{NUMBER}", request_id=an_id()))


async def test_lists_go_page_by_page(world: World) -> None:
    await world.product()
    await world.product(name="products/souvenir", kind=card_pb2.PRODUCT_KIND_SOUVENIR)
    numbers = [a_number(serial) for serial in range(5)]
    assert (await world.stock(numbers)).stock_count == 5
    stub = world.stub()

    async def walk(method: Callable[[Any], Any], request: Any, field: str) -> list[str]:
        seen: list[str] = []
        while True:
            page = await method(request)
            rows = getattr(page, field)
            assert len(rows) <= 2
            seen += [row.name for row in rows]
            if not page.next_page_token:
                return seen
            request.page_token = page.next_page_token

    assert await walk(stub.ListCards, pb.ListCardsRequest(page_size=2), "cards") == [f"cards/{n}" for n in numbers]
    products = await walk(stub.ListProducts, pb.ListProductsRequest(page_size=2), "products")
    assert products == ["products/registered", "products/souvenir"]
    stolen = (await stub.ListCards(pb.ListCardsRequest(page_size=2))).next_page_token
    other = pb.ListCardsRequest(page_token=stolen, state=card_pb2.CARD_STATE_STOCK)
    assert await world.refusal(stub.ListCards(other)) == "PAGE_TOKEN_INVALID"
    wrong = pb.ListCardsRequest(product="registered")
    assert await world.refusal(stub.ListCards(wrong)) == "REQUEST_MALFORMED"


async def test_a_batch_over_the_wire_sells_what_the_counter_would(world: World) -> None:
    await world.product(name="products/souvenir", kind=card_pb2.PRODUCT_KIND_SOUVENIR)
    numbers = [a_number(serial) for serial in range(3)]
    await world.stock(numbers, "products/souvenir")
    request = pb.BatchIssueCardsRequest(
        request_id=an_id(),
        outlet="outlets/north",
        cards=[f"cards/{number}" for number in numbers],
        opening_balances_fen=[1_00, 2_00, 3_00],
    )
    for _ in range(2):
        issued = await world.stub().BatchIssueCards(request)
        assert (issued.issued_count, issued.opening_balance_total_fen) == (3, 6_00)
    request.opening_balances_fen[0] = 9_00
    assert await world.refusal(world.stub().BatchIssueCards(request)) == "REQUEST_ID_REUSED"


def test_production_refuses_test_keys_and_wants_a_holder_key(
    tmp_path: Path, certificates: TestCertificates, key_files: dict[str, Path]
) -> None:
    with pytest.raises(ValueError, match="holder_key_file must be set"):
        a_settings(certificates, CardSettings, deployment="production", **key_files)
    holder_key = tmp_path / "holder"
    holder_key.write_bytes(os.urandom(32))
    settings = a_settings(certificates, CardSettings, deployment="production", holder_key_file=holder_key, **key_files)
    with pytest.raises(PublicKeyRefused):
        open_key_store(settings)


def test_settings_name_every_missing_variable_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CITYCARD_"):
            monkeypatch.delenv(name)
    with pytest.raises(SettingsInvalid) as invalid:
        load_settings(CardSettings)
    assert {"CITYCARD_KEY_FILE", "CITYCARD_KEY_PASSPHRASE_FILE", "CITYCARD_DATABASE_URL"} <= {
        mistake.partition(":")[0] for mistake in invalid.value.mistakes
    }


def test_the_process_migrates_serves_stays_small_and_ends_well(
    servers: "LocalServers",
    database: "Callable[[str], DatabaseUrls]",
    certificates: TestCertificates,
    key_files: dict[str, Path],
    tmp_path: Path,
) -> None:
    urls, tls = database("card"), certificates.of("citycard://service/card")
    variables = {
        "DEPLOYMENT": "test",
        "LISTEN_ADDRESS": "127.0.0.1:0",
        "ADDRESS_FILE": str(tmp_path / "address"),
        "SERVICE_ADDRESSES": json.dumps({"account": "127.0.0.1:1"}),
        "TLS_CA_FILE": str(tls.ca),
        "TLS_CERT_FILE": str(tls.cert),
        "TLS_KEY_FILE": str(tls.key),
        "DATABASE_URL": urls.application,
        "MIGRATION_DATABASE_URL": urls.owner,
        "NATS_URL": servers.nats_url("card"),
        "KEY_FILE": str(key_files["key_file"]),
        "KEY_PASSPHRASE_FILE": str(key_files["key_passphrase_file"]),
    }
    environment = dict(os.environ) | {f"CITYCARD_{name}": value for name, value in variables.items()}
    command = [sys.executable, "-m", "services.card"]
    migrated = subprocess.run(
        [*command, "migrate"], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert "base→0001" in migrated.stdout
    process = subprocess.Popen([*command, "serve"], env=environment, stderr=subprocess.PIPE)
    try:
        for _ in range(200):
            if (tmp_path / "address").exists():
                break
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(1)
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        assert resident_kib < 150 * 1024
        print(f"resident {resident_kib // 1024} MiB")
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors.decode()
