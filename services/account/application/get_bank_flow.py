"""One flow."""

from uuid import UUID

from services.account.application.bank_ports import BankTransaction
from services.account.domain.bank_flow import BankFlow


class GetBankFlow:
    """Reads a flow."""

    def __init__(self, transaction: BankTransaction) -> None:
        self._transaction = transaction

    async def __call__(self, flow_id: UUID) -> BankFlow:
        """The flow as it is now.

        Raises:
            BankFlowUnknown: There is none.
        """
        async with self._transaction() as uow:
            return await uow.bank_flows.get(flow_id)
