"""What the use cases of sessions, packs and collection need of the world."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from types import TracebackType
from typing import Any, Protocol, Self

from services.terminal_gw.application.ports import Announce, Requests, SignIns, Uploads
from services.terminal_gw.domain.completeness import DayFacts, Register
from services.terminal_gw.domain.device import (
    Command,
    CommandAnswer,
    CommandState,
    DeviceEvent,
    DeviceSerials,
    Introduction,
    PackReport,
    Pairing,
    Repair,
    Revoked,
    TerminalState,
    WorkKey,
)
from services.terminal_gw.domain.packs import Pack, PackKey, Place, Rollout, RolloutStatus, Stage
from services.terminal_gw.domain.serials import Indexed, Ranges
from services.terminal_gw.domain.terminal import Terminal
from services.terminal_gw.domain.upload import UploadKey


@dataclass(frozen=True, slots=True)
class Known:
    """What a sign-in needs to know of a terminal.

    Attributes:
        terminal: As registered.
        pairing: The one that holds now; None when none does.
        place: Where it stands.
        covered: Device serials stored.
        declared_void: Device serials declared void.
        register_last: Highest serial in its registers; 0 without.
        register_first: Lowest likewise; 0 without.
        day_closed: Whether the day before has a closing register.
        commands: Open commands, by number.
        keys: Work keys of the day.
        event_seq: Highest event number stored.
    """

    terminal: Terminal
    pairing: Pairing | None
    place: Place
    covered: Ranges = ()
    declared_void: Ranges = ()
    register_last: int = 0
    register_first: int = 0
    day_closed: bool = False
    commands: tuple[Command, ...] = ()
    keys: tuple[WorkKey, ...] = ()
    event_seq: int = 0


@dataclass(frozen=True, slots=True)
class SignInRow:
    """What is kept of a sign-in: who, when, and what it said."""

    subject: str
    caller: str
    at: datetime
    clock_ahead_ms: int
    said: Introduction
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat as it is kept; None, and 0 of mode and version, leave what was said before."""

    terminal_number: str
    at: datetime
    clock_ahead_ms: int | None
    mode: int
    blacklist_version: int
    serials: DeviceSerials | None

    def over(self, before: "Beat") -> "Beat":
        """This one where it says something, the one before where it does not."""
        return Beat(
            self.terminal_number,
            self.at,
            before.clock_ahead_ms if self.clock_ahead_ms is None else self.clock_ahead_ms,
            self.mode or before.mode,
            self.blacklist_version or before.blacklist_version,
            before.serials if self.serials is None else self.serials,
        )


@dataclass(frozen=True, slots=True)
class Gap:
    """What is missing of a terminal; the fields of `citycard.terminal_gw.v1.GapReport`."""

    terminal_number: str
    participant: str
    device_number: int
    device_seq_last: int
    missing_device_seqs: Ranges
    void_device_seqs: Ranges
    terminal_seq_last: int
    missing_terminal_seqs: Ranges
    missing_batch_numbers: Ranges
    device_seq_contiguous: int


@dataclass(frozen=True, slots=True)
class MissingFiles:
    """Batch numbers that a sender left out."""

    sender: str
    participant: str
    batch_number_last: int
    missing: Ranges


@dataclass(frozen=True, slots=True)
class Backlog:
    """A line of the backlog board; the fields of `citycard.terminal_gw.v1.Backlog`."""

    collection_point: str
    participant: str
    terminal_count: int
    connected_count: int
    silent_count: int
    oldest_contact_time: datetime | None
    unsent_count: int
    oldest_unsent_time: datetime | None
    missing_count: int


@dataclass(frozen=True, slots=True)
class KeptCertificate:
    """A certificate as it is kept."""

    terminal_number: str
    business_date: date
    revision: int
    participant: str
    content: bytes
    signature: bytes
    key_id: bytes
    verdict: int
    missing_count: int
    issue_time: datetime


