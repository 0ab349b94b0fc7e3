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
from services.account.application.wallet_ports import WalletBooks
from services.account.domain.accounts import Account, AccountChange
from services.account.domain.batch import IssuedCards, Movements, PostedBatch
from services.account.domain.book import Entry, Journal, NewJournal, TimeAxis
from services.account.domain.columns import I64, Bools, KeyColumns
from services.account.domain.events import LedgerEvent
from services.account.domain.folding import Findings, FoldedPurses, ItemKind, PurseItem, Runs
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


class Claims(Protocol):
    """Claims of many requests at once, for postings that share a transaction."""

    async def digests(self, keys: Sequence[RequestKey]) -> dict[RequestKey, bytes]:
        """Of requests that were answered before: the digest of what was asked then."""
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

    async def find(self, names: Collection[str]) -> dict[str, Account]:
        """Those of several accounts that were opened, by name; nothing is locked."""
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

    async def set_limits(self, name: str, balance_limit_fen: int, overdraft_fen: int | None) -> None:
        """Change limit and overdraft of an account that is locked; no overdraft means no floor."""
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


@dataclass(frozen=True, slots=True, eq=False)
class Repeats:
    """Movements under counters that were there before.

    Attributes:
        purse_ids: Short keys.
        counters: The counter of each.
        amounts_fen: What was taken again.
    """

    purse_ids: I64
    counters: I64
    amounts_fen: I64


class PurseRepository(Protocol):
    """Purses, their openings and movements. Every lock is taken in the order of keys."""

    async def get(self, key: PurseKey) -> Purse:
        """One purse.

        Raises:
            PurseUnknown: Nothing was ever heard of it.
        """
        ...

    async def lock(self, keys: Sequence[PurseKey]) -> set[PurseKey]:
        """Lock a few purses, given in order; returns those that exist."""
        ...

    async def change(self, changes: Sequence[PurseChange]) -> None:
        """Add to purses that are locked."""
        ...

    async def lock_columns(self, keys: KeyColumns) -> LockedPurses:
        """Take many purses, given in order and each once, for this transaction; those not heard of yet are created.

        One transaction at a time holds many; a transaction that locks several by `lock` waits for it.
        """
        ...

    async def fold_runs(self, keys: KeyColumns, found: Runs, tolerance_s: float) -> tuple[I64, I64]:
        """Add runs to those purses that they go on with: unbroken ones that begin behind the highest counter.

        Takes the purses as `lock_columns` does; what is left out goes there.

        Args:
            keys: Given in order and each once.
            found: What the batch holds of them.
            tolerance_s: How far clocks of terminals may be off.

        Returns:
            The short key of each purse, 0 for those left out; and short keys of those whose book and card do not
            agree at once, or did not before: they want to be compared.
        """
        ...

    async def ids(self, keys: Sequence[PurseKey]) -> I64:
        """Short keys of purses that are locked."""
        ...

    async def seen(self, purse_ids: I64, counters: I64) -> Bools:
        """Which pairs of purse and counter were folded before."""
        ...

    async def fold(self, locked: LockedPurses, folded: FoldedPurses, tolerance_s: float) -> I64:
        """Add what a batch brought to locked purses; the printed balance moves only to a higher counter.

        Returns:
            Short keys of those whose book and card do not agree at once, or did not before: they want to be compared.
        """
        ...

    async def note_counters(
        self, batch_number: int, locked: LockedPurses, found: Findings, repeats: Repeats, now: datetime
    ) -> None:
        """Open items of gaps and repetitions, and close or shorten gaps that late records fill."""
        ...

    async def compare(self, purse_ids: I64, tolerance_s: float, now: datetime, batch_number: int | None = None) -> int:
        """Compare book and card of purses that the transaction holds, and open or close their balance items.

        Left out are purses with a gap, with a load in doubt, and those that never printed a balance. A balance that
        loads and repetitions explain closes the item; one that they do not opens it, or brings it up to date.

        Args:
            purse_ids: Which.
            tolerance_s: How far clocks of terminals may be off.
            now: The time of opening and closing.
            batch_number: Which batch showed it.

        Returns:
            How many are not explained.
        """
        ...

    async def list_items(
        self, after: int, limit: int, open_only: bool, kind: ItemKind | None, key: PurseKey | None
    ) -> list[PurseItem]:
        """Items behind a number, oldest first."""
        ...

    async def get_item(self, item_id: int) -> PurseItem:
        """One item, locked.

        Raises:
            ItemUnknown: There is none.
        """
        ...

    async def close_item(self, item_id: int, note: str, now: datetime) -> None:
        """Close a locked, open item by a person's decision."""
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

    async def claim(self, batch: PostedBatch, journal: UUID | None, detail: bytes, now: datetime) -> int | None:
        """Take a batch for this transaction; a concurrent taker is waited for.

        Args:
            batch: Which.
            journal: Id of the journal that will post it; None when no money moved.
            detail: Digest of its movements.
            now: When it is folded.

        Returns:
            Its short number, or None when a committed transaction folded it.
        """
        ...


class JournalRepository(Protocol):
    """The book."""

    async def post(self, journals: Sequence[NewJournal], now: datetime) -> list[Journal]:
        """Write journals at the next places of the book, in order.

        The book stays locked until the transaction ends: post last. Their accounts and purses are locked, so they
        exist. Posting times never go back along the book: a clock that is behind the last journal takes its time.
        """
        ...

    async def get(self, which: UUID | int) -> Journal:
        """A journal by its id or its place in the book.

        Raises:
            JournalUnknown: There is none.
        """
        ...

    async def list_page(self, after: int, limit: int, reference: str) -> list[Journal]:
        """Journals behind a place of the book; only of one reference when it is given."""
        ...

    async def sums_as_of(self, account: str, at: datetime, axis: TimeAxis) -> tuple[int, int]:
        """Debits and credits of an account up to a moment, which itself counts."""
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


# The claims of a group of postings with their answers, once the journals have their places.
AnswersOf: TypeAlias = Callable[[Sequence[Journal]], Sequence[tuple[RequestKey, object]]]


@dataclass(frozen=True, slots=True)
class PostingGroup:
    """What a group of postings writes.

    Attributes:
        purse_changes: One per purse, in the order of keys.
        account_changes: One per account, in the order of names.
        journals: In the order of their places.
    """

    purse_changes: Sequence[PurseChange]
    account_changes: Sequence[AccountChange]
    journals: Sequence[NewJournal]


class Postings(Protocol):
    """Postings that wait together: locked in one step, written and committed in another."""

    async def lock(
        self, purses: Sequence[PurseKey], names: Collection[str], now: datetime
    ) -> tuple[set[PurseKey], dict[str, Account]]:
        """Lock purses, accounts and the book, in this order, opening accounts that are missing.

        Args:
            purses: In the order of keys.
            names: Of accounts, whose numbers are in the chart.
            now: When accounts are opened.

        Returns:
            The purses that exist, and all accounts by name.
        """
        ...

    async def commit(self, group: PostingGroup, now: datetime, answers_of: AnswersOf) -> list[Journal] | None:
        """Write a group whose purses and accounts are locked, claim its requests, and commit.

        Returns:
            The journals in their places; None, and nothing written, when another transaction was faster with one of
            the requests. The transaction is over either way.
        """
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
    def claims(self) -> Claims:
        """Claims of many requests at once."""
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
    def wallet_books(self) -> WalletBooks:
        """Wallets, their rules and debits."""
        ...

    @property
    def postings(self) -> Postings:
        """Postings that wait together."""
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
