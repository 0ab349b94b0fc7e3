"""Cards that fell asleep (睡眠卡)."""

from services.account.application.float_ports import FloatTransaction
from services.account.domain.float import DormantPurse
from services.account.domain.purse import PurseKey


class ListDormantPurses:
    """Lists sleeps, in the order in which they were noted."""

    def __init__(self, transaction: FloatTransaction) -> None:
        self._transaction = transaction

    async def __call__(
        self, after: int, limit: int, product: str | None, key: PurseKey | None, *, include_revived: bool
    ) -> list[DormantPurse]:
        """Sleeps behind a number; only of a product or a purse when it is given."""
        async with self._transaction() as uow:
            return await uow.floats.list_dormant(after, limit, product, key, include_revived)
