"""Before the first tap: products, participants, keys, limits, terminals, cards, and clearing's knowledge of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import time as day_time
from uuid import uuid4

import grpc
import numpy as np
from citycard.card.v1 import card_pb2, card_service_pb2
from citycard.card.v1.card_service_pb2_grpc import CardServiceStub
from citycard.clearing.v1 import clearing_pb2, clearing_service_pb2
from citycard.clearing.v1.clearing_service_pb2_grpc import ClearingServiceStub
from citycard.common.v1.types_pb2 import Date
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as gateway_pb2
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub

from city.demo.platform import Callers, Progress
from city.keys import ISSUER_ID
from city.simulation.operators import OPERATORS, SIGHTSEEING, Operator
from city.simulation.plan import DayPlan
from city.simulation.play import ALGORITHM_ID, KEY_VERSION, VALIDITY_DAYS
from libs.clock import CITY_TZ
from libs.runtime.refusals import error_info

# Where a bureau personalises the cards of large orders.
BUREAU = "outlets/bureau"
# Cards in one request; the contract allows 10,000, and smaller ones let a bar move.
_CARDS_PER_REQUEST = 5_000
_TERMINALS_PER_REQUEST = 5_000
_BALANCE_LIMIT_FEN = 100_000
_LOAD_STEP_FEN = 1_000
_AMOUNT_LIMIT_FEN = 20_000
_POLL_S = 0.2

# Main type -> product. An order of a school or a company names no holders, so these are all of the anonymous kind.
_PRODUCTS = {
    1: ("adult", "普通卡", "Ordinary card"),
    2: ("student", "学生卡", "Student card"),
    3: ("senior", "老年卡", "Senior card"),
    4: ("free", "爱心卡", "Free ride card"),
    5: ("discount", "优惠卡", "Discount card"),
    6: ("staff", "员工卡", "Staff card"),
}
REGISTERED_PRODUCT = "products/registered"
REGISTERED_PRICE_FEN = 2_500


class NotInTimeError(RuntimeError):
    """Something that must happen by itself has not happened in its time; the message says what."""


@dataclass(frozen=True, slots=True)
class Registered:
    """How much was registered.

    Attributes:
        cards: Issued by now.
        terminals: Registered by now.
    """

    cards: int
    terminals: int


@dataclass(frozen=True, slots=True)
class RegistrationWatchers:
    """Who is told how far a registration has come: terminals and cards registered, cards that clearing knows."""

    terminals: Progress = lambda done: None
    cards: Progress = lambda done: None
    known: Progress = lambda done: None


async def register_day(
    callers: Callers, plan: DayPlan, watchers: RegistrationWatchers = RegistrationWatchers()
) -> Registered:
    """Everything that a day needs, and the wait until clearing has heard of it.

    Raises:
        NotInTimeError: It has not.
        AioRpcError: A service refuses what it must not.
    """
    valid_from = datetime.combine(plan.valid_from, day_time(), CITY_TZ) - timedelta(days=1)
    await create_rules(callers, (*OPERATORS, SIGHTSEEING), valid_from)
    terminals, cards = await asyncio.gather(
        register_terminals(callers, plan, watchers.terminals), issue_cards(callers, plan, watchers.cards)
    )
    registered = Registered(cards, terminals)
    await wait_for_registry(callers, registered, progress=watchers.known)
    return registered


async def create_rules(callers: Callers, operators: Sequence[Operator], valid_from: datetime) -> None:
    """Products, participants, the issuer's key version and the limits of amounts.

    Args:
        callers: Of an open platform.
        operators: Who takes part.
        valid_from: From when on the limits hold.
    """
    cards = callers.stub(CardServiceStub, "card")
    clearing = callers.stub(ClearingServiceStub, "clearing")
    key = clearing_pb2.IssuerKey(issuer_id=ISSUER_ID, key_version=KEY_VERSION, algorithm_id=ALGORITHM_ID)
    limit = clearing_service_pb2.SetIndustryLimitRequest(amount_limit_fen=_AMOUNT_LIMIT_FEN)
    limit.effective_time.FromDatetime(valid_from)
    await asyncio.gather(
        *(cards.CreateProduct(_product_request(product)) for product in _products()),
        *(clearing.CreateParticipant(_participant_request(operator)) for operator in operators),
        clearing.RegisterIssuerKey(clearing_service_pb2.RegisterIssuerKeyRequest(issuer_key=key)),
        clearing.SetIndustryLimit(limit),
    )


async def register_terminals(callers: Callers, plan: DayPlan, progress: Progress = lambda done: None) -> int:
    """The terminals of a day; returns how many."""
    gateway = callers.stub(TerminalGatewayServiceStub, "terminal_gw")
    columns = plan.terminals
    done = 0
    for place in sorted(set(columns.operators.tolist())):
        operator = OPERATORS[place]
        rows = np.flatnonzero(columns.operators == place).tolist()
        for start in range(0, len(rows), _TERMINALS_PER_REQUEST):
            part = rows[start : start + _TERMINALS_PER_REQUEST]
            request = gateway_pb2.BatchRegisterTerminalsRequest(
                request_id=str(uuid4()),
                participant=operator.participant,
                terminals=[
                    gateway_pb2.TerminalSpec(
                        terminal_number=columns.numbers[row],
                        psam_number=columns.psam_number(row),
                        operator_number=operator.number,
                        device_number=row + 1,
                        industry_code=f"{operator.industry_code:04X}",
                    )
                    for row in part
                ],
            )
            await gateway.BatchRegisterTerminals(request)
            done += len(part)
            progress(done)
    return done


async def issue_cards(callers: Callers, plan: DayPlan, progress: Progress = lambda done: None) -> int:
    """Takes the cards of a day into stock and issues them with the balance on their chips; returns how many."""
    cards = callers.stub(CardServiceStub, "card")
    columns, begun = plan.cards, plan.valid_from
    done = 0
    for main_type in np.unique(columns.main_types).tolist():
        product = f"products/{_PRODUCTS[main_type][0]}"
        rows = np.flatnonzero(columns.main_types == main_type)
        for start in range(0, len(rows), _CARDS_PER_REQUEST):
            part = rows[start : start + _CARDS_PER_REQUEST]
            names = columns.names(part)
            await receive_stock(callers, product, BUREAU, names)
            await cards.BatchIssueCards(
                card_service_pb2.BatchIssueCardsRequest(
                    request_id=str(uuid4()),
                    outlet=BUREAU,
                    cards=names,
                    opening_balances_fen=columns.opening_fen[part].tolist(),
                    # The riders have had their cards for a while when the day begins.
                    start_date=Date(year=begun.year, month=begun.month, day=begun.day),
                )
            )
            done += len(part)
            progress(done)
    return done


async def receive_stock(callers: Callers, product: str, outlet: str, names: Sequence[str]) -> None:
    """Personalised cards come to an outlet."""
    await callers.stub(CardServiceStub, "card").ReceiveStock(
        card_service_pb2.ReceiveStockRequest(
            request_id=str(uuid4()),
            product=product,
            outlet=outlet,
            cards=names,
            issuer_id=ISSUER_ID,
            key_version=KEY_VERSION,
            algorithm_id=ALGORITHM_ID,
        )
    )


async def registry_state(callers: Callers) -> clearing_service_pb2.RegistryState:
    """What clearing has heard of."""
    clearing = callers.stub(ClearingServiceStub, "clearing")
    return await clearing.GetRegistryState(clearing_service_pb2.GetRegistryStateRequest())


async def wait_for_registry(
    callers: Callers, expected: Registered, timeout_s: float = 60.0, progress: Progress = lambda done: None
) -> None:
    """Wait until clearing has heard of these cards and terminals.

    Raises:
        NotInTimeError: It has not.
    """

    async def heard() -> bool:
        state = await registry_state(callers)
        progress(state.card_count)
        return state.card_count >= expected.cards and state.terminal_count >= expected.terminals

    await wait_until(heard, f"clearing to hear of {expected.cards} cards, {expected.terminals} terminals", timeout_s)


async def wait_until(
    holds: Callable[[], Awaitable[bool]], what: str, timeout_s: float = 60.0, poll_s: float = _POLL_S
) -> None:
    """Wait for something that happens by itself; a service that is away meanwhile is waited for as well.

    Raises:
        NotInTimeError: It has not happened in time.
    """
    deadline = time.monotonic() + timeout_s
    last = ""
    while True:
        try:
            if await holds():
                return
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            last = f" (the last answer was {error_info(error).message_en or error.code().name})"
        if time.monotonic() > deadline:
            raise NotInTimeError(f"waited {timeout_s:.0f} s in vain for {what}{last}")
        await asyncio.sleep(poll_s)


def _products() -> list[card_pb2.Product]:
    made = [
        card_pb2.Product(
            name=f"products/{slug}",
            display_name_zh=zh,
            display_name_en=en,
            kind=card_pb2.PRODUCT_KIND_ANONYMOUS,
            card_main_type=main_type,
            deposit_fen=0,
            price_fen=0,
            load_step_fen=_LOAD_STEP_FEN,
            balance_limit_fen=_BALANCE_LIMIT_FEN,
            validity_days=VALIDITY_DAYS,
        )
        for main_type, (slug, zh, en) in _PRODUCTS.items()
    ]
    made.append(
        card_pb2.Product(
            name=REGISTERED_PRODUCT,
            display_name_zh="记名卡",
            display_name_en="Registered card",
            kind=card_pb2.PRODUCT_KIND_REGISTERED,
            card_main_type=1,
            price_fen=REGISTERED_PRICE_FEN,
            load_step_fen=_LOAD_STEP_FEN,
            balance_limit_fen=_BALANCE_LIMIT_FEN,
            validity_days=VALIDITY_DAYS,
        )
    )
    return made


def _product_request(product: card_pb2.Product) -> card_service_pb2.CreateProductRequest:
    return card_service_pb2.CreateProductRequest(request_id=str(uuid4()), product=product)


def _participant_request(operator: Operator) -> clearing_service_pb2.CreateParticipantRequest:
    return clearing_service_pb2.CreateParticipantRequest(
        request_id=str(uuid4()),
        name=operator.participant,
        display_name_zh=operator.zh,
        display_name_en=operator.en,
        institution_id=f"{operator.institution_id}FFFFFFFF",
        operator_number=operator.number,
    )
