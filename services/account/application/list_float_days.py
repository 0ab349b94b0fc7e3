"""The float day by day: its trend."""

from datetime import date

from services.account.application.float_ports import FloatTransaction
from services.account.domain.float import FloatDay


class ListFloatDays:
    """Reads kept days."""

    def __init__(self, transaction: FloatTransaction) -> None:
        self._transaction = transaction

    async def __call__(self, first: date, last: date, limit: int) -> list[FloatDay]:
        """Kept days in order, both ends included, at most `limit`."""
        async with self._transaction() as uow:
            return await uow.floats.days(first, last, limit)
