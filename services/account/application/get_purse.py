"""One purse."""

from services.account.application.ports import Transaction
from services.account.domain.purse import Purse, PurseKey


class GetPurse:
    """Reads one purse."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def __call__(self, key: PurseKey) -> Purse:
        """The purse.

        Raises:
            PurseUnknown: Nothing was ever heard of it.
        """
        async with self._transaction() as uow:
            return await uow.purses.get(key)
