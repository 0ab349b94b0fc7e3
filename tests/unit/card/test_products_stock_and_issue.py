"""Products, stock, issue: what is refused, in which order, and what is told."""

from dataclasses import replace
from datetime import timedelta

import pytest

from libs.clock import CITY_TZ
from libs.errors import DependencyUnavailable, DomainError, RequestIdReused
from libs.testkit.clock import FakeClock
from services.card.application.batch_issue_cards import BatchIssueCards
from services.card.application.cancel_loss_report import CancelLossReport
from services.card.application.create_product import CreateProduct
from services.card.application.get_card import GetCard
from services.card.application.issue_card import IssueCard
from services.card.application.receive_stock import ReceiveStock
from services.card.application.report_loss import ReportLoss
from services.card.domain.errors import (
    CardExists,
    CardNotAtOutlet,
    CardNumberInvalid,
    CardUnknown,
    ProductRulesContradict,
    ProductUnknown,
)
from services.card.domain.events import CARDS_PER_EVENT_MAX, CardsIssued
from services.card.domain.holder import Holder
from services.card.domain.product import ProductKind
from services.card.domain.states import CardState
from tests.unit.card.fakes import (
    NUMBER,
    FakeDatabase,
    FakeLedger,
    a_card,
    a_delivery,
    a_number,
    a_product,
    a_request,
)

HOLDER = Holder("王小明", "00", "440301199001011234")


@pytest.fixture
def database() -> FakeDatabase:
    database = FakeDatabase()
    database.tables.products["adult", 1] = a_product()
    return database


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize(
    "contradiction",
    [
        {"kind": None},
        {"display_name_en": ""},
        {"card_main_type": 0},
        {"card_main_type": 256},
        {"deposit_fen": -1},
        {"price_fen": 1},
        {"load_step_fen": 0},
        {"balance_limit_fen": 9_99},
        {"balance_limit_fen": 100_000_001},
        {"validity_days": 0},
    ],
)
async def test_rules_under_which_no_card_could_live_are_refused(
    database: FakeDatabase, clock: FakeClock, contradiction: dict[str, object]
) -> None:
    with pytest.raises(ProductRulesContradict):
        await CreateProduct(database, clock)(a_product(**contradiction), a_request())


async def test_a_change_of_rules_is_a_new_version_and_a_repetition_is_none(
    database: FakeDatabase, clock: FakeClock
) -> None:
    create, request = CreateProduct(database, clock), a_request()
    changed = a_product(deposit_fen=30_00)
    assert [(await create(changed, request)).version for _ in range(2)] == [2, 2]
    assert (await create(changed, a_request())).version == 3


async def test_stock_comes_in_once_and_all_or_none(database: FakeDatabase, clock: FakeClock) -> None:
    receive, request = ReceiveStock(database, clock), a_request()
    numbers = [a_number(serial) for serial in range(3)]
    for _ in range(2):
        assert (await receive(numbers, a_delivery(), request)).stock_count == 3
    with pytest.raises(CardExists) as refused:
        await receive([a_number(9), a_number(2), a_number(1)], a_delivery(), a_request())
    assert refused.value.facts == {"card": a_number(2)}
    assert a_number(9) not in database.tables.cards


@pytest.mark.parametrize(
    "number", ["jt-13105840000000000017", "jt-03205840000000000017", "cj-00010000000000000001", "jt-0310584"]
)
async def test_a_number_that_is_not_of_its_scheme_does_not_come_to_stock(
    database: FakeDatabase, clock: FakeClock, number: str
) -> None:
    with pytest.raises(CardNumberInvalid):
        await ReceiveStock(database, clock)([a_number(1), number], a_delivery(), a_request())


async def test_stock_of_an_unknown_product_is_refused_before_its_numbers(
    database: FakeDatabase, clock: FakeClock
) -> None:
    with pytest.raises(ProductUnknown):
        await ReceiveStock(database, clock)(["jt-1"], a_delivery(product="none"), a_request())


async def test_a_number_named_twice_is_malformed(database: FakeDatabase, clock: FakeClock) -> None:
    for work in (
        ReceiveStock(database, clock)([NUMBER, NUMBER], a_delivery(), a_request()),
        BatchIssueCards(database, clock)([NUMBER, NUMBER], [0], "north", a_request()),
    ):
        with pytest.raises(DomainError) as refused:
            await work
        assert refused.value.reason == "REQUEST_MALFORMED"


