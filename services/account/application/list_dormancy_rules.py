"""The rules of dormancy."""

from services.account.application.float_ports import FloatTransaction
from services.account.domain.float import DormancyRule


class ListDormancyRules:
    """Lists all rules that ever were."""

    def __init__(self, transaction: FloatTransaction) -> None:
        self._transaction = transaction

    async def __call__(self) -> list[DormancyRule]:
        """Oldest first; of two rules of one product the later one holds from its first day on."""
        async with self._transaction() as uow:
            return await uow.floats.rules()
