"""What publishing lists and following them to the terminals needs of the world."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from libs.cardlist import Entries
from services.blacklist.application.ports import UnitOfWork
from services.blacklist.domain.chain import Head
from services.blacklist.domain.delays import I64, Counts
from services.blacklist.domain.entry import CardKey, Entry
from services.blacklist.domain.rows import KindHead, ListKind, Row, RowChange


class Kinds(Protocol):
    """The lists of ranges, staff and issuers."""

    async def heads(self) -> Sequence[KindHead]:
        """The newest versions, by number of the list."""
        ...

    async def head_for_update(self, kind: ListKind) -> KindHead:
        """The newest version, locked: whoever changes the list takes this lock first."""
        ...

    async def rows(self, kind: ListKind) -> Sequence[Row]:
        """All rows by key."""
        ...

    async def page(self, kind: ListKind, after: bytes, size: int) -> Sequence[Row]:
        """Rows by key after one."""
        ...

    async def some(self, kind: ListKind, keys: Sequence[bytes]) -> Sequence[Row]:
        """Those rows of some keys that there are."""
        ...

    async def expired(self, at: datetime, size: int) -> Sequence[tuple[ListKind, bytes]]:
        """Rows whose end has come, at most so many."""
        ...

    async def history(self, kind: ListKind, key: bytes) -> Sequence[RowChange]:
        """All changes of a row, by version."""
        ...

    async def histories_of_ranges(self, number: bytes) -> Sequence[Sequence[RowChange]]:
        """All changes of each range that ever covered a number (10 bytes BCD)."""
        ...

    def versions(self) -> AsyncIterator[tuple[KindHead, Sequence[RowChange]]]:
        """Every version of every list with its changes, by list and version."""
        ...

    async def append(self, head: KindHead, changes: Sequence[RowChange]) -> None:
        """Make a version the newest and change the rows."""
        ...


@dataclass(frozen=True, slots=True)
class Publication:
    """A version that has files.

    Attributes:
        kind: Which list.
        version: Its version.
        chain_hash: 32 bytes.
        row_count: Rows of the version.
        settled_until_s: Of its whole file, epoch seconds.
        publish_time: When.
        header: Header of its whole file, 224 bytes.
    """

    kind: ListKind
    version: int
    chain_hash: bytes
    row_count: int
    settled_until_s: int
    publish_time: datetime
    header: bytes


@dataclass(frozen=True, slots=True)
class Artefact:
    """A published file, without its bytes.

    Attributes:
        kind: Which list.
        version: After the file.
        base_version: 0: the whole list.
        entry_count_max: What it was cut to; 0: not cut.
        left_out_count: Entries that were cut.
        size_bytes: Its length.
        sha256: 32 bytes.
    """

    kind: ListKind
    version: int
    base_version: int
    entry_count_max: int
    left_out_count: int
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Ranking:
    """What stays in a list that is cut: see `ListRanking` of the contract.

    Attributes:
        reasons: Most dangerous first.
        home_prefixes: First 8 digits of the numbers met most.
    """

    reasons: tuple[int, ...]
    home_prefixes: tuple[str, ...]


class FilesProof(Protocol):
    """Files held against what they say of themselves."""

    async def prove_files(self) -> tuple[int, int, str]:
        """Publications whose hash is not that of their version, and files whose bytes are not theirs.

        Returns:
            How many were looked at, how many are broken, and the first of these.
        """
        ...


class Files(FilesProof, Protocol):
    """Publications and their files, and the blacklist as columns of compact entries."""

    async def only_publisher(self) -> bool:
        """Take the publisher's lock of this transaction; False when another process has it."""
        ...

    async def newest(self, kind: ListKind) -> Publication | None:
        """The newest publication."""
        ...

    async def publication(self, kind: ListKind, version: int) -> Publication | None:
        """The publication of a version."""
        ...

    async def publish(self, publication: Publication) -> None:
        """Say that a version has files."""
        ...

    async def stamp(self, publication: Publication, counts: Counts) -> None:
        """Stamp the journeys of the entries that a publication of the blacklist brings; counts the hops up to it."""
        ...

    async def keep(self, artefact: Artefact, data: bytes, at: datetime) -> None:
        """Keep a file; one that is kept already stays as it is."""
        ...

    async def artefact(self, kind: ListKind, version: int, base_version: int, entry_count_max: int) -> Artefact | None:
        """A kept file."""
        ...

    async def read(self, artefact: Artefact, offset: int, size: int) -> bytes | None:
        """Bytes of a kept file; None when it was dropped meanwhile."""
        ...

    async def drop_old(self, before: datetime) -> int:
        """Drop files of versions that are not the newest, made before a moment; returns how many."""
        ...

    async def all_entries(self) -> tuple[Head, Entries]:
        """The newest version and all its entries."""
        ...

    async def net(self, base_version: int, version: int) -> tuple[Entries, Entries]:
        """What a version puts in and takes out of an earlier one, by card and generation."""
        ...

    async def ranked(self, version: int, ranking: Ranking, size: int) -> Entries:
        """The entries of a version that the ranking lets stay, at most so many."""
        ...

    async def ranking(self) -> Ranking:
        """The ranking in force."""
        ...

    async def set_ranking(self, ranking: Ranking) -> None:
        """Another ranking."""
        ...

    async def announce(self, publication: Publication, base_version: int) -> None:
        """Tell the others of a publication, if this transaction commits."""
        ...


