"""Flows in the order in which they began."""

from services.account.application.bank_ports import BankTransaction, NumberedFlow
from services.account.domain.bank_flow import FlowState


class ListBankFlows:
    """Reads a page of flows."""

    def __init__(self, transaction: BankTransaction) -> None:
        self._transaction = transaction

    async def __call__(self, after: int, limit: int, bank: str, state: FlowState | None) -> list[NumberedFlow]:
        """Flows behind a number; only of one bank, only in one state when these are given."""
        async with self._transaction() as uow:
            return await uow.bank_flows.list_page(after, limit, bank, state)
