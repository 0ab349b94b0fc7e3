"""The float over a real database: closed days stay, purses and book are two witnesses, cards sleep and wake."""

import asyncio
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from city.postgres import DatabaseUrls
from libs.testkit.clock import FakeClock
from services.account.adapters.chart_file import standard_chart
from services.account.adapters.float_unit_of_work import AccountFloatUnitOfWork
from services.account.adapters.sql_accounts import AccountIds
from services.account.application.close_float_days import CloseFloatDays
from services.account.application.get_float import GetFloat
from services.account.application.list_dormant_purses import ListDormantPurses
from services.account.application.list_float_days import ListFloatDays
from services.account.application.set_dormancy_rule import SetDormancyRule
from services.account.domain.batch import PostedBatch
from services.account.domain.errors import FloatDayClosed, FloatDayNotOver, FloatDayUnknown
from services.account.domain.float import DormantPurse, FloatDay, FloatLine
from tests.unit.account.builders import NOON, a_batch, a_key, a_load, a_posting, a_request, credit, debit, issued
from tests.unit.account.suites import Ledger

FIRST = date(2018, 9, 1)
DAY = timedelta(days=1)


class Float:
    """The float of a ledger under test."""

    def __init__(self, engine: AsyncEngine, clock: FakeClock) -> None:
        chart, remembered = standard_chart(), AccountIds()
        transaction = lambda: AccountFloatUnitOfWork(engine, chart, clock, remembered)  # noqa: E731 (one line)
        self.transaction = transaction
        self.clock = clock
        self.close = CloseFloatDays(transaction, clock, 1.0)
        self.get = GetFloat(transaction, clock)
        self.list_days = ListFloatDays(transaction)
        self.dormant_purses = ListDormantPurses(transaction)
        self.set_rule = SetDormancyRule(transaction, clock)

    async def dormant(self, **filters: bool) -> list[DormantPurse]:
        return await self.dormant_purses(0, 100, None, None, include_revived=filters.get("include_revived", False))


@pytest.fixture
def floats(engine: AsyncEngine, ledger: Ledger) -> Float:
    return Float(engine, ledger.clock)


def at(batch: PostedBatch, days: float) -> PostedBatch:
    """The same batch with its taps so many days later."""
    moved = replace(batch.movements, times_s=batch.movements.times_s + round(days * 86_400))
    return replace(batch, movements=moved)


def line(day: FloatDay, product: str = "", age: int = 0) -> FloatLine:
    (found,) = [one for one in day.lines if (one.product, one.age_days_min) == (product, age)]
    return found


async def a_day(ledger: Ledger) -> None:
    """Issues of two products, rides, a load, a refund, a fee."""
    await ledger.issue(replace(issued(a_key(1), a_key(2), opening_fen=1000, deposit_fen=500), product="adult"))
    await ledger.issue(replace(issued(a_key(3), opening_fen=300), product="student"))
    await ledger.fold_rows((a_key(1), 0, 100, 1000), (a_key(2), 0, 300, 1000), (a_key(3), 0, 50, 300))
    await ledger.post(a_load(a_key(1), 70, at=NOON + timedelta(hours=1)))
    await ledger.post(a_posting(debit("2201", 30, a_key(2)), credit("2206", 30), event="refund", reference="r"))


async def test_issued_less_used_less_refunded_is_owed_by_product_and_the_book_says_the_same(
    ledger: Ledger, floats: Float
) -> None:
    await a_day(ledger)
    found = await floats.get(None)
    assert line(found, "adult") == FloatLine("adult", 0, 2, 2070, 400, 30, 1640, 0, 0)
    assert line(found, "student") == FloatLine("student", 0, 1, 300, 50, 0, 250, 0, 0)
    assert (found.book.issued_fen, found.book.used_fen, found.book.refunded_fen) == (2370, 450, 30)
    assert (found.liability_fen, found.book.balance_fen("2201")) == (1890, 1890)
    assert found.holds
    # Deposits of 1000 and operators' 450 are owed as well; outlets owe all of it.
    assert (found.uncovered_fen, found.book.balance_fen("2202")) == (0, 1000)


