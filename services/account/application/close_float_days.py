"""Closes days of the float: their last journal is fixed, their purses are counted, and both are kept for ever."""

import asyncio
from datetime import date, timedelta

from libs.clock import Clock
from libs.runtime.logging import get_logger
from services.account.application.float_ports import FloatTransaction, FloatUnitOfWork
from services.account.domain.errors import FloatDayNotOver, FloatDayUnknown
from services.account.domain.float import FloatDay, city_day, day_end

log = get_logger("citycard.account")


class CloseFloatDays:
    """Closes what is over, day after day; killed anywhere, it goes on where it stopped.

    Args:
        transaction: Of the ledger with its float.
        clock: Tells which days are over.
        period_s: Pause between looks, seconds.
    """

    def __init__(self, transaction: FloatTransaction, clock: Clock, period_s: float) -> None:
        self._transaction = transaction
        self._clock = clock
        self._period_s = period_s

    async def run(self) -> None:
        """Close yesterday, and what was missed before it, until cancelled."""
        while True:
            await self.close_due()
            await asyncio.sleep(self._period_s)

    async def close_due(self) -> None:
        """Close every day that is over, from the newest closed one on; the first one ever is yesterday.

        Days before the first journal have nothing to close.
        """
        yesterday = city_day(self._clock.now()) - timedelta(days=1)
        async with self._transaction() as uow:
            last = await uow.floats.last_closed()
            first_post = await uow.floats.first_post_time()
            untaken = await uow.floats.untaken()
        due = last is None or last < yesterday
        if (due and first_post is not None and first_post < day_end(yesterday)) or untaken:
            await self._close_until(yesterday, last)

    async def __call__(self, day: date) -> FloatDay:
        """Close a day by hand, with those between it and the newest closed one.

        Returns:
            The day as it was kept, now or before.

        Raises:
            FloatDayNotOver: The day is not over.
            FloatDayUnknown: It is before the first day that was closed.
        """
        today = city_day(self._clock.now())
        if day >= today:
            raise FloatDayNotOver(day=day, today=today)
        async with self._transaction() as uow:
            last = await uow.floats.last_closed()
        await self._close_until(day, last)
        async with self._transaction() as uow:
            found = await uow.floats.days(day, day, 1)
        if not found:
            raise FloatDayUnknown(day=day)
        return found[0]

    async def _close_until(self, day: date, last: date | None) -> None:
        first = day if last is None else last + timedelta(days=1)
        days = [first + timedelta(days=n) for n in range((day - first).days + 1)]
        async with self._transaction() as counting:
            # Batches wait for the seconds of counting, so that none comes between the close and the count; callers do
            # not wait: the book is locked for a moment only, by a transaction of its own.
            await counting.floats.hold_batches()
            if days:
                async with self._transaction() as closing:
                    await closing.floats.close_days(days, self._clock.now())
                    await closing.commit()
            taken = await self._take(counting)
            await counting.commit()
        for found in taken:
            (log.info if found.holds else log.error)(
                "account.float_day_closed",
                day=found.day.isoformat(),
                liability_fen=found.liability_fen,
                holds=found.holds,
                uncovered_fen=found.uncovered_fen,
            )
            await self._after(found.day)

    async def _take(self, uow: FloatUnitOfWork) -> list[FloatDay]:
        """Count the days that are closed and not counted yet."""
        taken = []
        for day in await uow.floats.untaken():
            place = await uow.floats.place(day)
            assert place is not None, "a closed day has a place"
            found = await uow.floats.count(day, place, day_end(day))
            await uow.floats.keep(found, self._clock.now())
            taken.append(found)
        return taken

    async def _after(self, day: date) -> None:
        """What a day's end brings: cards fall asleep, and late journals meet the bank's lines."""
        now = self._clock.now()
        async with self._transaction() as uow:
            asleep, revived = await uow.floats.put_to_sleep(day)
            await uow.commit()
        async with self._transaction() as uow:
            for account in await uow.bank.accounts():
                await uow.accounts.lock([account], now)
                await uow.bank.settle(account, now)
            await uow.commit()
        log.info("account.dormancy_noted", day=day.isoformat(), asleep_count=asleep, revived_count=revived)
