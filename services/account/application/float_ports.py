"""What the float needs of the world, beside what the ledger needs."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime
from typing import Protocol, TypeAlias

from services.account.application.ports import UnitOfWork
from services.account.domain.bank_statement import BankItem, BankItemOutcome, BankStatement, Reconciliation
from services.account.domain.float import DormancyRule, DormantPurse, FloatDay
from services.account.domain.purse import PurseKey


class FloatRepository(Protocol):
    """The float, day by day; dormant cards."""

    async def one_moment(self) -> None:
        """Make this transaction, which did nothing yet, see one moment of the database throughout."""
        ...

    async def hold_batches(self) -> None:
        """Keep batches of movements and issues out of the purses until this transaction ends."""
        ...

    async def head(self) -> tuple[int, datetime | None]:
        """Place and posting time of the last journal."""
        ...

    async def first_post_time(self) -> datetime | None:
        """When the first journal was posted; None in an empty book."""
        ...

    async def last_closed(self) -> date | None:
        """The newest closed day."""
        ...

    async def close_days(self, days: Sequence[date], now: datetime) -> None:
        """Fix the last journal of days that are over, in order; no later journal gets a time within them.

        Locks the book. Days closed before are left as they are.
        """
        ...

    async def place(self, day: date) -> int | None:
        """Last journal of a closed day; None when it was never closed."""
        ...

    async def untaken(self) -> list[date]:
        """Closed days that were not counted yet, oldest first."""
        ...

    async def count(self, day: date, place: int, as_of: datetime) -> FloatDay:
        """Count the purses as the book stood at a place.

        Args:
            day: The day; its rules of dormancy are in force.
            place: Last journal that counts.
            as_of: The first moment that does not count any more: ages are counted from here.
        """
        ...

    async def keep(self, found: FloatDay, now: datetime) -> None:
        """Keep a closed day as it was counted, for ever; one that is kept already stays as it is."""
        ...

    async def days(self, first: date, last: date, limit: int) -> list[FloatDay]:
        """Kept days in order, both ends included."""
        ...

    async def rules(self) -> list[DormancyRule]:
        """All rules that ever were, oldest first."""
        ...

    async def set_rule(self, rule: DormancyRule) -> None:
        """Add a rule."""
        ...

    async def put_to_sleep(self, day: date) -> tuple[int, int]:
        """Note cards that are dormant at the end of a day, and those that woke up.

        Returns:
            How many fell asleep, how many woke up.
        """
        ...

    async def list_dormant(
        self, after: int, limit: int, product: str | None, key: PurseKey | None, include_revived: bool
    ) -> list[DormantPurse]:
        """Sleeps behind a number; a card that rode in this moment is awake, noted or not."""
        ...


class BankRepository(Protocol):
    """The bank's statements, and what has no counterpart. The account is locked by whoever writes."""

    async def accounts(self) -> list[str]:
        """Accounts of which there is a statement."""
        ...

    async def find(self, account: str, day: date) -> BankStatement | None:
        """The statement of a day."""
        ...

    async def add(self, statement: BankStatement) -> None:
        """Keep a statement, for ever."""
        ...

    async def settle(self, account: str, now: datetime) -> None:
        """Match lines and entries of one reference and amount; open items of what is left, close those of the rest."""
        ...

    async def list_items(self, after: int, limit: int, account: str | None, include_closed: bool) -> list[BankItem]:
        """Items behind a number, oldest first."""
        ...

    async def get_item(self, item_id: int) -> BankItem:
        """One item, locked.

        Raises:
            BankItemUnknown: There is none.
        """
        ...

    async def end_items(self, item_ids: Sequence[int], outcome: BankItemOutcome, note: str, now: datetime) -> None:
        """Close locked, open items."""
        ...

    async def match(self, line_item: int, entry_item: int, now: datetime) -> None:
        """Make the line of one open item and the entry of another counterparts."""
        ...

    async def reconcile(self, account: str, day: date, items_max: int) -> Reconciliation:
        """Bank and book at the end of the day of the newest statement that is not behind a day."""
        ...


class FloatUnitOfWork(UnitOfWork, Protocol):
    """One transaction of the ledger that also reaches the float."""

    @property
    def floats(self) -> FloatRepository:
        """The float."""
        ...

    @property
    def bank(self) -> BankRepository:
        """The bank's statements."""
        ...


FloatTransaction: TypeAlias = Callable[[], AbstractAsyncContextManager[FloatUnitOfWork]]
