"""What clearing's use cases need of the world."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import UUID

from google.protobuf.message import Message

from libs.records import otr
from services.clearing.domain.audit import Deviations, FarePack
from services.clearing.domain.gaps import Gap
from services.clearing.domain.judgement import I64, Judgement, Known
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import Position, PostingLine
from services.clearing.domain.statement import Statement
from services.clearing.domain.terms import Terms

RECEIVED, JUDGED, REFUSED = 1, 2, 3
"""States of a file, the numbers of `FileState`."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A stored upload as the gateway tells it.

    Attributes:
        participant: Id of the participant whose certificate sent it.
        sha256: Of the file, 32 bytes.
        sequence: Position in the gateway's journal.
    """

    participant: str
    sha256: bytes
    sequence: int
    size_bytes: int
    stored_at: datetime
    sender_institution: str
    batch_number: int
    record_count: int
    total_fen: int


@dataclass(frozen=True, slots=True)
class Share:
    """Which participants' files a worker takes (docs/adr/0061-shards-by-participant.md).

    Attributes:
        number: From 0.
        of: How many workers there are.
    """

    number: int
    of: int


WHOLE = Share(0, 1)
"""One worker takes everything."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file as clearing keeps it.

    Attributes:
        id: Surrogate; 0 before it is stored.
        codes: One byte per record judged so far: its first result code.
        reference_first: Clearing reference of record 0.
        result_number: Batch number of its RS file; 0 before it is judged.
        settlement_dates: Day on which records of each participant (surrogate) in it settled.
    """

    id: int
    participant: str
    sha256: bytes
    state: int
    file_code: int
    stored_at: datetime
    sender_institution: str
    batch_number: int
    business_date: date | None
    record_count: int
    total_fen: int
    settlement_date: date | None
    settlement_dates: Mapping[int, date]
    judged_count: int
    codes: bytes
    reference_first: int
    result_number: int
    judged_at: datetime | None

    @property
    def name(self) -> str:
        """Resource name."""
        return f"participants/{self.participant}/files/{self.sha256.hex()}"


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record that took its keys."""

    terminal_number: int
    terminal_seq: int
    jt: bool
    card_number: bytes
    generation: int
    participant: str
    kind: int
    amount_fen: int
    list_price_fen: int
    code: int
    card_counter: int
    balance_before_fen: int
    transaction_s: int
    settlement_date: date
    file: str
    file_index: int
    reference: int


@dataclass(frozen=True, slots=True)
class WindowRow:
    """One window: open while `closed_at` is None."""

    participant: str
    settlement_date: date
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class RegistryCounts:
    """What clearing has heard of."""

    cards: int
    terminals: int
    blacklist_version: int
    open_files: int
    open_records: int
    unfolded_batches: int


class Requests(Protocol):
    """Request claims of the runtime."""

    async def claim(self, key: Any) -> bool: ...
    async def first_answer(self, key: Any, cls: type[Any]) -> Any: ...
    async def answer(self, key: Any, value: object) -> None: ...


class EventsOut(Protocol):
    """Outbox of the runtime."""

    async def add(self, events: Sequence[Message]) -> list[UUID]: ...


class Participants(Protocol):
    """Participants and the rules of issuers and industries."""

    async def find(self, participant: str) -> Participant | None: ...
    async def by_institution(self, institution_id: str, operator_number: int) -> Participant | None: ...
    async def add(self, participant: Participant) -> Participant:
        """Store a new one; its `number` is set in the answer."""
        ...

    async def all(self) -> list[Participant]: ...
    async def page(self, after: str | None, size: int) -> list[Participant]: ...
    async def register_issuer_key(self, issuer_id: str, key_version: int, algorithm_id: int) -> None: ...
    async def set_industry_limit(self, industry: int, effective_at: datetime, limit_fen: int) -> None: ...


class Registries(Protocol):
    """What the other services told."""

    async def counts(self) -> RegistryCounts: ...


