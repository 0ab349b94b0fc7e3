"""What devices say of themselves, and what they are told."""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import IntEnum

from services.terminal_gw.domain.errors import CommandUnknown, DeviceMismatch, PairingNotValid
from services.terminal_gw.domain.serials import Ranges


@dataclass(frozen=True, slots=True)
class Pairing:
    """Which machine a PSAM sits in, and when.

    Attributes:
        device_number: The machine.
        valid_from: First instant.
        valid_until: First instant at which it is over; None while open.
    """

    device_number: int
    valid_from: datetime
    valid_until: datetime | None = None

    def holds(self, at: datetime) -> bool:
        """Whether it is valid at an instant."""
        return self.valid_from <= at and (self.valid_until is None or at < self.valid_until)


def must_be_paired(terminal: str, pairing: Pairing | None, device_number: int | None) -> None:
    """Let pass a PSAM in the machine that it is paired with.

    Args:
        terminal: Terminal number.
        pairing: The one that holds now; None when none does.
        device_number: As the terminal says; None when it does not say.

    Raises:
        PairingNotValid: No pairing holds now.
        DeviceMismatch: It sits in another machine.
    """
    if pairing is None:
        raise PairingNotValid(terminal=terminal)
    if device_number is not None and device_number != pairing.device_number:
        raise DeviceMismatch(terminal=terminal, expected=pairing.device_number, found=device_number)


@dataclass(frozen=True, slots=True)
class DeviceSerials:
    """What a device holds of records; the fields of `citycard.terminal_gw.v1.DeviceSerials`."""

    device_seq_last: int = 0
    terminal_seq_last: int = 0
    unsent_count: int = 0
    oldest_unsent_time: datetime | None = None
    free_count: int = -1
    last_record_time: datetime | None = None


class PackOutcome(IntEnum):
    """The numbers of `citycard.terminal_gw.v1.PackOutcome`."""

    LOADED = 1
    IN_FORCE = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class PackReport:
    """One pack in a device, as it says."""

    kind: int
    version: int
    outcome: PackOutcome = PackOutcome.IN_FORCE
    since: datetime | None = None
    detail: str = ""


class CommandState(IntEnum):
    """The numbers of `citycard.terminal_gw.v1.CommandState`."""

    PENDING = 1
    SENT = 2
    RECEIVED = 3
    DONE = 4
    FAILED = 5
    EXPIRED = 6
    CANCELLED = 7

    @property
    def final(self) -> bool:
        """Whether nothing changes it any more."""
        return self >= CommandState.DONE


@dataclass(frozen=True, slots=True)
class Command:
    """A command to one terminal.

    Attributes:
        number: Grows.
        terminal_number: 12 digits.
        kind: Name of the field of `CommandBody` that is set.
        body: `CommandBody`, serialised; the terminal's business.
        state: Where it is.
        issuer: Who issued it, `citycard://…`.
        issue_time: When.
        expire_time: Answer by then.
        send_time: First sending; None before.
        answer_time: Last answer; None before.
        detail: What the terminal said.
    """

    number: int
    terminal_number: str
    kind: str
    body: bytes
    state: CommandState
    issuer: str
    issue_time: datetime
    expire_time: datetime
    send_time: datetime | None = None
    answer_time: datetime | None = None
    detail: str = ""

    @property
    def name(self) -> str:
        """`terminals/{terminal number}/commands/{number}`."""
        return f"terminals/{self.terminal_number}/commands/{self.number}"


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """What a terminal says of a command."""

    terminal_number: str
    number: int
    state: CommandState
    detail: str = ""
    void_device_seqs: Ranges = ()
    void_terminal_seqs: Ranges = ()


def command_of_name(name: str) -> tuple[str, int]:
    """Terminal number and command number of a name.

    Raises:
        CommandUnknown: Not such a name.
    """
    parts = name.split("/")
    if len(parts) != 4 or not parts[3].isdecimal():
        raise CommandUnknown(command=name)
    return parts[1], int(parts[3])


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """Something happened at a device.

    Attributes:
        event_seq: Number given by the terminal.
        code: What.
        severity: 0 not said to 3 alarm.
        mode: The new mode of service when it changed.
        body: The whole `DeviceEvent`, serialised.
    """

    event_seq: int
    code: str
    severity: int
    mode: int | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Introduction:
    """What the caller of a sign-in says.

    Attributes:
        terminal_number: 12 digits; empty for a collector that signs in for itself.
        psam_number: 20 digits; empty with the number.
        clock_time: What its clock shows.
        blacklist_version: Version that it has.
        program_version: For the record.
        device_number: The machine; None when not said.
        packs: Packs in it.
        serials: What it holds of records; None when not said.
        check_values: Of the work keys that it has.
    """

    terminal_number: str
    psam_number: str
    clock_time: datetime
    blacklist_version: int
    program_version: str
    device_number: int | None = None
    packs: tuple[PackReport, ...] = ()
    serials: DeviceSerials | None = None
    check_values: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class OutOfService:
    """Take no card until a person looked."""

    reason: str


@dataclass(frozen=True, slots=True)
class SetClock:
    """Set the clock."""

    to_time: datetime


@dataclass(frozen=True, slots=True)
class FetchWorkKeys:
    """Fetch the work keys of the day."""


@dataclass(frozen=True, slots=True)
class FetchPack:
    """Fetch a pack, by name."""

    pack: str


@dataclass(frozen=True, slots=True)
class FetchBlacklist:
    """Fetch the blacklist."""

    version: int


@dataclass(frozen=True, slots=True)
class Recollect:
    """Send records again."""

    device_seqs: Ranges


@dataclass(frozen=True, slots=True)
class ReportDay:
    """Report the registers of a day."""

    business_date: date


ToDo = OutOfService | SetClock | FetchWorkKeys | FetchPack | FetchBlacklist | Recollect | ReportDay | Command


@dataclass(frozen=True, slots=True)
class TerminalState:
    """What a terminal last said, and where it stands."""

    terminal_number: str
    participant: str
    collection_point: str
    group: str
    device_kind: int
    connected: bool
    contact_time: datetime | None
    clock_ahead_ms: int
    mode: int
    blacklist_version: int
    program_version: str
    serials: DeviceSerials
    packs: tuple[PackReport, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair slip of a terminal."""

    number: int
    terminal_number: str
    fault: str
    opener: str
    open_time: datetime
    remedy: str = ""
    close_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class WorkKey:
    """A wrapped work key; the fields of `citycard.terminal_gw.v1.WorkKey`."""

    use: int
    business_date: date
    wrapped: bytes
    check_value: bytes
    expire_time: datetime
    key_label: str
    mac: bytes


@dataclass(frozen=True, slots=True)
class Revoked:
    """What is trusted no longer: `sha256:{hex}` of a certificate, or the name of all certificates of a party."""

    subject: str
    revoke_time: datetime
    reason: str