@dataclass(frozen=True, slots=True)
class Journey:
    """See `EntryJourney` of the contract."""

    entry: Entry
    version: int
    report_time: datetime
    version_time: datetime
    publish_time: datetime | None
    liability_time: datetime | None
    fetch_time: datetime | None
    first_offer_time: datetime | None
    first_acknowledge_time: datetime | None
    last_acknowledge_time: datetime | None
    acknowledge_count: int
    waiting_count: int


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the newest publication got.

    Attributes:
        terminal_count: Terminals heard of.
        current_count: Those that have the newest published version.
        oldest_version: Oldest that one has; 0 when none was heard of.
    """

    terminal_count: int
    current_count: int
    oldest_version: int


@dataclass(frozen=True, slots=True)
class Words:
    """What terminals said of one list; columns of equal length.

    Attributes:
        terminals: (n, 6) terminal numbers, BCD.
        versions: (n,) what each has in force.
        offered_ms: (n,) when it got it, `NOT_YET` where not known.
        acknowledged_ms: (n,) when it said so.
    """

    terminals: bytes
    versions: I64
    offered_ms: I64
    acknowledged_ms: I64


@dataclass(frozen=True, slots=True)
class Hit:
    """How often a card was met; see `EntryHits` of the contract."""

    card: CardKey
    generation: int
    locked_count: int
    refused_count: int
    passed_count: int
    first_time: datetime
    last_time: datetime
    last_terminal_number: str


@dataclass(frozen=True, slots=True)
class Met:
    """Cards that were met; columns of equal length.

    Attributes:
        numbers: Card numbers, 10 bytes BCD each.
        generations: (n,) 0 not known.
        outcomes: (n,) 1 locked, 2 refused, 3 let through.
        times_s: (n,) epoch seconds.
        terminals: Terminal numbers, 6 bytes BCD each.
    """

    numbers: bytes
    generations: I64
    outcomes: I64
    times_s: I64
    terminals: bytes


class Journeys(Protocol):
    """The way of entries to the terminals, and what was met there."""

    async def fetched(self, version: int, at: datetime, counts: Counts) -> None:
        """The gateway holds a published version, and with it all before; counts what it holds for the first time."""
        ...

    async def said(self, kind: ListKind, words: Words, counts: Counts) -> int:
        """Terminals have versions in force; counts the delays, returns how many words were news."""
        ...

    async def count(self, day: date, counts: Counts) -> None:
        """Add delays to those of a day."""
        ...

    async def delays(self, first: date, last: date) -> Sequence[tuple[int, I64, I64]]:
        """Of each hop that was measured: number, buckets ascending, counts."""
        ...

    async def reach(self, kind: ListKind) -> Reach:
        """How far the newest publication got."""
        ...

    async def journey(self, card: CardKey) -> Journey | None:
        """The way of one entry; None when the card was never listed."""
        ...

    async def met(self, met: Met) -> int:
        """Count cards that were met; returns how many of these words are about cards listed now."""
        ...

    async def hits(self, after: tuple[bytes, int], size: int) -> Sequence[Hit]:
        """Cards that were met, by number and generation after one."""
        ...

    async def hit(self, card: CardKey) -> Hit | None:
        """How often one was met; None never. A word that knew no generation counts for generation 0."""
        ...


class KindsUnitOfWork(UnitOfWork, Protocol):
    """One transaction over all lists."""

    @property
    def kinds(self) -> Kinds:
        """Ranges, staff, issuers."""
        ...


class ListsUnitOfWork(KindsUnitOfWork, Protocol):
    """One transaction over all lists, their files and journeys."""

    @property
    def files(self) -> Files:
        """Publications."""
        ...

    @property
    def journeys(self) -> Journeys:
        """The way to the terminals."""
        ...
