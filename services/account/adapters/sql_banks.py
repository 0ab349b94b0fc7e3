"""Banks and what their days have used, in PostgreSQL."""

from datetime import date
from typing import Any

from services.account.adapters.driver import Driver, Row
from services.account.domain.bank import Bank
from services.account.domain.bank_errors import BankUnknown

_COLUMNS = (
    "participant, address, settlement_account, currency, operation_limit_fen, day_limit_fen, cut_off, holidays,"
    " make_up_days, works_weekends, call_timeout_s, patience_s, suspended"
)
_GET = f"SELECT {_COLUMNS} FROM bank WHERE participant = %(participant)s"
_LIST = f"SELECT {_COLUMNS} FROM bank WHERE participant > %(after)s ORDER BY participant LIMIT %(limit)s"
_NAMES = _COLUMNS.split(", ")
_SAVE = (
    f"INSERT INTO bank ({_COLUMNS}) VALUES ({', '.join(f'%({name})s' for name in _NAMES)})"
    f" ON CONFLICT (participant) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _NAMES[1:])}"
)
_USE = (
    "INSERT INTO bank_day AS day (participant, business_date, used_fen) VALUES (%(participant)s, %(date)s, %(amount)s)"
    " ON CONFLICT (participant, business_date) DO UPDATE SET used_fen = day.used_fen + excluded.used_fen"
    " RETURNING used_fen"
)
_GIVE_BACK = (
    "UPDATE bank_day SET used_fen = used_fen + %(amount)s WHERE participant = %(participant)s"
    " AND business_date = %(date)s RETURNING used_fen"
)


class PostgresBanks:
    """`BankRepository` of one transaction."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def get(self, participant: str) -> Bank:
        """See the port."""
        rows = await self._driver.fetch(_GET, {"participant": participant})
        if not rows:
            raise BankUnknown(bank=participant)
        return _bank(rows[0])

    async def save(self, bank: Bank) -> None:
        """See the port."""
        values: dict[str, Any] = {name: getattr(bank, name) for name in _NAMES}
        values |= {"holidays": sorted(bank.holidays), "make_up_days": sorted(bank.make_up_days)}
        await self._driver.execute(_SAVE, values)

    async def list_page(self, after: str, limit: int) -> list[Bank]:
        """See the port."""
        return [_bank(row) for row in await self._driver.fetch(_LIST, {"after": after, "limit": limit})]

    async def use(self, participant: str, business_date: date, amount_fen: int) -> int:
        """See the port."""
        values = {"participant": participant, "date": business_date, "amount": amount_fen}
        ((used,),) = await self._driver.fetch(_USE if amount_fen > 0 else _GIVE_BACK, values)
        return int(used)


def _bank(row: Row) -> Bank:
    values = dict(zip(_NAMES, row, strict=True))
    values |= {"holidays": frozenset(values["holidays"]), "make_up_days": frozenset(values["make_up_days"])}
    return Bank(**values)