class Files(Protocol):
    """Files and their verdicts."""

    async def note(self, upload: Upload) -> bool:
        """Remember an upload to be judged; False when it was known."""
        ...

    async def find(self, participant: str, sha256: bytes) -> StoredFile | None: ...
    async def next_open(self, size: int, share: Share) -> list[StoredFile]:
        """Oldest files of a share that are not judged, locked for this transaction; others work on those skipped."""
        ...

    async def batch_number_holder(self, file: StoredFile) -> StoredFile | None:
        """Another file, not refused, that holds this file's sender and batch number."""
        ...

    async def begin(self, file: StoredFile, business_date: date) -> StoredFile:
        """Give a file that will be judged its clearing references."""
        ...

    async def refuse(self, file: StoredFile, file_code: int, at: datetime) -> StoredFile: ...
    async def add_codes(
        self, file: StoredFile, codes: bytes, settlement_dates: Mapping[int, date], at: datetime
    ) -> StoredFile:
        """Append verdicts; the file is judged when every record has one."""
        ...

    async def page(
        self, participant: str | None, state: int, after: tuple[str, int] | None, size: int
    ) -> list[StoredFile]: ...
    async def open_stored_at(self, participant: str) -> list[datetime]:
        """When each file of a participant that is not judged was accepted."""
        ...

    async def first_unseen_sequence(self) -> int:
        """First position of the gateway's journal, which has no holes, that is not known here."""
        ...


class Postings(Protocol):
    """The bulk path: columns in, columns out, set by set."""

    async def look_up(
        self,
        records: otr.Records,
        digests: Any,
        times_s: I64,
        received_s: I64,
        senders: Sequence[Participant],
        sender_of: I64,
        *,
        first: bool,
    ) -> Known:
        """What the centre knows about each record.

        Args:
            records: (n,) OTR in the order of taking.
            digests: (n,) V16.
            times_s: (n,) epoch seconds.
            received_s: (n,) epoch seconds.
            senders: Participants that sent the files of the set.
            sender_of: (n,) index into `senders`.
            first: First verdicts leave grey records open; later ones ask what became of them.
        """
        ...  # fmt: skip

    async def open_window(self, participant: int, first: date) -> date:
        """The first open window of a participant on or after a day, held open until this transaction ends."""
        ...

    async def add_records(
        self, records: otr.Records, digests: Any, times_s: I64, known: Known, judgement: Judgement, file_ids: I64,
        file_indexes: I64, participants: I64, settlement_day: I64, at: datetime,
    ) -> None: ...  # fmt: skip

    async def add_batch(
        self, batch_id: UUID, positions: Sequence[Position], lines: Sequence[PostingLine], movement_count: int,
        movement_total_fen: int, at: datetime,
    ) -> None: ...  # fmt: skip

    async def take_waiting(self, size: int, at: datetime) -> list[tuple[StoredFile, int, bytes, bytes]]:
        """Records that may be decided now: file, index in it, digest and the 128 bytes; locked for this transaction."""
        ...

    async def close_waiting(self, decided: Mapping[bytes, int], at: datetime) -> None:
        """Close waiting records by digest with their final code."""
        ...

    async def expire_grey(self, opened_before: datetime, at: datetime) -> int:
        """Close grey records that waited since before an instant; how many."""
        ...


@dataclass(frozen=True, slots=True)
class StoredDeviation:
    """A record that was charged otherwise; `kind` is a `DeviationKind`."""

    terminal_number: int
    terminal_seq: int
    card: str
    kind: int
    rule_id: int
    industry: int
    card_main_type: int
    list_price_fen: int
    amount_fen: int
    expected_fen: int
    settlement_date: date


@dataclass(frozen=True, slots=True)
class DeviationSum:
    """Deviations of one kind at one rule, terminal or card."""

    kind: int
    key: str
    record_count: int
    amount_fen: int
    expected_fen: int


class Audits(Protocol):
    """Fare packs and what was charged otherwise."""

    async def packs(self) -> list[FarePack]: ...
    async def add_pack(self, participant: int, effective_at: datetime, document: Mapping[str, Any]) -> int | None:
        """Store a pack; None when another begins at the same instant for the same participant (0: for all)."""
        ...

    async def pack_at(self, participant: int, effective_at: datetime) -> tuple[int, Mapping[str, Any]] | None: ...
    async def add_deviations(
        self, records: otr.Records, found: Deviations, card: I64, participant: I64, settlement_day: I64
    ) -> None: ...
    async def page(
        self, participant: int, day: date | None, kind: int, after: tuple[int, int] | None, size: int
    ) -> list[StoredDeviation]: ...
    async def sums(self, participant: int, day: date | None, by: str) -> list[DeviationSum]:
        """By kind and `rule`, `terminal` or `card`."""
        ...