async def test_a_card_is_issued_once_with_its_holder_and_leaves_the_stock(
    database: FakeDatabase, clock: FakeClock
) -> None:
    await ReceiveStock(database, clock)([NUMBER], a_delivery(), a_request())
    request = a_request()
    for _ in range(2):
        card = await IssueCard(database, clock)(NUMBER, "north", HOLDER, request)
        assert (card.state, card.registered, card.deposit_fen) == (CardState.ACTIVE, True, 20_00)
    assert database.tables.holders == {(NUMBER, 1): HOLDER}
    level = database.tables.levels["north", "adult"]
    assert (level.stock_count, level.issued_count) == (0, 1)
    assert len(database.tables.events) == 1


def test_a_holder_is_not_shown_by_its_repr() -> None:
    assert "王小明" not in repr(HOLDER)
    assert "4403" not in repr(HOLDER)


async def _stocked(database: FakeDatabase, clock: FakeClock, count: int, **delivery: object) -> list[str]:
    numbers = [a_number(serial) for serial in range(count)]
    await ReceiveStock(database, clock)(numbers, a_delivery(**delivery), a_request())
    return numbers


async def test_a_batch_is_told_in_events_that_a_consumer_can_swallow(database: FakeDatabase, clock: FakeClock) -> None:
    numbers = await _stocked(database, clock, CARDS_PER_EVENT_MAX + 1)
    openings = list(range(len(numbers)))
    issued = await BatchIssueCards(database, clock)(numbers, openings, "north", a_request())
    assert (issued.issued_count, issued.opening_balance_total_fen) == (len(numbers), sum(openings))
    events = [event for event in database.tables.events if isinstance(event, CardsIssued)]
    assert [len(event.numbers) for event in events] == [CARDS_PER_EVENT_MAX, 1]
    told = [pair for event in events for pair in zip(event.numbers, event.opening_balances_fen, strict=True)]
    assert told == list(zip(numbers, openings, strict=True))


async def test_a_batch_of_two_keys_and_schemes_is_told_apart(database: FakeDatabase, clock: FakeClock) -> None:
    numbers = await _stocked(database, clock, 2)
    cj = [f"cj-0000{serial:016d}" for serial in range(2)]
    await ReceiveStock(database, clock)(cj, a_delivery(key_version=2), a_request())
    await BatchIssueCards(database, clock)([*numbers, *cj], [5_00], "north", a_request())
    events = [event for event in database.tables.events if isinstance(event, CardsIssued)]
    assert [(event.numbers, event.key_version) for event in events] == [(tuple(numbers), 1), (tuple(cj), 2)]


@pytest.mark.parametrize("count", [0, 2, 4])
async def test_opening_balances_are_one_for_all_or_one_each(
    database: FakeDatabase, clock: FakeClock, count: int
) -> None:
    numbers = await _stocked(database, clock, 3)
    with pytest.raises(DomainError) as refused:
        await BatchIssueCards(database, clock)(numbers, [0] * count, "north", a_request())
    assert refused.value.reason == "REQUEST_MALFORMED"


async def test_one_bad_card_stops_its_batch_by_the_first_rule_then_the_first_card(
    database: FakeDatabase, clock: FakeClock
) -> None:
    issue = BatchIssueCards(database, clock)
    numbers = await _stocked(database, clock, 4)
    cards = database.tables.cards
    database.tables.products["adult", 2] = a_product(version=2, kind=ProductKind.STAFF)

    async def reason(batch: list[str], opening_fen: int = 0) -> str:
        before = dict(database.tables.cards)
        with pytest.raises(DomainError) as refused:
            await issue(batch, [opening_fen], "north", a_request())
        assert database.tables.cards == before
        return f"{refused.value.reason} {refused.value.facts.get('card', '')}".strip()

    assert await reason(numbers, 9999_00) == "HOLDER_REQUIRED"
    cards[numbers[2]] = replace(cards[numbers[2]], outlet="south")
    assert await reason(numbers, 9999_00) == f"CARD_NOT_AT_OUTLET {numbers[2]}"
    cards[numbers[3]] = replace(cards[numbers[3]], state=CardState.CLOSED)
    assert await reason(numbers) == f"CARD_STATE_FORBIDS {numbers[3]}"
    assert await reason([*numbers, a_number(77)]) == f"CARD_UNKNOWN {a_number(77)}"


