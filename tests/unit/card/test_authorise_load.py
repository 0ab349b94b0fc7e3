"""The first half of a top-up, and every way in which it can be cut."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import pytest

from libs.errors import DependencyUnavailable, DomainError, RequestIdReused
from services.card.domain.errors import (
    AnswerStale,
    BalanceOverLimit,
    CardExpired,
    CardStateForbids,
    CardUnknown,
    KeyUnknown,
    LoadOpen,
    LoadStateForbids,
    LoadStep,
    Mac1Wrong,
    OutletCreditExhausted,
)
from services.card.domain.load import Evidence, LoadState, Verdict
from services.card.domain.states import CardState
from tests.unit.card.fakes import FakeChip, Killed, a_request, an_order
from tests.unit.card.world import CONFIRM_WAIT, REQUEST_WAIT, LoadWorld

L = LoadState
SECOND = timedelta(seconds=1)


@pytest.fixture
def world() -> LoadWorld:
    return LoadWorld()


async def test_a_good_order_gets_a_mac2_that_its_card_accepts(world: LoadWorld) -> None:
    load = await world.ask(50_00)
    assert (load.state, load.expire_time) == (L.AUTHORISED, world.clock.now() + CONFIRM_WAIT)
    assert world.ledger.reservations == {load.id: ("pending", 50_00)}
    assert world.chip.credit(load) is not None


async def test_a_repetition_gets_the_same_mac2_and_holds_the_money_once(world: LoadWorld) -> None:
    order = an_order(answer_a=world.chip.initialise())
    request = a_request(order)
    first = await world.authorise(order, request)
    world.clock.advance(seconds=3)
    assert await world.authorise(order, request) == first
    assert world.ledger.calls == ["reserve"]


async def test_twins_of_one_request_agree(world: LoadWorld) -> None:
    order = an_order(answer_a=world.chip.initialise())
    request = a_request(order)
    first, second = await asyncio.gather(world.authorise(order, request), world.authorise(order, request))
    assert first == second
    assert world.ledger.total("pending") == order.amount_fen


async def test_a_request_id_with_another_amount_is_refused(world: LoadWorld) -> None:
    order = an_order(answer_a=world.chip.initialise())
    request = a_request(order)
    await world.authorise(order, request)
    other = replace(order, amount_fen=60_00)
    with pytest.raises(RequestIdReused):
        await world.authorise(other, replace(a_request(other), request_id=request.request_id))


def _wrong(**values: object) -> Callable[[LoadWorld], None]:
    return lambda world: world.set_card(**values)


def _forged(order_answer: bytes) -> bytes:
    return order_answer[:12] + b"\0\0\0\0"


# Each case breaks one rule and every later one, so that the order of refusals is what decides.
@pytest.mark.parametrize(
    ("refusal", "prepare", "change"),
    [
        (CardUnknown, _wrong(), {"card": "jt-03105840009999999999"}),
        ("CARD_CLOSED", _wrong(state=CardState.CLOSED, expiry_date=date(2000, 1, 1)), {"amount_fen": 1}),
        (CardStateForbids, _wrong(state=CardState.LOST, expiry_date=date(2000, 1, 1)), {"amount_fen": 1}),
        (CardExpired, _wrong(expiry_date=date(2018, 8, 31)), {"amount_fen": 1}),
        (LoadStep, _wrong(), {"amount_fen": 2000_01}),
        (BalanceOverLimit, _wrong(key_version=9), {"amount_fen": 1010_00}),
        (KeyUnknown, _wrong(key_version=9), {"answer_a": _forged(FakeChip(online_counter=3).initialise())}),
        (Mac1Wrong, _wrong(), {"answer_a": _forged(FakeChip(online_counter=3).initialise())}),
    ],
)
async def test_the_first_broken_rule_wins_and_nothing_is_held(
    world: LoadWorld,
    refusal: type[DomainError] | str,
    prepare: Callable[[LoadWorld], None],
    change: dict[str, object],
) -> None:
    prepare(world)
    order = an_order(**{"answer_a": world.chip.initialise(), **change})
    with pytest.raises(DomainError) as refused:
        await world.authorise(order, a_request(order))
    assert refused.value.reason == (refusal if isinstance(refusal, str) else refusal.reason)
    assert (world.ledger.calls, world.loads) == ([], [])


async def test_the_last_day_of_validity_is_valid(world: LoadWorld) -> None:
    world.set_card(expiry_date=date(2018, 9, 1))
    assert (await world.ask()).state is L.AUTHORISED


async def test_the_limit_counts_what_the_card_shows_not_what_the_ledger_believes(world: LoadWorld) -> None:
    world.chip.balance_fen = 960_00
    with pytest.raises(BalanceOverLimit):
        await world.ask(50_00)
    world.chip.balance_fen = 950_00
    assert (await world.ask(50_00)).state is L.AUTHORISED


async def test_an_outlet_without_credit_is_refused_for_good_and_may_order_anew(world: LoadWorld) -> None:
    world.ledger.credit_fen = 40_00
    order = an_order(answer_a=world.chip.initialise())
    request = a_request(order)
    with pytest.raises(OutletCreditExhausted):
        await world.authorise(order, request)
    assert (world.load.state, world.load.evidence) == (L.REFUSED, Evidence.CREDIT_EXHAUSTED)
    world.ledger.credit_fen = None
    with pytest.raises(OutletCreditExhausted):
        await world.authorise(order, request)
    # The card still waits in the same session: the same answer serves a new order.
    assert (await world.authorise(order, a_request(order))).state is L.AUTHORISED


async def test_a_ledger_that_is_away_keeps_the_order_for_the_same_request(world: LoadWorld) -> None:
    order = an_order(answer_a=world.chip.initialise())
    request = a_request(order)
    world.ledger.away = True
    with pytest.raises(DependencyUnavailable):
        await world.authorise(order, request)
    world.ledger.away = False
    assert (await world.authorise(order, request)).state is L.AUTHORISED


async def test_a_card_that_the_ledger_has_not_heard_of_waits_for_it(world: LoadWorld) -> None:
    order = an_order(answer_a=world.chip.initialise())
    request = a_request(order)
    world.ledger.unknown_purses.add(world.card.purse)
    with pytest.raises(DependencyUnavailable):
        await world.authorise(order, request)
    world.ledger.unknown_purses.clear()
    assert (await world.authorise(order, request)).state is L.AUTHORISED


async def test_the_next_answer_of_a_written_card_confirms_the_load_whose_tac_was_lost(world: LoadWorld) -> None:
    first = await world.ask(50_00)
    assert world.chip.credit(first) is not None
    world.clock.advance(hours=5)
    await world.sweep()
    second = await world.ask(30_00)
    loads = world.database.tables.loads
    assert (loads[first.id].state, loads[first.id].evidence) == (L.CONFIRMED, Evidence.COUNTER)
    assert second.state is L.AUTHORISED
    assert world.ledger.total("committed") == 50_00
    assert [type(event).__name__ for event in world.events] == ["LoadConfirmed"]


async def test_the_next_answer_of_an_unwritten_card_gives_the_money_back_first(world: LoadWorld) -> None:
    world.ledger.credit_fen = 50_00
    first = await world.ask(50_00)
    # The credit covers one load only: the second can be held because the first is voided before.
    second = await world.ask(50_00)
    assert world.database.tables.loads[first.id].state is L.REVERSED
    assert world.ledger.reservations == {first.id: ("voided", 50_00), second.id: ("pending", 50_00)}


async def test_sending_the_same_answer_again_under_another_request_reverses_nothing(world: LoadWorld) -> None:
    order = an_order(answer_a=world.chip.initialise())
    load = await world.authorise(order, a_request(order))
    tac = world.chip.credit(load)
    with pytest.raises(LoadOpen):
        await world.authorise(order, a_request(order))
    assert tac is not None
    await world.confirm(load.id, tac, None)
    with pytest.raises(AnswerStale):
        await world.authorise(order, a_request(order))
    assert world.ledger.total("committed") == 50_00


async def test_an_answer_recorded_before_a_confirmed_load_is_stale(world: LoadWorld) -> None:
    recorded = an_order(answer_a=world.chip.initialise())
    load = await world.ask()
    tac = world.chip.credit(load)
    assert tac is not None
    await world.confirm(load.id, tac, None)
    with pytest.raises(AnswerStale):
        await world.authorise(recorded, a_request(recorded))


async def test_a_counter_that_jumped_leaves_the_open_load_open(world: LoadWorld) -> None:
    first = await world.ask()
    world.chip.online_counter += 2
    with pytest.raises(LoadOpen):
        await world.ask()
    assert world.load == first


async def test_a_card_blocked_while_the_money_was_being_held_gets_no_mac2(world: LoadWorld) -> None:
    reserve = world.ledger.reserve

    async def reserve_and_lose(load: object) -> str:
        world.set_card(state=CardState.LOST)
        return await reserve(load)  # type: ignore[arg-type]

    world.ledger.reserve = reserve_and_lose  # type: ignore[assignment, method-assign]
    with pytest.raises(LoadStateForbids):
        await world.ask()
    assert (world.load.state, world.load.evidence, world.load.mac2) == (L.REFUSED, Evidence.CARD_STATE, b"")
    assert world.ledger.total("pending") == 0


CUTS = [
    ("before the order is stored", lambda world: world.database.kill_before.add(1)),
    ("after the order is stored", lambda world: world.database.kill_after.add(1)),
    ("before the money is held", lambda world: world.ledger.kill_before.add("reserve")),
    ("after the money is held", lambda world: world.ledger.kill_after.add("reserve")),
    ("before MAC2 is stored", lambda world: world.database.kill_before.add(2)),
    ("after MAC2 is stored", lambda world: world.database.kill_after.add(2)),
]


def _heal(world: LoadWorld) -> None:
    for kills in (world.database.kill_before, world.database.kill_after, world.ledger.kill_before):
        kills.clear()
    world.ledger.kill_after.clear()


@pytest.mark.parametrize(("where", "cut"), CUTS, ids=[where for where, _ in CUTS])
async def test_a_retry_after_any_cut_gets_one_load_with_one_mac2(
    world: LoadWorld, where: str, cut: Callable[[LoadWorld], None]
) -> None:
    order = an_order(answer_a=world.chip.initialise())
    request = a_request(order)
    cut(world)
    with pytest.raises(Killed):
        await world.authorise(order, request)
    stored_mac2 = [load.mac2 for load in world.loads if load.mac2]
    _heal(world)
    world.clock.advance(SECOND)
    load = await world.authorise(order, request)
    assert load == world.load
    assert load.state is L.AUTHORISED
    assert [load.mac2] == (stored_mac2 or [load.mac2])
    assert world.ledger.reservations == {load.id: ("pending", 50_00)}
    assert world.chip.credit(load) is not None


@pytest.mark.parametrize(("where", "cut"), CUTS, ids=[where for where, _ in CUTS])
async def test_after_any_cut_without_a_retry_the_sweep_leaves_nothing_dangling(
    world: LoadWorld, where: str, cut: Callable[[LoadWorld], None]
) -> None:
    cut(world)
    with pytest.raises(Killed):
        await world.ask()
    _heal(world)
    await world.sweep()
    assert all(not load.is_final for load in world.loads), "a young load may still be retried"
    world.clock.advance(CONFIRM_WAIT + REQUEST_WAIT)
    await world.sweep()
    if where == "before the order is stored":
        assert (world.loads, world.ledger.reservations) == ([], {})
    elif where == "after MAC2 is stored":
        # The answer was lost, but it may have been given out: the money stays held until the card is seen.
        assert (world.load.state, world.ledger.total("pending")) == (L.UNCERTAIN, 50_00)
    else:
        assert (world.load.state, world.load.evidence) == (L.REFUSED, Evidence.TIMEOUT)
        assert world.ledger.total("pending") == 0
        assert world.events == []


async def test_a_retry_that_comes_after_the_sweep_is_told_to_order_anew(world: LoadWorld) -> None:
    order = an_order(answer_a=world.chip.initialise())
    request = a_request(order)
    world.ledger.away = True
    with pytest.raises(DependencyUnavailable):
        await world.authorise(order, request)
    world.ledger.away = False
    world.clock.advance(REQUEST_WAIT)
    await world.sweep()
    with pytest.raises(LoadStateForbids):
        await world.authorise(order, request)
    assert (await world.authorise(order, a_request(order))).state is L.AUTHORISED


async def test_a_call_to_the_ledger_that_outlives_the_sweep_is_not_answered_with_a_mac2(world: LoadWorld) -> None:
    reserve = world.ledger.reserve

    async def slow_reserve(load: object) -> str:
        world.ledger.reserve = reserve  # type: ignore[method-assign]
        world.clock.advance(REQUEST_WAIT)
        await world.sweep()
        return await reserve(load)  # type: ignore[arg-type]

    world.ledger.reserve = slow_reserve  # type: ignore[assignment, method-assign]
    with pytest.raises(LoadStateForbids):
        await world.ask()
    assert (world.load.state, world.load.mac2) == (L.REFUSED, b"")
    assert world.ledger.total("pending") == 0


async def test_what_the_ledger_refuses_to_hold_is_closed_only_when_no_call_can_be_under_way(world: LoadWorld) -> None:
    world.ledger.unknown_purses.add(world.card.purse)
    with pytest.raises(DependencyUnavailable):
        await world.ask()
    second = an_order(answer_a=world.chip.initialise())
    with pytest.raises(DependencyUnavailable):
        await world.authorise(second, a_request(second))
    first = world.loads[0]
    assert (first.verdict, first.evidence, first.is_final) == (Verdict.UNWRITTEN, Evidence.SUPERSEDED, False)
    world.clock.advance(REQUEST_WAIT)
    await world.sweep()
    assert all(load.state is L.REFUSED for load in world.loads)
