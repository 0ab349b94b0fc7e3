"""What every implementation of the port `Entries` keeps; run against the fake and against PostgreSQL."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from services.blacklist.application.change_list import change_list
from services.blacklist.application.ports import UnitOfWork
from services.blacklist.domain.entry import CardKey, Entry, Listing, ListMode, ListReason
from tests.unit.blacklist.fakes import DAY, NOON, a_card

Database = Callable[[], UnitOfWork]
COURT = Listing(ListReason.COURT, ListMode.REFUSE, NOON + DAY, NOON)
WATCHED = Listing(ListReason.COURT, ListMode.IGNORE, NOON, NOON)


async def change(lists: Database, card: CardKey, decide: Callable[[Entry], Entry], hours: int = 0) -> Entry:
    async with lists() as uow:
        entry = await change_list(uow, card, NOON + timedelta(hours=hours), decide)
        await uow.commit()
    return entry


class EntriesSuite:
    """Provide the fixture `lists`: an empty list behind units of work."""

    async def test_nothing_is_known_of_a_card_never_heard_of(self, lists: Database) -> None:
        async with lists() as uow:
            assert await uow.entries.get(a_card()) == Entry(a_card())
            head, entry = await uow.entries.look(a_card())
        assert (head.version, entry) == (0, Entry(a_card()))

    async def test_what_is_not_committed_never_was(self, lists: Database) -> None:
        async with lists() as uow:
            await change_list(uow, a_card(), NOON, lambda entry: entry.decide(COURT))
        async with lists() as uow:
            assert (await uow.entries.head()).version == 0
            assert await uow.entries.get(a_card()) == Entry(a_card())

    async def test_an_entry_comes_back_as_it_was_saved(self, lists: Database) -> None:
        listed = await change(lists, a_card(), lambda entry: entry.decide(COURT))
        removed = await change(lists, a_card(), lambda entry: entry.remove(NOON + DAY), hours=1)
        remembered = await change(lists, a_card(2), lambda entry: entry.cancel_loss(NOON), hours=2)
        assert (listed.added_version, listed.changed_version) == (1, 1)
        async with lists() as uow:
            assert await uow.entries.get(a_card()) == removed
            assert await uow.entries.get(a_card(2)) == remembered
            assert (await uow.entries.head()).version == removed.removed_version == 2

    async def test_pages_hold_listed_cards_and_removed_ones_when_asked(self, lists: Database) -> None:
        for serial in range(5):
            await change(lists, a_card(serial), lambda entry: entry.decide(COURT))
        await change(lists, a_card(3), lambda entry: entry.remove(NOON))
        await change(lists, a_card(9), lambda entry: entry.cancel_loss(NOON))

        async def cards(**asked: Any) -> list[CardKey]:
            async with lists() as uow:
                return [entry.card for entry in await uow.entries.list(**asked)]

        assert await cards(after=None, size=3, show_removed=False) == [a_card(0), a_card(1), a_card(2)]
        assert await cards(after=a_card(2), size=9, show_removed=False) == [a_card(4)]
        assert await cards(after=a_card(2), size=9, show_removed=True) == [a_card(3), a_card(4)]

    async def test_full_and_increment_agree_for_every_base(self, lists: Database) -> None:
        steps: list[tuple[CardKey, Callable[[Entry], Entry]]] = [
            (a_card(1), lambda entry: entry.decide(COURT)),
            (a_card(2), lambda entry: entry.report_loss(NOON, NOON + DAY)),
            (a_card(1, 2), lambda entry: entry.report_loss(NOON, NOON + 2 * DAY)),
            (a_card(2), lambda entry: entry.decide(COURT)),
            (a_card(1), lambda entry: entry.remove(NOON + DAY)),
            (a_card(2), lambda entry: entry.remove(NOON + DAY)),
            (a_card(1, 2), lambda entry: entry.cancel_loss(NOON + DAY)),
            (a_card(2), lambda entry: entry.decide(COURT)),
            (a_card(3), lambda entry: entry.decide(WATCHED)),
            (a_card(2, 2), lambda entry: entry.decide(WATCHED)),
            (a_card(3), lambda entry: entry.decide(COURT)),
        ]
        states: list[dict[bytes, tuple[int, ...]]] = [{}]
        for hours, (card, decide) in enumerate(steps):
            await change(lists, card, decide, hours)
            async with lists() as uow:
                _, columns = await uow.entries.full()
            states.append({number: row[1:] for number, row in _rows(columns).items()})
        for base in range(1, len(steps)):
            async with lists() as uow:
                head, columns = await uow.entries.increment(base)
            assert head.version == len(steps)
            applied = dict(states[base])
            for number, (action, *what) in _rows(columns).items():
                if action == 1:
                    assert applied.get(number) != tuple(what)
                    applied[number] = tuple(what)
                else:
                    del applied[number]
            assert applied == states[-1]

    async def test_history_and_proof_hold_after_any_changes(self, lists: Database) -> None:
        await change(lists, a_card(), lambda entry: entry.report_loss(NOON, NOON + DAY))
        await change(lists, a_card(2), lambda entry: entry.decide(COURT), hours=1)
        await change(lists, a_card(), lambda entry: entry.cancel_loss(NOON + DAY), hours=2)
        async with lists() as uow:
            history = await uow.entries.changes_of(a_card())
            assert [(one.version, one.added) for one in history] == [(1, True), (3, False)]
            every = [one.version async for page in uow.entries.changes() for one in page]
            assert every == [1, 2, 3]
            proof = await uow.entries.prove_fold()
        assert (proof.entry_count, proof.broken_count, proof.listed_count, proof.lost_count) == (2, 0, 1, 0)


def _rows(columns: Any) -> dict[bytes, tuple[int, ...]]:
    return {
        bytes(number): (int(action), int(reason), int(mode), int(effective))
        for number, action, reason, mode, effective in zip(
            columns.numbers, columns.actions, columns.reasons, columns.modes, columns.effective_s, strict=True
        )
    }
