"""What the use cases need of the world."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from libs.runtime.requests import RequestKey
from services.terminal_gw.domain.device import Pairing
from services.terminal_gw.domain.serials import Indexed, Ranges
from services.terminal_gw.domain.terminal import Terminal, TerminalSpec
from services.terminal_gw.domain.upload import HeaderFacts, Start, Upload, UploadKey

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


class Announce(Protocol):
    """Events that leave if the transaction commits."""

    async def terminals_registered(self, terminals: Sequence[Terminal]) -> None:
        """These are new; told in events of a bounded size."""
        ...

    async def psam_revoked(self, terminal: Terminal) -> None:
        """What its PSAM signs from then on is not paid."""
        ...

    async def device_paired(self, terminal: Terminal, pairing: Pairing) -> None:
        """Its PSAM sits in another machine from then on."""
        ...

    async def upload_stored(self, upload: Upload) -> None:
        """It is stored; the bytes are read with ReadUpload."""
        ...


class Terminals(Protocol):
    """Registered terminals."""

    async def register(self, participant: str, specs: Sequence[TerminalSpec], at: datetime) -> Sequence[Terminal]:
        """Register those that are not yet, in one statement.

        Args:
            participant: Who owns them.
            specs: By number, each number once.
            at: The moment.

        Returns:
            The new ones, by number.

        Raises:
            TerminalExists: One is registered with other facts; the first by number.
            PsamInUse: A PSAM belongs to another terminal, of the request or registered before.
        """
        ...

    async def get(self, terminal_number: str) -> Terminal:
        """One terminal.

        Raises:
            TerminalUnknown: It is not registered.
        """
        ...

    async def get_for_update(self, terminal_number: str) -> Terminal:
        """The same, its row locked."""
        ...

    async def save_revocation(self, terminal: Terminal) -> None:
        """Keep from when on its PSAM is revoked."""
        ...

    async def list(self, participant: str | None, after: str, size: int) -> Sequence[Terminal]:
        """Terminals by number after one, of one participant or of all."""
        ...


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What is kept of a sign-in.

    Attributes:
        subject: `terminals/{number}`, or `collectors/{participant}/{collector}`.
        caller: Identity that signed in, `citycard://…`.
        at: The centre's clock.
        clock_ahead_ms: How far the caller's clock was ahead.
        blacklist_version: Version that the caller had.
        program_version: As the caller said.
    """

    subject: str
    caller: str
    at: datetime
    clock_ahead_ms: int
    blacklist_version: int
    program_version: str


