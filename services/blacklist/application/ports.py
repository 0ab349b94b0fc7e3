"""What the use cases need of the world."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from libs.runtime.requests import RequestKey
from services.blacklist.domain.chain import Change, Head
from services.blacklist.domain.entry import CardKey, Entry

T = TypeVar("T")


class Requests(Protocol):
    """Request claims of this transaction (libs/runtime/requests.py)."""

    async def claim(self, key: RequestKey) -> bool:
        """True when the request is new, False when it was answered."""
        ...

    async def first_answer(self, key: RequestKey, cls: type[T]) -> T:
        """The answer that the first request got."""
        ...

    async def answer(self, key: RequestKey, value: object) -> None:
        """Keep the answer for repetitions."""
        ...


class Outbox(Protocol):
    """Events that leave if the transaction commits."""

    async def add(self, changes: Sequence[Change]) -> None:
        """Tell the others of these changes."""
        ...


@dataclass(frozen=True, slots=True)
class ListColumns:
    """Cards of a list file as columns of equal length, in any order.

    Attributes:
        numbers: (n, 10) card numbers, BCD, each once.
        actions: (n,) 1 add, 2 delete.
        reasons: (n,) `ListReason` values.
        modes: (n,) `ListMode` values.
        effective_s: (n,) epoch seconds.
    """

    numbers: npt.NDArray[np.uint8]
    actions: npt.NDArray[np.int16]
    reasons: npt.NDArray[np.int16]
    modes: npt.NDArray[np.int16]
    effective_s: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FoldProof:
    """The stored list beside what its changes add up to.

    Attributes:
        entry_count: Cards that ever were listed.
        broken_count: Cards whose entry is not what their changes say.
        first_broken: The first of them, masked; empty when none.
        listed_count: Cards listed now.
        lost_count: Those of them that are listed for loss.
    """

    entry_count: int
    broken_count: int
    first_broken: str
    listed_count: int
    lost_count: int


class Entries(Protocol):
    """The list in the database: the truth."""

    async def head(self) -> Head:
        """The newest version."""
        ...

    async def head_for_update(self) -> Head:
        """The newest version, locked: whoever changes the list takes this lock first, and no other."""
        ...

    async def get(self, card: CardKey) -> Entry:
        """What is known of a card; an empty entry when nothing is. Change it only under `head_for_update`."""
        ...

    async def look(self, card: CardKey) -> tuple[Head, Entry]:
        """Version and entry as of one instant."""
        ...

    async def save(self, entry: Entry) -> None:
        """Keep what is known of a card."""
        ...

    async def append(self, head: Head, change: Change) -> None:
        """Make a version the newest."""
        ...

    async def list(self, after: CardKey | None, size: int, *, show_removed: bool) -> Sequence[Entry]:
        """Entries by key after one, at most `size`; never those that were not listed yet."""
        ...

    async def expired(self, at: datetime, size: int) -> Sequence[CardKey]:
        """Listed cards whose entries have come to their end, at most so many."""
        ...

    async def changes_of(self, card: CardKey) -> Sequence[Change]:
        """All changes of a card, by version."""
        ...

    async def full(self) -> tuple[Head, ListColumns]:
        """The newest version and all its cards: of each number the newest listed generation."""
        ...

    async def increment(self, base_version: int) -> tuple[Head, ListColumns]:
        """The newest version and what differs from a base version at or below it."""
        ...

    def changes(self) -> AsyncIterator[Sequence[Change]]:
        """All changes by version, thousands at a time."""
        ...

    async def prove_fold(self) -> FoldProof:
        """Compare the entries with the fold of the changes."""
        ...


class UnitOfWork(Protocol):
    """One transaction; leaving it without `commit` rolls everything back."""

    @property
    def requests(self) -> Requests:
        """Request claims."""
        ...

    @property
    def entries(self) -> Entries:
        """The list."""
        ...

    @property
    def announce(self) -> Outbox:
        """Where changes go out."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def commit(self) -> Any:
        """Make everything true at once."""
        ...


class FastCopy(Protocol):
    """A copy of the list that answers faster than the database and is never believed without its stamp."""

    async def look(self, card: CardKey, head: Head) -> tuple[Entry | None] | None:
        """The listed entry of a card at exactly this version.

        Returns:
            A tuple of the entry, or of None when the card is not listed; None instead of a tuple when the copy is
            away or holds another version.
        """
        ...