@dataclass(frozen=True, slots=True)
class RolloutCounts:
    """How far a roll-out came."""

    covered: int = 0
    in_force: int = 0
    loaded: int = 0
    failed: int = 0


class Devices(Protocol):
    """Terminals as devices: what they are trusted with, what they said, what they shall do."""

    async def known(self, numbers: Sequence[str], at: datetime, today: date) -> Mapping[str, Known]:
        """All that a sign-in needs, of many terminals in a few statements; the unknown are left out."""
        ...

    async def keep_sign_ins(self, rows: Sequence[SignInRow]) -> None:
        """Keep them in place of those before, with what the terminals said of themselves."""
        ...

    async def open_sessions(self, sessions: Sequence[tuple[str, str]], instance: str, at: datetime) -> None:
        """Terminal number and session id of each; whatever session was there is replaced."""
        ...

    async def close_sessions(self, session_ids: Sequence[str], at: datetime) -> None:
        """They ended; rows that a newer session took over stay."""
        ...

    async def beat_sessions(self, instance: str, at: datetime) -> None:
        """The sessions of this process live."""
        ...

    async def sessions_of(self, instance: str) -> set[str]:
        """Session ids that are still this process's."""
        ...

    async def lapsed(self, numbers: Sequence[str], at: datetime) -> set[str]:
        """Those of them whose PSAM is revoked or that are not paired now."""
        ...

    async def beat(self, beats: Sequence[Beat]) -> None:
        """Keep heartbeats, one a terminal."""
        ...

    async def keep_events(self, terminal_numbers: Sequence[str], events: Sequence[DeviceEvent], at: datetime) -> None:
        """Keep events of terminals; those that are known stay as they are."""
        ...

    async def keep_packs(self, reports: Sequence[tuple[str, PackReport]], at: datetime) -> None:
        """Keep what terminals say of packs, in place of what they said before."""
        ...

    async def events(self, terminal_number: str, after: int, size: int) -> Sequence[DeviceEvent]:
        """Events of a terminal by number."""
        ...

    async def states(
        self, participant: str | None, point: str, after: str, size: int, live_since: datetime
    ) -> Sequence[TerminalState]:
        """What terminals last said, by number; a session counts that beat since a moment."""
        ...

    async def owners(self, numbers: Sequence[str]) -> Mapping[str, str]:
        """Participant by terminal number; the unknown are left out."""
        ...

    async def numbers_of(self, participant: str | None, group: str, point: str) -> Sequence[str]:
        """Terminals of a group and a collection point (empty: any), by number."""
        ...

    async def places(self, participant: str | None) -> Sequence[tuple[Place, Mapping[int, int]]]:
        """Where every terminal stands and which version of each kind it has in force."""
        ...

    async def assign(
        self, numbers: Sequence[str], device_kind: int | None, group: str | None, point: str | None
    ) -> None:
        """Say where terminals stand; None leaves it."""
        ...

    async def pairings(self, terminal_number: str) -> Sequence[Pairing]:
        """Pairings of a terminal, oldest first; the terminal is locked until the transaction ends."""
        ...

    async def save_pairing(self, terminal_number: str, ended: Pairing | None, pairing: Pairing) -> None:
        """Keep a pairing, and the end of the one before it."""
        ...

    async def revoked(self) -> Sequence[Revoked]:
        """All that is trusted no longer."""
        ...

    async def revoke(self, revoked: Revoked, revoker: str) -> Revoked:
        """Trust it no longer; an earlier revocation stands and is returned."""
        ...

    async def keep_work_keys(self, rows: Sequence[tuple[str, str, WorkKey]]) -> None:
        """Keep keys by terminal and PSAM number; those that are there stay."""
        ...

    async def work_keys(self, terminal_number: str, business_date: date) -> Sequence[WorkKey]:
        """Keys of a terminal's day."""
        ...

    async def open_repair(self, terminal_number: str, fault: str, opener: str, at: datetime) -> Repair:
        """A new slip."""
        ...

    async def close_repair(self, terminal_number: str, number: int, remedy: str, at: datetime) -> Repair:
        """Close it, once.

        Raises:
            RepairUnknown: There is none.
        """
        ...

    async def repairs(self, participant: str | None, before: int, size: int, *, open_only: bool) -> Sequence[Repair]:
        """Slips, newest first."""
        ...