class SignIns(Protocol):
    """The last sign-in of everybody, and what they are told."""

    async def save(self, signed_in: SignedIn) -> None:
        """Keep it in place of the one before."""
        ...

    async def blacklist_version(self) -> int:
        """Newest blacklist version heard of."""
        ...

    async def raise_blacklist_version(self, version: int) -> None:
        """Heard of a version; an older one changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class StoredProof:
    """What the stored rows say, set by set.

    Attributes:
        stored_count: Uploads stored.
        record_count: Records by their headers.
        total_fen: Totals by their headers.
        sequence_last: The counter of the journal.
        hole_count: Positions from 1 to the counter that no upload or more than one holds, or that go back in time.
    """

    stored_count: int
    record_count: int
    total_fen: int
    sequence_last: int
    hole_count: int


class Uploads(Protocol):
    """Uploads and their bytes."""

    async def find(self, key: UploadKey) -> Upload | None:
        """An upload, or None."""
        ...

    async def claim(self, start: Start, at: datetime) -> tuple[int, Upload]:
        """The upload's row, made when missing, locked until the transaction ends; and its number.

        Whoever changes an upload takes this lock first, then that of the journal.
        """
        ...

    async def clear(self, upload_id: int, size_bytes: int) -> None:
        """Forget the bytes of an upload that is being received, and give it another size."""
        ...

    async def write(self, upload_id: int, offset: int, data: bytes, at: datetime) -> None:
        """Append bytes at `offset`, which is what was received so far; in parts of at most 1 MiB."""
        ...

    async def next_sequence(self) -> int:
        """The next position of the journal; locked until the transaction ends, so that none is ever left out."""
        ...

    async def store(self, upload_id: int, start: Start, facts: HeaderFacts, at: datetime, sequence: int) -> Upload:
        """The upload is complete."""
        ...

    async def remove(self, key: UploadKey) -> None:
        """Remove an upload that is being received; one that is stored stays."""
        ...

    async def refuse(self, start: Start, at: datetime, reason: str, facts: dict[str, str]) -> None:
        """Keep who sent what was refused, when and why."""
        ...

    async def part(self, key: UploadKey, offset: int) -> bytes:
        """Bytes from an offset to the end of the part that holds it; none beyond what was received."""
        ...

    async def list(
        self, participant: str | None, after: int, size: int, *, store_time_min: datetime | None
    ) -> Sequence[Upload]:
        """Stored uploads by position after one, of one participant or of all."""
        ...

    async def remove_abandoned(self, before: datetime) -> int:
        """Remove uploads that nobody went on with since a moment; returns how many."""
        ...

    async def prove_stored(self) -> StoredProof:
        """Counts and positions."""
        ...


class UploadSerials(Protocol):
    """Which serials uploads hold."""

    async def index(self, stored: Sequence[Indexed]) -> None:
        """Note which serials stored uploads hold, and that they are covered; in one order, whoever does it."""
        ...

    async def serials_of_upload(self, key: UploadKey) -> Sequence[tuple[str, int, int, Ranges, Ranges]]:
        """What was noted of an upload: terminal, machine, records, device serials, PSAM serials; by terminal."""
        ...

    async def prove_serials(self) -> tuple[int, int, str]:
        """Coverage against its parts: how many looked at, how many differ, the first."""
        ...


class UnitOfWork(Protocol):
    """One transaction; leaving it without `commit` rolls everything back."""

    @property
    def requests(self) -> Requests:
        """Request claims."""
        ...

    @property
    def announce(self) -> Announce:
        """Events out."""
        ...

    @property
    def terminals(self) -> Terminals:
        """Terminals."""
        ...

    @property
    def sign_ins(self) -> SignIns:
        """Sign-ins."""
        ...

    @property
    def uploads(self) -> Uploads:
        """Uploads."""
        ...

    @property
    def collection(self) -> UploadSerials:
        """Which serials uploads hold."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def commit(self) -> Any:
        """Make everything true at once."""
        ...


class Signatures(Protocol):
    """Checks signatures of senders."""

    def verify(self, certificate: bytes, sha256: bytes, signature: bytes) -> None:
        """Let pass the signature of a certificate's key over a digest.

        Args:
            certificate: PEM.
            sha256: 32 bytes; the signature is ECDSA P-256 with SHA-256 over them.
            signature: DER.

        Raises:
            SignatureWrong: It is not, or the key is of another kind.
        """
        ...


@dataclass(frozen=True, slots=True)
class ListPart:
    """A part of a list file, and the version of the list after the file."""

    version: int
    data: bytes


class VersionNotKept(Exception):
    """The blacklist has no changes since this version: fetch the whole list."""


class BlacklistSource(Protocol):
    """The blacklist service."""

    def snapshot(self) -> AsyncIterator[ListPart]:
        """The whole list as a BL file; no part when it is still empty.

        Raises:
            DependencyUnavailable: It does not answer.
        """
        ...

    def delta(self, base_version: int) -> AsyncIterator[ListPart]:
        """The changes since a version as a BI file; no part when there are none.

        Raises:
            VersionNotKept: Before the first part.
            DependencyUnavailable: It does not answer.
        """
        ...

    async def newest_version(self) -> int:
        """The newest version.

        Raises:
            DependencyUnavailable: It does not answer.
        """
        ...
