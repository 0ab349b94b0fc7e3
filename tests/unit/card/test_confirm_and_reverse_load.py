"""The second half of a top-up: proof, reversal, and the cuts in between."""

import asyncio
from collections.abc import Callable

import pytest

from libs.errors import DependencyUnavailable, NotYours, RequestMalformed
from services.card.application.get_load import GetLoad
from services.card.application.ports import LedgerDisagrees
from services.card.domain.errors import LoadStateForbids, LoadUnknown, LoadWasWritten, TacWrong
from services.card.domain.load import Evidence, LoadState, Verdict
from tests.unit.card.fakes import Killed
from tests.unit.card.world import CONFIRM_WAIT, LoadWorld

L = LoadState


@pytest.fixture
def world() -> LoadWorld:
    return LoadWorld()


async def _written(world: LoadWorld) -> tuple[str, bytes]:
    load = await world.ask()
    tac = world.chip.credit(load)
    assert tac is not None
    return load.id, tac


async def test_a_tac_books_the_money_and_is_told_once(world: LoadWorld) -> None:
    load_id, tac = await _written(world)
    for _ in range(2):
        load = await world.confirm(load_id, tac, "north")
        assert (load.state, load.evidence, load.tac) == (L.CONFIRMED, Evidence.TAC, tac)
    assert world.ledger.total("committed") == 50_00
    assert [type(event).__name__ for event in world.events] == ["LoadConfirmed"]


async def test_a_tac_that_comes_twice_at_once_is_booked_and_told_once(world: LoadWorld) -> None:
    load_id, tac = await _written(world)
    loads = await asyncio.gather(*(world.confirm(load_id, tac, None) for _ in range(3)), world.settle(load_id))
    assert {load.state for load in loads[:3]} == {L.CONFIRMED}
    assert world.ledger.calls.count("commit") > 1, "or the twins never met and this test says nothing"
    assert [type(event).__name__ for event in world.events] == ["LoadConfirmed"]


async def test_a_wrong_tac_books_nothing_and_the_right_one_still_does(world: LoadWorld) -> None:
    load_id, tac = await _written(world)
    with pytest.raises(TacWrong):
        await world.confirm(load_id, b"\0\0\0\0", None)
    assert (world.load.verdict, world.ledger.total("committed")) == (None, 0)
    assert (await world.confirm(load_id, tac, None)).state is L.CONFIRMED


async def test_a_late_tac_confirms_an_uncertain_load(world: LoadWorld) -> None:
    load_id, tac = await _written(world)
    world.clock.advance(CONFIRM_WAIT)
    assert await world.sweep() == 1
    assert world.load.state is L.UNCERTAIN
    assert world.ledger.total("pending") == 50_00
    assert (await world.confirm(load_id, tac, None)).state is L.CONFIRMED


async def test_9302_gives_the_money_back_once(world: LoadWorld) -> None:
    load = await world.ask()
    for _ in range(2):
        assert (await world.reverse(load.id, b"\x93\x02", False, "north")).state is L.REVERSED
    assert world.ledger.total("voided") == 50_00
    assert [type(event).__name__ for event in world.events] == ["LoadReversed"]


async def test_silence_reverses_nothing(world: LoadWorld) -> None:
    load = await world.ask()
    with pytest.raises(RequestMalformed):
        await world.reverse(load.id, b"", False, None)
    assert world.load == load


async def test_a_confirmed_load_is_not_reversed_and_a_reversed_one_not_confirmed(world: LoadWorld) -> None:
    load_id, tac = await _written(world)
    await world.confirm(load_id, tac, None)
    with pytest.raises(LoadStateForbids):
        await world.reverse(load_id, b"\x93\x02", True, None)
    second = await world.ask()
    await world.reverse(second.id, b"", True, None)
    with pytest.raises(LoadStateForbids):
        await world.confirm(second.id, b"\0\0\0\0", None)
    assert (world.ledger.total("committed"), world.ledger.total("voided")) == (50_00, 50_00)


async def test_a_load_that_the_counter_proved_says_so_to_who_would_reverse_it(world: LoadWorld) -> None:
    load_id, _ = await _written(world)
    await world.ask()
    with pytest.raises(LoadWasWritten):
        await world.reverse(load_id, b"", True, None)