async def test_cards_in_use_come_with_the_day_they_began(database: FakeDatabase, clock: FakeClock) -> None:
    numbers = await _stocked(database, clock, 3)
    issue = BatchIssueCards(database, clock)
    today = clock.now().astimezone(CITY_TZ).date()
    await issue(numbers[:1], [0], "north", a_request(), today - timedelta(days=400))
    await issue(numbers[1:2], [0], "north", a_request())
    events = [event for event in database.tables.events if isinstance(event, CardsIssued)]
    assert [event.start_date for event in events] == [today - timedelta(days=400), today]
    card = database.tables.cards[numbers[0]]
    product = database.tables.products["adult", 1]
    assert (card.start_date, card.expiry_date) == (events[0].start_date, product.expiry(events[0].start_date))
    with pytest.raises(DomainError) as refused:
        await issue(numbers[2:], [0], "north", a_request(), today + timedelta(days=1))
    assert (refused.value.reason, refused.value.facts["field"]) == ("REQUEST_MALFORMED", "start_date")


async def test_an_opening_balance_above_the_limit_is_refused(database: FakeDatabase, clock: FakeClock) -> None:
    numbers = await _stocked(database, clock, 2)
    with pytest.raises(DomainError) as refused:
        await BatchIssueCards(database, clock)(numbers, [1000_00, 1000_01], "north", a_request())
    assert refused.value.reason == "BALANCE_OVER_LIMIT"


async def test_a_refused_issue_leaves_no_claim_so_that_the_counter_may_try_again(
    database: FakeDatabase, clock: FakeClock
) -> None:
    await _stocked(database, clock, 1)
    number, request = a_number(0), a_request()
    with pytest.raises(CardNotAtOutlet):
        await IssueCard(database, clock)(number, "south", None, request)
    assert (await IssueCard(database, clock)(number, "north", None, request)).state is CardState.ACTIVE


async def test_a_loss_reported_twice_is_told_once(database: FakeDatabase, clock: FakeClock) -> None:
    database.tables.cards[NUMBER] = a_card()
    report = ReportLoss(database, clock)
    request = a_request()
    for key in (request, request, a_request()):
        assert (await report(NUMBER, key)).state is CardState.LOST
    assert [type(event).__name__ for event in database.tables.events] == ["CardLossReported"]


async def test_a_repeated_report_is_answered_as_it_was_even_after_the_card_was_found(
    database: FakeDatabase, clock: FakeClock
) -> None:
    database.tables.cards[NUMBER] = a_card()
    request = a_request()
    await ReportLoss(database, clock)(NUMBER, request)
    await CancelLossReport(database, clock)(NUMBER, a_request())
    assert (await ReportLoss(database, clock)(NUMBER, request)).state is CardState.LOST
    assert database.tables.cards[NUMBER].state is CardState.ACTIVE


async def test_a_request_id_of_another_content_is_refused(database: FakeDatabase, clock: FakeClock) -> None:
    database.tables.cards[NUMBER] = a_card()
    request = a_request("one")
    await ReportLoss(database, clock)(NUMBER, request)
    with pytest.raises(RequestIdReused):
        await ReportLoss(database, clock)(NUMBER, replace(a_request("other"), request_id=request.request_id))


async def test_the_balance_of_a_card_is_the_ledgers(database: FakeDatabase) -> None:
    ledger = FakeLedger()
    get = GetCard(database, ledger)
    card = a_card(opening_fen=7_00)
    database.tables.cards[NUMBER] = card
    assert (await get(NUMBER))[1] == 7_00, "not heard of yet: the opening is all that there can be"
    ledger.balances[card.purse] = 3_00
    assert (await get(NUMBER))[1] == 3_00
    ledger.away = True
    with pytest.raises(DependencyUnavailable):
        await get(NUMBER)
    with pytest.raises(CardUnknown):
        await get(a_number(5))
    database.tables.cards[NUMBER] = a_card(state=CardState.STOCK, issue_time=None)
    assert (await get(NUMBER))[1] == 0, "a stocked card has no purse to ask for"