async def test_a_closed_day_stays_as_it_was_whatever_comes_and_is_counted_again_to_the_same_bytes(
    ledger: Ledger, floats: Float
) -> None:
    await a_day(ledger)
    floats.clock.advance(hours=12)
    closed = await floats.close(FIRST)
    assert closed.holds
    kept = closed.canonical()
    # Late records of the same day, openings, loads, corrections, all posted after midnight.
    await ledger.fold(a_batch((a_key(1), 1, 40, 970), (a_key(2), 1, 10, 670), (a_key(9), 0, 5, 100)))
    await ledger.issue(replace(issued(a_key(4), opening_fen=700), product="adult"))
    await ledger.post(a_load(a_key(3), 90, at=NOON + timedelta(hours=2)))
    await ledger.post(a_posting(debit("2201", 7, a_key(1)), credit("2206", 7), event="refund", reference="s"))
    assert (await floats.get(FIRST)).canonical() == kept
    assert (await floats.get(FIRST, recount=True)).canonical() == kept
    assert (await floats.close(FIRST)).canonical() == kept
    now = await floats.get(None)
    assert now.holds
    assert now.liability_fen == closed.liability_fen - 55 + 700 + 90 - 7
    # The card that rode before anybody told of its issue owes.
    assert line(now).liability_fen == -5


async def test_a_clock_that_is_behind_cannot_post_into_a_closed_day(ledger: Ledger, floats: Float) -> None:
    await a_day(ledger)
    floats.clock.advance(hours=12)
    closed = await floats.close(FIRST)
    ledger.clock.set(NOON)
    late = await ledger.post(a_load(a_key(1), 5))
    assert late.post_time >= closed.as_of
    assert (await floats.get(FIRST, recount=True)).digest() == closed.digest()


async def test_days_are_closed_by_themselves_without_gaps_from_yesterday_on(ledger: Ledger, floats: Float) -> None:
    await floats.close.close_due()
    assert await floats.list_days(date.min, date.max, 10) == []
    await a_day(ledger)
    await floats.close.close_due()
    assert await floats.list_days(date.min, date.max, 10) == []
    floats.clock.advance(days=1)
    await floats.close.close_due()
    floats.clock.advance(days=3)
    await ledger.fold(at(a_batch((a_key(1), 1, 40, 970)), 4))
    await floats.close.close_due()
    await floats.close.close_due()
    days = await floats.list_days(date.min, date.max, 10)
    assert [day.day for day in days] == [FIRST + n * DAY for n in range(4)]
    assert [day.liability_fen for day in days] == [1890] * 4
    assert all(day.holds for day in days)


async def test_a_day_that_is_not_over_or_before_the_first_is_refused(ledger: Ledger, floats: Float) -> None:
    await a_day(ledger)
    with pytest.raises(FloatDayNotOver):
        await floats.close(FIRST)
    floats.clock.advance(days=2)
    await floats.close(FIRST + DAY)
    for day in (FIRST, FIRST + 2 * DAY):
        with pytest.raises(FloatDayUnknown):
            await floats.get(day)
    with pytest.raises(FloatDayUnknown):
        await floats.close(FIRST)


async def test_a_closing_that_was_killed_between_its_two_halves_is_finished_later(
    ledger: Ledger, floats: Float
) -> None:
    await a_day(ledger)
    floats.clock.advance(hours=12)
    async with floats.transaction() as uow:
        await uow.floats.close_days([FIRST], floats.clock.now())
        await uow.commit()
    await ledger.post(a_load(a_key(1), 5, at=NOON + timedelta(hours=3)))
    await floats.close.close_due()
    assert (await floats.get(FIRST)).liability_fen == 1890


async def test_closings_at_once_keep_one_day_once(ledger: Ledger, floats: Float) -> None:
    await a_day(ledger)
    floats.clock.advance(days=3)
    answers = await asyncio.gather(*(floats.close(FIRST + DAY) for _ in range(4)), return_exceptions=True)
    assert [one.digest() for one in answers if isinstance(one, FloatDay)]
    assert len(await floats.list_days(date.min, date.max, 10)) == 1


