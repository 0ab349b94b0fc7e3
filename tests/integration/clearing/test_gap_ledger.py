"""The gap ledger against a real database."""

from datetime import timedelta

from services.clearing.application.find_gaps import FindGaps, GapsFound, ListGaps
from services.clearing.application.ports import StoredGap
from services.clearing.domain.gaps import GapEnd, GapKind

from .conftest import Centre, a_batch
from .test_results_and_windows import NOON, a_city, card_number, rides


async def look(centre: Centre) -> GapsFound:
    return await FindGaps(centre.unit_of_work, centre.clock)()


async def gaps(centre: Centre, kind: GapKind, *, open_only: bool = True) -> list[StoredGap]:
    listing = ListGaps(centre.unit_of_work)
    return list(await listing(None, kind, open_only=open_only, after=0, size=100))


async def send(centre: Centre, number: int, first_seq: int, counter: int, count: int = 1) -> None:
    records = rides(centre, count, first_seq=first_seq, counter=counter)
    centre.gateway.store("bus", a_batch(records, number), NOON)
    await centre.judge_all()


async def test_missing_numbers_of_terminals_and_cards_are_found_once_and_end_when_they_come(centre: Centre) -> None:
    await a_city(centre)
    await send(centre, 1, first_seq=10, counter=0)
    await send(centre, 2, first_seq=14, counter=3)
    assert await look(centre) == GapsFound(2, 0)
    assert await look(centre) == GapsFound(0, 0)
    (terminal,) = await gaps(centre, GapKind.TERMINAL)
    assert (terminal.holder, terminal.first, terminal.last, terminal.participant) == (
        "terminals/990100000001", 11, 13, "bus",
    )  # fmt: skip
    (card,) = await gaps(centre, GapKind.CARD)
    assert (card.holder, card.first, card.last, card.participant) == (f"cards/cj-{card_number(0).hex()}", 1, 2, "")
    centre.clock.advance(timedelta(days=1))
    await send(centre, 3, first_seq=12, counter=1)
    await look(centre)
    assert [(one.first, one.last) for one in await gaps(centre, GapKind.TERMINAL)] == [(11, 11), (13, 13)]
    # What is left is as old as the whole was.
    assert {one.opened_at for one in await gaps(centre, GapKind.TERMINAL)} == {terminal.opened_at}
    await send(centre, 4, first_seq=11, counter=2)
    await look(centre)
    ended = [one.reason for one in await gaps(centre, GapKind.TERMINAL, open_only=False) if one.closed_at]
    assert ended == [GapEnd.PARTLY_FILLED, GapEnd.FILLED]
    assert await gaps(centre, GapKind.CARD) == []


async def test_a_gap_that_nobody_fills_is_closed_as_lost_after_thirty_days(centre: Centre) -> None:
    await a_city(centre)
    await send(centre, 1, first_seq=10, counter=0)
    await send(centre, 2, first_seq=12, counter=1)
    assert await look(centre) == GapsFound(1, 0)
    centre.clock.advance(timedelta(days=30))
    assert await look(centre) == GapsFound(0, 1)
    (lost,) = await gaps(centre, GapKind.TERMINAL, open_only=False)
    assert (lost.reason, lost.closed_at) == (GapEnd.LOST, centre.clock.now())
    # The terminal goes on sending; what was given up is not opened again.
    await send(centre, 3, first_seq=13, counter=2)
    assert await look(centre) == GapsFound(0, 0)


async def test_a_participant_sees_the_gaps_of_its_own_terminals(centre: Centre) -> None:
    await a_city(centre)
    await send(centre, 1, first_seq=10, counter=0)
    await send(centre, 2, first_seq=12, counter=2)
    await look(centre)
    listing = ListGaps(centre.unit_of_work)
    assert len(await listing("bus", 0, open_only=True, after=0, size=100)) == 1
    assert await listing("metro", 0, open_only=True, after=0, size=100) == []
