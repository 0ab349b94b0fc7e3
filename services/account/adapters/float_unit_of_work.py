"""The transaction of the float: that of the ledger, with two repositories more."""

from services.account.adapters.sql_bank_statements import PostgresBank
from services.account.adapters.sql_float import PostgresFloat
from services.account.adapters.unit_of_work import AccountUnitOfWork


class AccountFloatUnitOfWork(AccountUnitOfWork):
    """`FloatUnitOfWork`."""

    floats: PostgresFloat
    bank: PostgresBank

    async def _open(self) -> None:
        await super()._open()
        self.floats = PostgresFloat(self.connection, self._chart)
        self.bank = PostgresBank(self.connection)
