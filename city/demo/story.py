"""One card's life: sold, topped up, ridden, lost, and refused by a terminal."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import uuid4

import grpc
from citycard.account.v1 import account_service_pb2
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.blacklist.v1 import blacklist_service_pb2
from citycard.blacklist.v1.blacklist_service_pb2_grpc import BlacklistServiceStub
from citycard.card.v1 import card_pb2, card_service_pb2
from citycard.card.v1.card_service_pb2_grpc import CardServiceStub
from citycard.clearing.v1 import clearing_service_pb2
from citycard.clearing.v1.clearing_service_pb2_grpc import ClearingServiceStub
from citycard.common.v1 import types_pb2
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as gateway_pb2
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub
from google.protobuf.timestamp_pb2 import Timestamp

from city.demo.collection import open_collector, wait_until_folded, wait_until_judged
from city.demo.platform import Callers
from city.demo.registration import (
    REGISTERED_PRICE_FEN,
    REGISTERED_PRODUCT,
    Registered,
    receive_stock,
    registry_state,
    wait_for_registry,
    wait_until,
)
from city.keys import CITY_CODE, ISSUER_ID, city_keys
from city.launcher import Platform
from city.simulation.operators import SIGHTSEEING
from city.simulation.play import ALGORITHM_ID, KEY_VERSION, PARAMETER_VERSION
from edge.terminal.blacklist import TerminalBlacklist
from edge.terminal.journal import MemoryJournal
from edge.terminal.record import TerminalFacts
from edge.terminal.refusals import CardListed, words
from edge.terminal.terminal import Price, Terminal
from libs.clock import CITY_TZ, FixedClock, SystemClock
from libs.money import yuan
from libs.purse import outlet
from libs.purse.card import JT, Holder, VirtualCard, card_keys, personalise
from libs.purse.inspect import select
from libs.purse.sam import issue_sam
from libs.purse.scheme import CardIdentity, Scheme
from libs.purse.sequence import MemorySequence
from libs.purse.terminal import read_balance
from libs.purse.transactions import PurseId
from libs.records import bcd
from libs.records.codes import RESULT_CODES, ResultCode
from libs.records.numbers import card_bytes, institution_bytes, make_jt_number, psam_bytes, terminal_bytes
from libs.records.otr import read_records
from libs.runtime.logging import masked

OUTLET = "outlets/luohu"
_OUTLET_CALLER = "outlet/luohu"
# Device of the outlet; its number enters the MACs of a load.
_OUTLET_TERMINAL = "900000000001"
_BUS_TERMINAL = "140001000001"
_BUS_PSAM = f"58400001{_BUS_TERMINAL}"
_TOP_UP_FEN = 100_00
_FARE = Price(800, 1000, discount_rule=2)
_SERIAL = 1

Say = Callable[[str, str], None]
"""Tells one thing that happened: Chinese, English."""


@dataclass(frozen=True, slots=True)
class Story:
    """What happened to the card.

    Attributes:
        card: `cards/…`.
        balance_on_chip_fen: At the end.
        balance_at_centre_fen: At the end, by the ledger.
        ride_code: Result code of its ride.
        refused_reason: Why the terminal refused it in the end.
        effective_time: From when terminals had to.
    """

    card: str
    balance_on_chip_fen: int
    balance_at_centre_fen: int
    ride_code: int
    refused_reason: str
    effective_time: datetime


async def live(platform: Platform, callers: Callers, say: Say) -> Story:
    """Let one registered card live its life.

    Raises:
        NotInTimeError: Something that must happen by itself has not happened.
        AioRpcError: A service refuses what it must not.
    """
    number = make_jt_number(CITY_CODE, _SERIAL)
    name = f"cards/{number}"
    clock = SystemClock(timedelta(seconds=platform.state.clock_offset_s()))
    await _register_bus_terminal(callers)

    sold = await _sell(callers, name)
    chip = _personalise(number, sold)
    say(
        f"售出记名卡 {masked(number)}，工本费 {yuan(REGISTERED_PRICE_FEN)} 元，有效期至 {_day(sold.expiry_date)}",
        f"sold the registered card {masked(number)} for {yuan(REGISTERED_PRICE_FEN)} yuan, valid to "
        f"{_day(sold.expiry_date)}",
    )

    await _wait_for_purse(callers, name)
    await _top_up(callers, name, chip)
    say(
        f"充值 {yuan(_TOP_UP_FEN)} 元：MAC1 通过，MAC2 写卡，TAC 确认；卡内余额 {yuan(_balance(chip))} 元",
        f"topped up {yuan(_TOP_UP_FEN)} yuan: MAC1 checked, MAC2 written, TAC proven; the chip holds "
        f"{yuan(_balance(chip))} yuan",
    )

    terminal_clock = FixedClock(clock.now())
    terminal = _bus_terminal(terminal_clock)
    tap = terminal.pay(chip.transmit, lambda view, main_type: _FARE)
    collector = open_collector(platform, callers, SIGHTSEEING, clock)
    state = await registry_state(callers)
    await wait_for_registry(callers, Registered(state.card_count, state.terminal_count))
    records = read_records(tap.record)
    collector.pack(records)
    receipts = await collector.send_waiting()
    terminal.journal.acknowledge(1)
    await wait_until_judged(callers, receipts)
    await wait_until_folded(callers)
    seq = int(records[0]["terminal_seq"])
    record = await callers.stub(ClearingServiceStub, "clearing").GetRecord(
        clearing_service_pb2.GetRecordRequest(name=f"records/{_BUS_TERMINAL}-{seq}")
    )
    verdict = RESULT_CODES[ResultCode(record.code)]
    say(
        f"乘坐观光巴士：原价 {yuan(_FARE.list_price_fen)} 元，实付 {yuan(record.amount_fen)} 元；"
        f"记录已上传，应答码 {verdict.text}（{verdict.zh}）",
        f"rode the sightseeing bus: {yuan(_FARE.list_price_fen)} yuan, paid {yuan(record.amount_fen)}; "
        f"the record came up and got code {verdict.text} ({verdict.en})",
    )

    listed_from = await _report_loss(callers, name)
    say(
        f"挂失成功，黑名单自 {listed_from:%Y-%m-%d %H:%M:%S} 起生效",
        f"reported lost; terminals must refuse it from {listed_from:%Y-%m-%d %H:%M:%S} on",
    )

    hello = await collector.sign_in(terminal.blacklist.version)
    version, content = await collector.fetch_blacklist(terminal.blacklist.version)
    terminal.blacklist.load(content)
    assert version == terminal.blacklist.version >= hello.blacklist_version, "the list came whole"
    say(
        f"采集器下载黑名单第 {version} 版（{len(content)} 字节），已装入终端",
        f"the collector fetched version {version} of the blacklist ({len(content)} bytes), the terminal has it",
    )

    terminal_clock.set(listed_from + timedelta(seconds=1))
    try:
        terminal.pay(chip.transmit, lambda view, main_type: _FARE)
    except CardListed as refused:
        zh, en = words(refused)
        reason = refused.reason
        locked = refused.facts["locked"] == "yes"
        say(
            f"次日终端拒收（{reason}{'，并已锁卡' if locked else ''}）：{zh}",
            f"a day later the terminal refuses it ({reason}{', and locks it' if locked else ''}): {en}",
        )
    else:
        raise AssertionError("a terminal took a listed card after the effective time")
    card = await callers.stub(CardServiceStub, "card").GetCard(card_service_pb2.GetCardRequest(name=name))
    return Story(
        card=name,
        balance_on_chip_fen=chip.applications[0].purse.balance_fen,
        balance_at_centre_fen=card.balance_fen,
        ride_code=record.code,
        refused_reason=reason,
        effective_time=listed_from,
    )


async def _register_bus_terminal(callers: Callers) -> None:
    before = await registry_state(callers)
    spec = gateway_pb2.TerminalSpec(
        terminal_number=_BUS_TERMINAL,
        psam_number=_BUS_PSAM,
        operator_number=SIGHTSEEING.number,
        device_number=1,
        industry_code=f"{SIGHTSEEING.industry_code:04X}",
    )
    await callers.stub(TerminalGatewayServiceStub, "terminal_gw").BatchRegisterTerminals(
        gateway_pb2.BatchRegisterTerminalsRequest(
            request_id=str(uuid4()), participant=SIGHTSEEING.participant, terminals=[spec]
        )
    )
    await wait_for_registry(callers, Registered(before.card_count, before.terminal_count + 1))


async def _sell(callers: Callers, name: str) -> card_pb2.Card:
    before = await registry_state(callers)
    await receive_stock(callers, REGISTERED_PRODUCT, OUTLET, [name])
    counter = callers.stub(CardServiceStub, "card", _OUTLET_CALLER)
    sold = await counter.IssueCard(
        card_service_pb2.IssueCardRequest(
            request_id=str(uuid4()),
            name=name,
            outlet=OUTLET,
            holder=card_service_pb2.Holder(
                display_name="李晓明", certificate_type="00", certificate_number="110101199001011237"
            ),
        )
    )
    await wait_for_registry(callers, Registered(before.card_count + 1, before.terminal_count))
    return sold


def _personalise(number: str, sold: card_pb2.Card) -> VirtualCard:
    """The chip, activated at the counter: dates of the sale, nothing on it yet."""
    issuer, packed = institution_bytes(ISSUER_ID), card_bytes(number)[1]
    keys = card_keys(
        city_keys(), CardIdentity(Scheme.JT, issuer, packed), version=KEY_VERSION, algorithm_id=ALGORITHM_ID
    )
    start, expiry = (date(day.year, day.month, day.day) for day in (sold.start_date, sold.expiry_date))
    return personalise(JT, packed, keys, issuer=issuer, start=start, expiry=expiry, holder=Holder(main_type=1))


async def _wait_for_purse(callers: Callers, name: str) -> None:
    """The ledger opens the purse when it hears of the sale; before that it could not hold money for it."""
    account = callers.stub(AccountServiceStub, "account")
    purse = f"{name.replace('cards/', 'purses/')}.1"

    async def known() -> bool:
        try:
            await account.GetPurse(account_service_pb2.GetPurseRequest(name=purse))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise
        return True

    await wait_until(known, "the ledger to open the card's purse")


async def _top_up(callers: Callers, name: str, chip: VirtualCard) -> None:
    counter = callers.stub(CardServiceStub, "card", _OUTLET_CALLER)
    view = select(chip.transmit, JT.aid)
    assert view is not None, "the card was just personalised"
    answer_a = outlet.initialise_load(chip.transmit, _TOP_UP_FEN, terminal=terminal_bytes(_OUTLET_TERMINAL))
    load = await counter.AuthoriseLoad(
        card_service_pb2.AuthoriseLoadRequest(
            request_id=str(uuid4()),
            card=name,
            amount_fen=_TOP_UP_FEN,
            outlet=OUTLET,
            terminal_number=_OUTLET_TERMINAL,
            answer_a=answer_a,
            tender=card_pb2.TENDER_CASH,
        )
    )
    tac = outlet.credit_for_load(chip.transmit, bcd.time_of(load.host_time), load.mac2)
    confirmed = await counter.ConfirmLoad(card_service_pb2.ConfirmLoadRequest(name=load.name, tac=tac))
    assert confirmed.state == card_pb2.LOAD_STATE_CONFIRMED, "a TAC that fits confirms the load"


def _balance(chip: VirtualCard) -> int:
    select(chip.transmit, JT.aid)
    return read_balance(chip.transmit, PurseId.EP)


def _bus_terminal(clock: FixedClock) -> Terminal:
    facts = TerminalFacts(
        _BUS_TERMINAL,
        _BUS_PSAM,
        SIGHTSEEING.institution_id,
        CITY_CODE,
        SIGHTSEEING.industry_code,
        SIGHTSEEING.number,
        device_number=1,
        line="000140",
    )
    sam = issue_sam(
        city_keys(),
        Scheme.JT,
        institution_bytes(ISSUER_ID),
        terminal_bytes(_BUS_TERMINAL),
        MemorySequence(),
        number=psam_bytes(_BUS_PSAM),
    )
    return Terminal(
        facts, sam.transmit, MemoryJournal(), clock, TerminalBlacklist(), parameter_version=PARAMETER_VERSION
    )


async def _report_loss(callers: Callers, name: str) -> datetime:
    """Report the card lost; answers from when on terminals must refuse it, when the gateway has the list."""
    counter = callers.stub(CardServiceStub, "card", _OUTLET_CALLER)
    lost = await counter.ReportLoss(card_service_pb2.ReportLossRequest(name=name, request_id=str(uuid4())))
    assert lost.state == card_pb2.CARD_STATE_LOST, "a loss report freezes the card at once"
    blacklist = callers.stub(BlacklistServiceStub, "blacklist")
    collector = callers.stub(TerminalGatewayServiceStub, "terminal_gw", f"collector/{SIGHTSEEING.slug}/depot-1")
    entry_time = Timestamp()

    async def published() -> bool:
        check = await blacklist.CheckCard(blacklist_service_pb2.CheckCardRequest(card=name, generation=lost.generation))
        if not check.HasField("entry"):
            return False
        entry_time.CopyFrom(check.entry.effective_time)
        hello = await collector.SignIn(gateway_pb2.SignInRequest(clock_time=lost.state_time))
        return bool(hello.blacklist_version >= check.version)

    await wait_until(published, "the blacklist to reach the gateway")
    return entry_time.ToDatetime(CITY_TZ)


def _day(day: types_pb2.Date) -> str:
    return f"{day.year:04d}-{day.month:02d}-{day.day:02d}"
