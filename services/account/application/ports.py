"""What the ledger needs of the world. Fakes and the PostgreSQL adapters pass the same suites."""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias, TypeVar
from uuid import UUID

import numpy as np
import numpy.typing as npt

from libs.runtime.requests import RequestKey
from services.account.domain.accounts import Account, AccountChange
from services.account.domain.batch import FoldedPurses, IssuedCards, Movements, PostedBatch
from services.account.domain.book import Entry, Journal, Posting
from services.account.domain.columns import I64, Bools, KeyColumns
from services.account.domain.events import LedgerEvent
from services.account.domain.proof import Proof
from services.account.domain.purse import Purse, PurseChange, PurseKey
from services.account.domain.reservation import Reservation

T = TypeVar("T")
IdFactory: TypeAlias = Callable[[], UUID]


class Requests(Protocol):
    """Claims of request ids; `libs.runtime.requests.RequestClaims`."""

    async def claim(self, key: RequestKey) -> bool:
        """True when the request is new and ours to answer."""
        ...

    async def first_answer(self, key: RequestKey, cls: type[T]) -> T:
        """What the first one was answered."""
        ...

    async def answer(self, key: RequestKey, value: object) -> None:
        """Keep the answer for repetitions."""
        ...


class EventSink(Protocol):
    """Events that leave if the transaction commits."""

    async def add(self, events: Sequence[LedgerEvent]) -> None:
        """Write them to the outbox."""
        ...


class AccountRepository(Protocol):
    """Accounts with their balances."""

    async def get(self, name: str) -> Account:
        """One account.

        Raises:
            AccountUnknown: It was never opened.
        """
        ...

    async def list_page(
        self, after: str, limit: int, chart_numbers: Collection[str] | None = None, owner: str | None = None
    ) -> list[Account]:
        """Accounts by name, those behind `after`; only some numbers, only one owner when these are given."""
        ...

    async def lock(self, names: Collection[str], now: datetime) -> dict[str, Account]:
        """Lock accounts in the order of names, opening those that are missing; their numbers are in the chart."""
        ...

    async def change(self, changes: Sequence[AccountChange]) -> None:
        """Add to the balances of accounts that are locked."""
        ...

    async def set_limit(self, name: str, balance_limit_fen: int) -> None:
        """Change the limit of an account that is locked."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LockedPurses:
    """Purses that are locked; rows in the order of the keys given.

    Attributes:
        purse_ids: Short keys.
        counter_max: Highest offline counter before; -1 for none.
    """

    purse_ids: I64
    counter_max: I64

    def take(self, rows: npt.NDArray[np.intp]) -> "LockedPurses":
        """Some of the rows."""
        return LockedPurses(self.purse_ids[rows], self.counter_max[rows])


class PurseRepository(Protocol):
    """Purses, their openings and movements. Every lock is taken in the order of keys."""

    async def get(self, key: PurseKey) -> Purse:
        """One purse.

        Raises:
            PurseUnknown: Nothing was ever heard of it.
        """
        ...

    async def lock(self, keys: Sequence[PurseKey]) -> None:
        """Lock a few purses, given in order.

        Raises:
            PurseUnknown: Naming the first that does not exist.
        """
        ...

    async def change(self, changes: Sequence[PurseChange]) -> None:
        """Add to purses that are locked."""
        ...

    async def lock_columns(self, keys: KeyColumns) -> LockedPurses:
        """Lock many purses, given in order and each once; those not heard of yet are created empty."""
        ...

    async def seen(self, purse_ids: I64, counters: I64) -> Bools:
        """Which pairs of purse and counter were folded before."""
        ...

    async def fold(self, locked: LockedPurses, folded: FoldedPurses) -> None:
        """Add what a batch brought to locked purses; the printed balance moves only to a higher counter."""
        ...

    async def add_movements(self, batch_number: int, purse_ids: I64, movements: Movements) -> None:
        """Keep the movements of a batch, for ever."""
        ...

    async def unopened(self, locked: LockedPurses) -> Bools:
        """Which of the purses have no opening yet."""
        ...

    async def open(self, locked: LockedPurses, cards: IssuedCards, journal: UUID | None) -> None:
        """Add the openings of purses that are locked and unopened."""
        ...


class BatchRepository(Protocol):
    """Which batches were folded."""

    async def claim(self, batch: PostedBatch, journal: UUID | None, now: datetime) -> int | None:
        """Take a batch for this transaction; a concurrent taker is waited for.

        Returns:
            Its short number, or None when a committed transaction folded it.
        """
        ...


class JournalRepository(Protocol):
    """The book."""

    async def post(self, journal_id: UUID, posting: Posting, post_time: datetime) -> Journal:
        """Write a journal at the next place of the book. The book stays locked until the transaction ends: post last.

        Its accounts and purses are locked, so they exist.
        """
        ...

    async def posted(self, event: str, reference: str) -> bool:
        """Whether a journal of this event and reference stands; for events that may post once per reference."""
        ...

    async def list_entries(self, account: str, after: tuple[int, int], limit: int) -> list[Entry]:
        """Entries of an account behind (sequence, leg number), oldest first."""
        ...


class ReservationRepository(Protocol):
    """Reservations."""

    async def add(self, reservation: Reservation) -> None:
        """Keep a new one; its accounts and purses are locked.

        Raises:
            RequestIdReused: Another caller's request has the same id.
        """
        ...

    async def get(self, reservation_id: UUID) -> Reservation:
        """One reservation.

        Raises:
            ReservationUnknown: There is none.
        """
        ...

    async def get_for_update(self, reservation_id: UUID) -> Reservation:
        """The same, locked before anything else of the transaction.

        Raises:
            ReservationUnknown: There is none.
        """
        ...

    async def resolve(self, reservation: Reservation, now: datetime) -> None:
        """Write the final state of one that is locked."""
        ...

    async def due(self, now: datetime, limit: int) -> list[UUID]:
        """Pending ones whose time ran out, oldest first; nothing is locked."""
        ...


class ProofReader(Protocol):
    """Recomputes the books from their rows."""

    async def prove(self, clock_tolerance_s: float) -> Proof:
        """Look at one moment of the database and compare what is kept with what the rows say.

        Args:
            clock_tolerance_s: How far clocks of terminals may be off, seconds (`domain.proof`).
        """
        ...


class UnitOfWork(Protocol):
    """One transaction. Locks are taken in one order: reservation, purses, accounts, book."""

    @property
    def requests(self) -> Requests:
        """Claims of request ids."""
        ...

    @property
    def events(self) -> EventSink:
        """Events that leave."""
        ...

    @property
    def accounts(self) -> AccountRepository:
        """Accounts."""
        ...

    @property
    def purses(self) -> PurseRepository:
        """Purses."""
        ...

    @property
    def batches(self) -> BatchRepository:
        """Folded batches."""
        ...

    @property
    def journals(self) -> JournalRepository:
        """The book."""
        ...

    @property
    def reservations(self) -> ReservationRepository:
        """Reservations."""
        ...

    @property
    def proofs(self) -> ProofReader:
        """The proof."""
        ...

    async def commit(self) -> None:
        """Make everything true at once."""
        ...


# Leaving the block without `commit` rolls everything back.
Transaction: TypeAlias = Callable[[], AbstractAsyncContextManager[UnitOfWork]]
