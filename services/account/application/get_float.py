"""The float of a closed day, or of this moment."""

from datetime import date, timedelta

from libs.clock import Clock
from services.account.application.float_ports import FloatTransaction
from services.account.domain.errors import FloatDayUnknown
from services.account.domain.float import FloatDay, city_day, day_end


class GetFloat:
    """Reads the float."""

    def __init__(self, transaction: FloatTransaction, clock: Clock) -> None:
        self._transaction = transaction
        self._clock = clock

    async def __call__(self, day: date | None, *, recount: bool = False) -> FloatDay:
        """The float of a day as it was kept, or counted anew.

        Args:
            day: A closed day; None counts this moment.
            recount: Count the purses again as the book stood then, instead of reading what was kept: the same bytes,
                unless somebody changed history.

        Raises:
            FloatDayUnknown: The day was never closed.
        """
        async with self._transaction() as uow:
            await uow.floats.one_moment()
            if day is None:
                place, last_time = await uow.floats.head()
                now = self._clock.now()
                # Closing a day moves the book's clock on, and what is posted now counts: behind both.
                as_of = max(now, last_time or now) + timedelta(microseconds=1)
                return await uow.floats.count(city_day(now), place, as_of)
            kept = await uow.floats.days(day, day, 1)
            place_of_day = await uow.floats.place(day)
            if not kept or place_of_day is None:
                raise FloatDayUnknown(day=day)
            return await uow.floats.count(day, place_of_day, day_end(day)) if recount else kept[0]