async def test_another_outlet_neither_sees_nor_moves_it(world: LoadWorld) -> None:
    load_id, tac = await _written(world)
    with pytest.raises(NotYours):
        await world.confirm(load_id, tac, "south")
    with pytest.raises(NotYours):
        await world.reverse(load_id, b"\x93\x02", False, "south")
    with pytest.raises(NotYours):
        await GetLoad(world.database)(load_id, "south")
    assert (await GetLoad(world.database)(load_id, None)).id == load_id


async def test_an_unknown_load_is_refused(world: LoadWorld) -> None:
    with pytest.raises(LoadUnknown):
        await world.confirm("nothing", b"\0\0\0\0", None)
    with pytest.raises(LoadUnknown):
        await world.reverse("nothing", b"\x93\x02", False, None)


async def test_a_proof_that_came_while_the_ledger_was_away_is_booked_by_the_sweep(world: LoadWorld) -> None:
    load_id, tac = await _written(world)
    world.ledger.away = True
    with pytest.raises(DependencyUnavailable):
        await world.confirm(load_id, tac, None)
    with pytest.raises(LoadWasWritten):
        await world.reverse(load_id, b"\x93\x02", True, None)
    assert await world.sweep() == 0
    world.ledger.away = False
    assert await world.sweep() == 1
    assert (world.load.state, world.ledger.total("committed")) == (L.CONFIRMED, 50_00)


async def test_a_reversal_that_came_while_the_ledger_was_away_stands(world: LoadWorld) -> None:
    load = await world.ask()
    world.ledger.away = True
    with pytest.raises(DependencyUnavailable):
        await world.reverse(load.id, b"\x93\x02", False, None)
    world.ledger.away = False
    with pytest.raises(LoadStateForbids):
        await world.confirm(load.id, b"\0\0\0\0", None)
    await world.sweep()
    assert (world.load.state, world.ledger.total("voided")) == (L.REVERSED, 50_00)


CUTS: list[tuple[str, Callable[[LoadWorld], object]]] = [
    ("before the evidence is stored", lambda world: world.database.kill_before.add(world.database.commits + 1)),
    ("after the evidence is stored", lambda world: world.database.kill_after.add(world.database.commits + 1)),
    ("before the ledger hears", lambda world: world.ledger.kill_before.update({"commit", "void"})),
    ("after the ledger heard", lambda world: world.ledger.kill_after.update({"commit", "void"})),
    ("before the end is stored", lambda world: world.database.kill_before.add(world.database.commits + 2)),
    ("after the end is stored", lambda world: world.database.kill_after.add(world.database.commits + 2)),
]


@pytest.mark.parametrize(("where", "cut"), CUTS, ids=[where for where, _ in CUTS])
@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("retried", [True, False])
async def test_after_any_cut_the_load_ends_as_its_evidence_says_and_is_told_once(
    world: LoadWorld, where: str, cut: Callable[[LoadWorld], object], written: bool, retried: bool
) -> None:
    load = await world.ask()
    tac = world.chip.credit(load) if written else None

    async def tell() -> None:
        if tac is not None:
            await world.confirm(load.id, tac, None)
        else:
            await world.reverse(load.id, b"\x93\x02", False, None)

    cut(world)
    with pytest.raises(Killed):
        await tell()
    for kills in (world.database.kill_before, world.database.kill_after):
        kills.clear()
    world.ledger.kill_before.clear()
    world.ledger.kill_after.clear()
    if retried:
        await tell()
    else:
        await world.sweep()
        if where == "before the evidence is stored":
            assert world.load.verdict is None
            # Nobody told us anything: the card's next sight will.
            await world.ask(10_00)
    ended = world.database.tables.loads[load.id]
    assert ended.state is (L.CONFIRMED if written else L.REVERSED)
    assert world.ledger.reservations[load.id][0] == ("committed" if written else "voided")
    assert [type(event).__name__ for event in world.events] == ["LoadConfirmed" if written else "LoadReversed"]


async def test_a_reservation_ended_behind_our_back_stays_open_and_does_not_stop_the_others(world: LoadWorld) -> None:
    load_id, tac = await _written(world)
    world.ledger.reservations[load_id] = ("voided", 50_00)
    with pytest.raises(LedgerDisagrees):
        await world.confirm(load_id, tac, None)
    assert (await world.ask()).state is L.AUTHORISED, "the customer has nothing to do with it"
    world.clock.advance(CONFIRM_WAIT)
    assert await world.sweep() == 1
    assert (world.loads[0].verdict, world.loads[0].is_final) == (Verdict.WRITTEN, False)