class Commands(Protocol):
    """Commands to terminals."""

    async def issue(
        self, orders: Sequence[tuple[str, str, bytes]], issuer: str, at: datetime, expire: datetime
    ) -> Sequence[int]:
        """One command per terminal number, kind and body; returns their numbers in that order."""
        ...

    async def take_pending(self, numbers: Sequence[str], at: datetime, most: int) -> Sequence[Command]:
        """Commands of these terminals that wait, now sent; by number."""
        ...

    async def mark_sent(self, command_numbers: Sequence[int], at: datetime) -> None:
        """They were told in a sign-in."""
        ...

    async def answer(self, answers: Sequence[CommandAnswer], at: datetime) -> Sequence[int]:
        """Keep answers to open commands; to final ones only the detail. Returns the numbers that are known."""
        ...

    async def get_for_update(self, terminal_number: str, number: int) -> Command:
        """One command, locked.

        Raises:
            CommandUnknown: There is none.
        """
        ...

    async def set_state(self, number: int, state: CommandState) -> None:
        """Change the state."""
        ...

    async def expire(self, at: datetime) -> int:
        """Open commands whose time is up are expired; returns how many."""
        ...

    async def list(
        self, participant: str | None, terminal_number: str, before: int, size: int, *, open_only: bool
    ) -> Sequence[Command]:
        """Commands, newest first."""
        ...


class Packs(Protocol):
    """Packs and roll-outs."""

    async def find(self, key: PackKey) -> tuple[int, Pack] | None:
        """A pack with its number, or None."""
        ...

    async def add(self, pack: Pack, data: bytes) -> bool:
        """Keep a pack with its bytes; False when the version is there already."""
        ...

    async def part(self, pack_id: int, offset: int) -> bytes:
        """Bytes from an offset to the end of the part that holds it."""
        ...

    async def list(self, participant: str | None, kind: int, before: int, size: int) -> Sequence[tuple[int, Pack]]:
        """Packs, newest first: of everybody, and of one participant or of all."""
        ...

    async def many(self, keys: Sequence[PackKey]) -> Sequence[Pack]:
        """Several packs."""
        ...

    async def start(
        self, pack_id: int, stages: Sequence[Stage], failure_count_max: int, starter: str, at: datetime
    ) -> int:
        """A new roll-out at its first stage; returns its number."""
        ...

    async def rollout_for_update(self, number: int) -> Rollout:
        """One roll-out, locked.

        Raises:
            RolloutUnknown: There is none.
        """
        ...

    async def save_rollout(self, number: int, stage: int, state: RolloutStatus) -> None:
        """Keep stage and state."""
        ...

    async def rollouts(self, before: int | None = None, size: int | None = None) -> Sequence[Rollout]:
        """Roll-outs, newest first."""
        ...

    async def failing(self) -> Sequence[int]:
        """Running roll-outs with as many failures as pause them."""
        ...

    async def reports_of(self, kind: int, version: int) -> Mapping[str, int]:
        """What terminals report of a version: outcome by terminal number, in force before all."""
        ...


