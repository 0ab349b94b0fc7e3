"""What every store of the card service must do; the one in memory and the one in PostgreSQL pass the same suite.

A class that runs it gives the fixture `unit_of_work`: opens a transaction on an empty store.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from libs.errors import RequestIdReused
from services.card.application.ports import CardFilter, LoadFilter, OpenUnitOfWork, StockLevel
from services.card.domain.batch import StockRow, group_issue
from services.card.domain.card import Card
from services.card.domain.errors import CardExists, CardUnknown, LoadUnknown, ProductUnknown
from services.card.domain.events import CardLossReported
from services.card.domain.holder import Holder
from services.card.domain.load import Evidence, Load, LoadState, Verdict
from services.card.domain.product import ProductKind
from services.card.domain.states import CardState, Verb
from tests.unit.card.fakes import (
    ISSUER,
    NOON,
    NUMBER,
    FakeChip,
    a_delivery,
    a_number,
    a_product,
    a_request,
    an_order,
)

WAIT = timedelta(seconds=60)


async def stocked(unit_of_work: OpenUnitOfWork, count: int = 3, **delivery: Any) -> list[str]:
    numbers = [a_number(serial) for serial in range(count)]
    async with unit_of_work() as uow:
        await uow.cards.receive(numbers, a_delivery(**delivery), NOON)
        await uow.commit()
    return numbers


async def an_active_card(unit_of_work: OpenUnitOfWork) -> Card:
    async with unit_of_work() as uow:
        await uow.cards.receive([NUMBER], a_delivery(), NOON)
        card = await uow.cards.get_for_update(NUMBER)
        card, _ = card.issue(a_product(), outlet="north", with_holder=True, at=NOON, today=NOON.date())
        await uow.cards.save(card, Verb.ISSUE)
        await uow.commit()
    return card


class ProductRepositorySuite:
    async def test_an_unknown_name_is_refused(self, unit_of_work: OpenUnitOfWork) -> None:
        async with unit_of_work() as uow:
            with pytest.raises(ProductUnknown):
                await uow.products.get("adult")
            with pytest.raises(ProductUnknown):
                await uow.products.get_many(["adult"])

    async def test_versions_count_from_one_per_name_and_the_newest_is_answered(
        self, unit_of_work: OpenUnitOfWork
    ) -> None:
        async with unit_of_work() as uow:
            added = [await uow.products.add(a_product(version=0, validity_days=days)) for days in (10, 20)]
            other = await uow.products.add(a_product(name="staff", version=0, kind=ProductKind.STAFF))
            await uow.commit()
        assert [(product.version, product.validity_days) for product in added] == [(1, 10), (2, 20)]
        assert other == a_product(name="staff", version=1, kind=ProductKind.STAFF)
        async with unit_of_work() as uow:
            assert await uow.products.get("adult") == added[1]
            assert await uow.products.get_many(["adult", "staff"]) == {"adult": added[1], "staff": other}
            assert list(await uow.products.page("", 1)) == [added[1]]
            assert list(await uow.products.page("adult", 5)) == [other]

    async def test_two_authors_at_once_get_two_versions(self, unit_of_work: OpenUnitOfWork) -> None:
        async def write() -> int:
            async with unit_of_work() as uow:
                product = await uow.products.add(a_product(version=0))
                await asyncio.sleep(0.01)
                await uow.commit()
                return product.version

        assert sorted(await asyncio.gather(write(), write(), write())) == [1, 2, 3]


class CardRepositorySuite:
    async def test_an_unknown_number_is_refused(self, unit_of_work: OpenUnitOfWork) -> None:
        async with unit_of_work() as uow:
            with pytest.raises(CardUnknown):
                await uow.cards.get("jt-" + "0" * 20)
            with pytest.raises(CardUnknown):
                await uow.cards.get_for_update("jt-" + "0" * 20)

    async def test_what_came_to_stock_is_a_stocked_card(self, unit_of_work: OpenUnitOfWork) -> None:
        (number,) = await stocked(unit_of_work, 1)
        async with unit_of_work() as uow:
            card = await uow.cards.get(number)
        assert (card.state, card.outlet, card.product, card.issuer_id) == (CardState.STOCK, "north", "adult", ISSUER)
        assert (card.generation, card.key_version, card.algorithm_id) == (1, 1, 0)
        assert (card.create_time, card.issue_time, card.expiry_date, card.registered) == (NOON, None, None, False)

    async def test_nothing_of_a_transaction_without_commit_remains(self, unit_of_work: OpenUnitOfWork) -> None:
        async with unit_of_work() as uow:
            await uow.cards.receive([NUMBER], a_delivery(), NOON)
        async with unit_of_work() as uow:
            with pytest.raises(CardUnknown):
                await uow.cards.get(NUMBER)

    async def test_the_first_known_number_of_a_delivery_is_named(self, unit_of_work: OpenUnitOfWork) -> None:
        await stocked(unit_of_work, 3)
        async with unit_of_work() as uow:
            with pytest.raises(CardExists) as refused:
                await uow.cards.receive([a_number(9), a_number(2), a_number(0)], a_delivery(), NOON)
        assert refused.value.facts == {"card": a_number(2)}

    async def test_a_saved_card_is_read_as_it_was_saved(self, unit_of_work: OpenUnitOfWork) -> None:
        card = await an_active_card(unit_of_work)
        async with unit_of_work() as uow:
            assert await uow.cards.get(NUMBER) == card

    async def test_pages_go_by_number_and_keep_to_their_filter(self, unit_of_work: OpenUnitOfWork) -> None:
        numbers = await stocked(unit_of_work, 4)
        async with unit_of_work() as uow:
            await uow.cards.receive([a_number(7)], a_delivery(outlet="south", product="staff"), NOON)
            lost = replace(await uow.cards.get_for_update(numbers[1]), state=CardState.LOST_STOCK)
            await uow.cards.save(lost, Verb.REPORT_STOCK_LOSS)
            await uow.commit()

        async def page(after: str = "", limit: int = 10, **wanted: Any) -> list[str]:
            async with unit_of_work() as uow:
                return [card.number for card in await uow.cards.page(CardFilter(**wanted), after, limit)]

        assert await page(limit=2) == numbers[:2]
        assert await page(after=numbers[1], limit=2) == numbers[2:]
        assert await page(state=CardState.LOST_STOCK) == [numbers[1]]
        assert await page(state=CardState.STOCK, outlet="north") == [numbers[0], *numbers[2:]]
        assert await page(product="staff") == await page(outlet="south") == [a_number(7)]

    async def test_a_batch_is_locked_known_and_issued_in_columns(self, unit_of_work: OpenUnitOfWork) -> None:
        numbers = await stocked(unit_of_work, 3)
        product = a_product(version=4, deposit_fen=0, price_fen=15_00)
        async with unit_of_work() as uow:
            stock = await uow.cards.stock_for_update([*numbers, a_number(99)])
            assert stock == dict.fromkeys(numbers, StockRow(1, CardState.STOCK, "north", "adult", ISSUER, 1, 0))
            (group,) = group_issue(numbers, [1, 2, 3], stock, {"adult": product})
            await uow.cards.issue(group, at=NOON, start=NOON.date())
            await uow.commit()
        async with unit_of_work() as uow:
            cards = [await uow.cards.get(number) for number in numbers]
        assert [card.opening_fen for card in cards] == [1, 2, 3]
        for card in cards:
            assert (card.state, card.product_version, card.price_fen, card.deposit_fen) == (
                CardState.ACTIVE,
                4,
                15_00,
                0,
            )
            assert (card.start_date, card.expiry_date) == (NOON.date(), product.expiry(NOON.date()))
            assert (card.issue_time, card.state_time) == (NOON, NOON)

    async def test_a_holder_belongs_to_one_life_of_a_card(self, unit_of_work: OpenUnitOfWork) -> None:
        card = await an_active_card(unit_of_work)
        holder = Holder("王小明", "00", "440301199001011234")
        async with unit_of_work() as uow:
            assert await uow.holders.get(card) is None
            await uow.holders.put(card, holder)
            await uow.commit()
        async with unit_of_work() as uow:
            assert await uow.holders.get(card) == holder
            assert await uow.holders.get(replace(card, generation=2)) is None


class StockRepositorySuite:
    async def test_counts_add_up_by_outlet_and_product(self, unit_of_work: OpenUnitOfWork) -> None:
        async with unit_of_work() as uow:
            await uow.stock.change("north", "adult", stock=5, issued=0)
            level = await uow.stock.change("north", "adult", stock=-2, issued=2)
            await uow.stock.change("south", "adult", stock=1, issued=0)
            await uow.commit()
        assert level == StockLevel("north", "adult", 3, 2)
        south = StockLevel("south", "adult", 1, 0)
        async with unit_of_work() as uow:
            assert list(await uow.stock.page(None, ("", ""), 10)) == [level, south]
            assert list(await uow.stock.page(None, ("north", "adult"), 10)) == [south]
            assert list(await uow.stock.page("south", ("", ""), 10)) == [south]
            assert list(await uow.stock.page(None, ("", ""), 1)) == [level]


class LoadRepositorySuite:
    async def test_an_unknown_load_is_refused_whatever_its_form(self, unit_of_work: OpenUnitOfWork) -> None:
        for load_id in (str(uuid4()), "-" * 36):
            async with unit_of_work() as uow:
                with pytest.raises(LoadUnknown):
                    await uow.loads.get(load_id)
                with pytest.raises(LoadUnknown):
                    await uow.loads.get_for_update(load_id)

    async def test_a_load_is_read_as_it_was_saved_in_every_state(self, unit_of_work: OpenUnitOfWork) -> None:
        await an_active_card(unit_of_work)
        load = Load.requested(str(uuid4()), an_order(), 1, NOON)
        async with unit_of_work() as uow:
            await uow.loads.add(load)
            await uow.commit()
        authorised = load.authorised(mac2=b"MAC2", reservation="reservations/1", host_time=NOON, wait=WAIT)
        final, _ = authorised.proven(b"TAC!").settled(NOON + WAIT)
        for state in (load, authorised, authorised.timed_out(), authorised.proven(b"TAC!"), final):
            async with unit_of_work() as uow:
                await uow.loads.get_for_update(load.id)
                await uow.loads.save(state)
                await uow.commit()
            async with unit_of_work() as uow:
                assert await uow.loads.get(load.id) == state

    async def test_open_loads_of_a_card_are_those_that_are_not_final(self, unit_of_work: OpenUnitOfWork) -> None:
        await an_active_card(unit_of_work)
        final = Load.requested(str(uuid4()), an_order(), 1, NOON).refused(Evidence.TIMEOUT, NOON)
        decided = Load.requested(str(uuid4()), an_order(), 1, NOON).given_up(Evidence.TIMEOUT)
        waiting = Load.requested(str(uuid4()), an_order(), 1, NOON + WAIT)
        async with unit_of_work() as uow:
            for load in (final, decided, waiting):
                await uow.loads.add(load)
            await uow.commit()
        async with unit_of_work() as uow:
            assert list(await uow.loads.open_of_card_for_update(NUMBER)) == [decided, waiting]
            assert list(await uow.loads.open_of_card_for_update(a_number(5))) == []

    async def test_the_last_sight_of_a_card_is_its_highest_counter(self, unit_of_work: OpenUnitOfWork) -> None:
        await an_active_card(unit_of_work)
        chip = FakeChip()
        first = an_order(answer_a=chip.initialise())
        async with unit_of_work() as uow:
            sight = await uow.loads.sight(first, 1)
            assert (sight.counter_min, sight.answer_known) == (0, False)
            load = Load.requested(str(uuid4()), first, 1, NOON)
            await uow.loads.add(load)
            sight = await uow.loads.sight(first, 1)
            assert (sight.counter_min, sight.answer_known) == (7, False)
            load = load.authorised(mac2=b"MAC2", reservation="r", host_time=NOON, wait=WAIT)
            await uow.loads.save(load)
            assert not (await uow.loads.sight(first, 1)).answer_known
            await uow.loads.save(load.disproven(b"\x93\x02", card_unchanged=False))
            sight = await uow.loads.sight(first, 1)
            assert (sight.counter_min, sight.answer_known) == (7, True)
            await uow.loads.save(load.proven(b"TAC!"))
            assert (await uow.loads.sight(an_order(answer_a=chip.initialise()), 1)).counter_min == 8
            assert (await uow.loads.sight(first, 2)).counter_min == 0

    async def test_pages_go_from_the_newest_and_keep_to_their_filter(self, unit_of_work: OpenUnitOfWork) -> None:
        await an_active_card(unit_of_work)
        await stocked(unit_of_work, 1)
        loads = [
            Load.requested(str(uuid4()), an_order(), 1, NOON + step * WAIT).refused(Evidence.TIMEOUT, NOON)
            for step in range(3)
        ]
        other = Load.requested(str(uuid4()), an_order(card=a_number(0)), 1, NOON + 9 * WAIT)
        async with unit_of_work() as uow:
            for load in (*loads, other):
                await uow.loads.add(load)
            await uow.commit()

        async def page(before: Load | None = None, limit: int = 10, **wanted: Any) -> list[Load]:
            key = (before.create_time, before.id) if before else None
            async with unit_of_work() as uow:
                return list(await uow.loads.page(LoadFilter(**wanted), key, limit))

        assert await page(limit=2) == [other, loads[2]]
        assert await page(before=loads[2]) == [loads[1], loads[0]]
        assert await page(card=NUMBER) == loads[::-1]
        assert await page(state=LoadState.REQUESTED) == [other]

    async def test_due_is_what_is_late_silent_or_decided(self, unit_of_work: OpenUnitOfWork) -> None:
        await an_active_card(unit_of_work)
        await stocked(unit_of_work, 4)
        later = NOON + 2 * WAIT

        def asked(serial: int, at: Any = NOON) -> Load:
            return Load.requested(str(uuid4()), an_order(card=a_number(serial)), 1, at)

        def given(serial: int, wait: timedelta) -> Load:
            return asked(serial).authorised(mac2=b"MAC2", reservation="r", host_time=NOON, wait=wait)

        late, young = asked(0), asked(1, at=later)
        silent, patient = given(2, WAIT), given(3, 4 * WAIT)
        decided = Load.requested(str(uuid4()), an_order(), 1, NOON + WAIT).given_up(Evidence.SUPERSEDED)
        final = Load.requested(str(uuid4()), an_order(), 1, NOON).refused(Evidence.TIMEOUT, NOON)
        async with unit_of_work() as uow:
            for load in (late, young, silent, patient, decided, final):
                await uow.loads.add(load)
            await uow.commit()
        async with unit_of_work() as uow:
            due = await uow.loads.due(requested_before=NOON + WAIT, now=later, limit=10)
            assert {*due} == {late.id, silent.id, decided.id}
            assert due[-1] == decided.id
            assert len(await uow.loads.due(requested_before=NOON + WAIT, now=later, limit=2)) == 2

    async def test_a_verdict_is_kept_beside_the_state(self, unit_of_work: OpenUnitOfWork) -> None:
        await an_active_card(unit_of_work)
        load = Load.requested(str(uuid4()), an_order(), 1, NOON).given_up(Evidence.SUPERSEDED)
        async with unit_of_work() as uow:
            await uow.loads.add(load)
            found = await uow.loads.get(load.id)
        assert (found.state, found.verdict) == (LoadState.REQUESTED, Verdict.UNWRITTEN)


class RequestSuite:
    async def test_a_claim_is_answered_once_and_bound_to_its_content(self, unit_of_work: OpenUnitOfWork) -> None:
        card = await an_active_card(unit_of_work)
        request = a_request("content")
        async with unit_of_work() as uow:
            assert await uow.requests.claim(request)
            await uow.requests.answer(request, card)
            await uow.events.add([CardLossReported(NUMBER, 1, NOON)])
            await uow.commit()
        async with unit_of_work() as uow:
            assert not await uow.requests.claim(request)
            assert await uow.requests.first_answer(request, Card) == card
            with pytest.raises(RequestIdReused):
                await uow.requests.claim(replace(request, digest=b"other"))