async def test_a_card_sleeps_after_its_silence_and_wakes_at_its_next_ride(ledger: Ledger, floats: Float) -> None:
    await a_day(ledger)
    await floats.set_rule("student", 30, FIRST, "citycard://administrator/li", a_request())
    floats.clock.advance(days=30)
    await ledger.fold(at(a_batch((a_key(1), 1, 40, 970)), 29.9))
    day = FIRST + 29 * DAY
    # The end of this day is 29 and a half days behind the taps: nothing sleeps.
    assert [one.dormant_count for one in (await floats.close(day)).lines] == [0, 0]
    floats.clock.advance(days=1)
    found = await floats.close(day + DAY)
    assert (line(found, "student").dormant_count, line(found, "student").dormant_fen) == (1, 250)
    assert line(found, "adult").dormant_count == 0
    (asleep,) = await floats.dormant()
    assert (asleep.key, asleep.product, asleep.since, asleep.balance_fen) == (a_key(3), "student", day + DAY, 250)
    # It wakes at once for those who look, and for good at the end of the day.
    ride = at(a_batch((a_key(3), 1, 20, 250)), 31)
    await ledger.fold(ride)
    assert await floats.dormant() == []
    floats.clock.advance(days=1)
    assert line(await floats.close(day + 2 * DAY), "student").dormant_count == 0
    (woken,) = await floats.dormant(include_revived=True)
    assert woken.revive_time is not None
    assert int(woken.revive_time.timestamp()) == int(ride.movements.times_s[0])
    # Silent again, it sleeps again: two sleeps, one of them open.
    floats.clock.advance(days=31)
    await floats.close.close_due()
    assert [one.key for one in await floats.dormant(include_revived=True)] == [a_key(3), a_key(3)]
    assert [one.revive_time for one in await floats.dormant()] == [None]


async def test_the_standard_rule_is_360_days_and_a_rule_for_closed_days_is_refused(
    ledger: Ledger, floats: Float
) -> None:
    await a_day(ledger)
    floats.clock.advance(days=360)
    last = FIRST + 360 * DAY
    assert sum(one.dormant_count for one in (await floats.close(last - DAY)).lines) == 0
    floats.clock.advance(days=1)
    found = await floats.close(last)
    assert {(one.product, one.age_days_min, one.dormant_count) for one in found.lines} == {
        ("adult", 181, 2), ("student", 181, 1),
    }  # fmt: skip
    with pytest.raises(FloatDayClosed):
        await floats.set_rule("", 10, last, "x", a_request())


async def test_cards_grow_old_by_their_last_sign_of_life(ledger: Ledger, floats: Float) -> None:
    await a_day(ledger)
    floats.clock.advance(days=40)
    await ledger.fold(at(a_batch((a_key(2), 1, 10, 670)), 39))
    found = await floats.get(None)
    assert {(one.product, one.age_days_min, one.card_count) for one in found.lines} == {
        ("adult", 0, 1), ("adult", 31, 1), ("student", 31, 1),
    }  # fmt: skip


async def test_a_purse_changed_by_hand_makes_purses_and_book_differ(
    ledger: Ledger, floats: Float, books: DatabaseUrls
) -> None:
    await a_day(ledger)
    with psycopg.connect(books.owner, autocommit=True) as connection:
        connection.execute("UPDATE purse SET loads_fen = loads_fen + 1 WHERE purse_id = 1")
    found = await floats.get(None)
    assert not found.holds
    assert found.differences == (("issued", 2371, 2370), ("liability", 1891, 1890))


@pytest.mark.parametrize(
    "table", ["float_close", "float_day", "float_line", "float_book", "dormancy_rule", "bank_line", "bank_statement"]
)
@pytest.mark.parametrize("verb", ["DELETE FROM {0}", "TRUNCATE {0}"])
def test_the_service_may_not_forget_what_was_counted(books: DatabaseUrls, table: str, verb: str) -> None:
    with psycopg.connect(books.application) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(verb.format(table))


async def test_random_days_recount_to_the_bytes_that_were_kept(ledger: Ledger, floats: Float) -> None:
    draw = np.random.default_rng(5)
    keys = [a_key(number) for number in range(1, 9)]
    counters = dict.fromkeys(keys, 0)
    for key in keys[:6]:
        await ledger.issue(replace(issued(key, opening_fen=10_000), product="adult" if key < a_key(4) else ""))
    kept = {}
    for day in range(6):
        for _ in range(4):
            rows = []
            for key in (keys[n] for n in draw.choice(len(keys), 3, replace=False)):
                rows.append((key, counters[key], int(draw.integers(1, 50)), 10_000))
                counters[key] += 1
            await ledger.fold(at(a_batch(*rows), day + float(draw.uniform(-1, 1))))
            key = keys[int(draw.integers(0, 6))]
            amount = int(draw.integers(1, 90))
            await ledger.post(a_load(key, amount, at=ledger.clock.now() - timedelta(hours=float(draw.uniform(0, 30)))))
            floats.clock.advance(hours=6)
        kept[FIRST + day * DAY] = (await floats.close(FIRST + day * DAY)).digest()
    for day, digest in kept.items():
        assert (await floats.get(day, recount=True)).digest() == digest