class Collection(Protocol):
    """Serials, registers, certificates."""

    async def index(self, stored: Sequence[Indexed]) -> None:
        """Note which serials stored uploads hold, and that they are covered; in one order, whoever does it."""
        ...

    async def unindexed(self, most: int) -> Sequence[tuple[int, UploadKey, str, int]]:
        """Stored uploads that nobody looked at: number, key, sender, batch number."""
        ...

    async def declare_void(self, answers: Sequence[CommandAnswer]) -> None:
        """Serials that terminals declared void."""
        ...

    async def keep_registers(self, participant: str, terminal_number: str, registers: Sequence[Register],
                             at: datetime) -> int:  # fmt: skip
        """Keep registers; returns how many are new.

        Raises:
            RegisterConflict: Another is kept of the same serials.
        """
        ...

    async def gaps(
        self, participant: str | None, after: str, size: int, *, only: str = "", missing_only: bool = True
    ) -> Sequence[Gap]:
        """What terminals miss, by number."""
        ...

    async def missing_files(self, participant: str | None, after: str, size: int) -> Sequence[MissingFiles]:
        """Senders that left numbers out, by sender."""
        ...

    async def recollecting(self) -> set[str]:
        """Terminals that have a RecollectRecords open."""
        ...

    async def days(self, participant: str | None, day: date, day_end: datetime, only: str = "") -> Sequence[DayFacts]:
        """What is known of every terminal's day, by number; of terminals registered before its end."""
        ...

    async def uploads_holding(self, claims: Sequence[tuple[str, int, int, int]]) -> Sequence[tuple[UploadKey, int]]:
        """Uploads with serials of claims (participant, device, first, last): key and size, in the order of storing."""
        ...

    async def newest_certificates(self, day: date, numbers: Sequence[str]) -> Mapping[str, KeptCertificate]:
        """The newest revision by terminal number."""
        ...

    async def keep_certificates(self, rows: Sequence[KeptCertificate]) -> None:
        """New revisions."""
        ...

    async def certificate(self, terminal_number: str, day: date, revision: int | None) -> KeptCertificate | None:
        """One revision, or the newest."""
        ...

    async def certificates(
        self, participant: str | None, day: date, after: str, size: int, *, incomplete_only: bool
    ) -> Sequence[KeptCertificate]:
        """The newest revisions of a day, by terminal number."""
        ...

    async def backlog(
        self, participant: str | None, silent_before: datetime, live_since: datetime
    ) -> Sequence[Backlog]:
        """The board, the worst first."""
        ...

    async def prove_serials(self) -> tuple[int, int, str]:
        """Coverage against its parts: how many looked at, how many differ, the first."""
        ...


class FieldUnitOfWork(Protocol):
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
    def sign_ins(self) -> SignIns:
        """Sign-ins."""
        ...

    @property
    def uploads(self) -> Uploads:
        """Uploads."""
        ...

    @property
    def devices(self) -> Devices:
        """Terminals as devices."""
        ...

    @property
    def commands(self) -> Commands:
        """Commands."""
        ...

    @property
    def packs(self) -> Packs:
        """Packs and roll-outs."""
        ...

    @property
    def collection(self) -> Collection:
        """Serials, registers, certificates."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def commit(self) -> Any:
        """Make everything true at once."""
        ...


class WorkKeys(Protocol):
    """Makes work keys; None of it is configured without a master key."""

    def make(self, psam_number: str, business_date: date, expire_time: datetime) -> tuple[WorkKey, ...]:
        """Fresh keys, one per use, wrapped for a PSAM."""
        ...


class Bodies(Protocol):
    """Bodies of the commands that the gateway issues by itself: kind and bytes."""

    def recollect(self, device_seqs: Ranges) -> tuple[str, bytes]:
        """RecollectRecords."""
        ...

    def fetch_pack(self, pack: PackKey) -> tuple[str, bytes]:
        """FetchPack."""
        ...


class Signer(Protocol):
    """Signs certificates of completeness; the same bytes for the same content."""

    @property
    def key_id(self) -> bytes:
        """Names the key, 8 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes, r and s."""
        ...


@dataclass(slots=True)
class Sums:
    """What was added up of one claim."""

    record_count: int = 0
    total_fen: int = 0
    conflict_count: int = 0
    files: list[bytes] = field(default_factory=list)