@dataclass(frozen=True, slots=True)
class StoredGap:
    """One row of the gap ledger; `reason` is a `GapEnd`, 0 while `closed_at` is None."""

    id: int
    kind: int
    holder: str
    first: int
    last: int
    participant: str
    opened_at: datetime
    closed_at: datetime | None
    reason: int


class Gaps(Protocol):
    """The gap ledger."""

    async def since(self) -> int:
        """The last file that was looked at, locked for this transaction."""
        ...

    async def looked(self) -> None:
        """Everything that is judged has been looked at."""
        ...

    async def missing(self, since: int, at: datetime) -> list[Gap]:
        """What is missing of the counters with records of files after one."""
        ...

    async def open(self, since: int, lost_before: datetime) -> tuple[list[Gap], list[Gap]]:
        """Open gaps of these counters; and those of others that were opened before an instant."""
        ...

    async def add(self, gaps: Sequence[Gap]) -> None: ...
    async def end(self, gaps: Sequence[Gap], at: datetime) -> None: ...
    async def page(
        self, participant: str | None, kind: int, *, open_only: bool, after: int, size: int
    ) -> list[StoredGap]: ...


class Windows(Protocol):
    """Windows and statements."""

    async def lock(self, participant: Participant, settlement_date: date) -> WindowRow:
        """The window, made if it did not exist, locked against posting."""
        ...

    async def find(self, participant: str, settlement_date: date) -> WindowRow | None: ...
    async def earlier_open(self, participant: Participant, settlement_date: date) -> date | None:
        """An earlier window of the participant that is open and has records."""
        ...

    async def page(
        self, participant: str | None, state: int, after: tuple[str, str] | None, size: int
    ) -> list[WindowRow]: ...
    async def positions(self, participant: int, settlement_date: date) -> list[Position]: ...
    async def records_digest(self, participant: int, settlement_date: date) -> bytes:
        """SHA-256 over the ordered records of a window."""
        ...

    async def last_statement(self, participant: int) -> Statement | None: ...
    async def statement(self, participant: str, settlement_date: date) -> Statement | None: ...
    async def statements(
        self, participant: str | None, after: tuple[str, str] | None, size: int
    ) -> list[Statement]: ...
    async def terms(self, participant: int, settlement_date: date) -> Terms:
        """What a statement was made by beside its positions."""
        ...

    async def close(self, participant: Participant, statement: Statement, terms: Terms, at: datetime) -> None: ...


class Records(Protocol):
    """Records that took their keys."""

    async def find(self, terminal_number: int, terminal_seq: int) -> StoredRecord | None: ...
    async def page(
        self, participant: str, settlement_date: date | None, codes: Sequence[int], after: tuple[int, int] | None,
        size: int,
    ) -> list[StoredRecord]: ...  # fmt: skip


class UnitOfWork(Protocol):
    """One transaction."""

    requests: Any
    outbox: Any
    participants: Any
    registries: Any
    files: Any
    postings: Any
    audits: Any
    gaps: Any
    windows: Any
    records: Any
    proofs: Any
    calendars: Any
    adjustments: Any
    apportionment: Any
    suspense: Any
    signatures: Any
    settlement: Any
    disputes: Any
    day_runs: Any
    replays: Any
    missed: Any
    further_results: Any
    upkeep: Any

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def commit(self) -> None: ...


class Gateway(Protocol):
    """The stored uploads."""

    async def read(self, participant: str, sha256: bytes) -> bytes:
        """The whole file.

        Raises:
            DependencyUnavailable: The gateway does not answer.
        """
        ...

    def uploads_from(self, sequence: int) -> AsyncIterator[Upload]:
        """Stored uploads from a position of the gateway's journal on, in its order."""
        ...
