"""Stand-ins of the gateway's ports, and builders."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from services.terminal_gw.application.ports import SignedIn, StoredProof
from services.terminal_gw.domain.device import Pairing
from services.terminal_gw.domain.errors import PsamInUse, SignatureWrong, TerminalExists, TerminalUnknown
from services.terminal_gw.domain.serials import Indexed, Ranges
from services.terminal_gw.domain.terminal import Terminal, TerminalSpec, check_psams
from services.terminal_gw.domain.upload import HeaderFacts, Start, Upload, UploadKey, UploadState
from tests.unit.terminal_gw.files import sha256

NOON = datetime(2018, 9, 1, 4, 0, tzinfo=UTC)
GOOD, BAD = b"good signature", b"bad signature"


def a_spec(number: int = 0, **changed: Any) -> TerminalSpec:
    return replace(TerminalSpec(f"0201{number:08d}", f"{number:020d}", 7, number, "0001"), **changed)


def a_start(data: bytes, participant: str = "metro", **changed: Any) -> Start:
    sender = f"citycard://collector/{participant}/depot-1"
    start = Start(UploadKey(participant, sha256(data)), len(data), sender, b"certificate", GOOD, "a.ykt")
    return replace(start, **changed)


@dataclass
class FakeState:
    """What a database would hold."""

    terminals: dict[str, Terminal] = field(default_factory=dict)
    sign_ins: dict[str, SignedIn] = field(default_factory=dict)
    version: int = 0
    uploads: dict[int, Upload] = field(default_factory=dict)
    data: dict[int, bytes] = field(default_factory=dict)
    touched: dict[int, datetime] = field(default_factory=dict)
    sequence: int = 0
    last_id: int = 0
    refused: list[tuple[Start, str]] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)
    answers: dict[Any, Any] = field(default_factory=dict)
    indexed: dict[UploadKey, Indexed] = field(default_factory=dict)

    def copy(self) -> "FakeState":
        return replace(
            self,
            **{name: value.copy() for name, value in vars(self).items() if isinstance(value, dict | list)},
        )


class FakeTerminals:
    def __init__(self, state: FakeState) -> None:
        self._state = state

    async def register(self, participant: str, specs: Sequence[TerminalSpec], at: datetime) -> Sequence[Terminal]:
        known = self._state.terminals
        for spec in specs:
            one = known.get(spec.terminal_number)
            if one is not None and (one.spec, one.participant) != (spec, participant):
                raise TerminalExists(terminal=spec.terminal_number)
        check_psams(specs)
        psams = {one.spec.psam_number: number for number, one in known.items()}
        for spec in specs:
            if psams.get(spec.psam_number, spec.terminal_number) != spec.terminal_number:
                raise PsamInUse(psam=spec.psam_number, terminal=psams[spec.psam_number])
        new = [Terminal(spec, participant, at) for spec in specs if spec.terminal_number not in known]
        known.update({one.spec.terminal_number: one for one in new})
        return new

    async def get(self, terminal_number: str) -> Terminal:
        if terminal_number not in self._state.terminals:
            raise TerminalUnknown(terminal=terminal_number)
        signed_in = self._state.sign_ins.get(f"terminals/{terminal_number}")
        return replace(self._state.terminals[terminal_number], sign_in_time=signed_in.at if signed_in else None)

    async def get_for_update(self, terminal_number: str) -> Terminal:
        return await self.get(terminal_number)

    async def save_revocation(self, terminal: Terminal) -> None:
        self._state.terminals[terminal.spec.terminal_number] = terminal

    async def list(self, participant: str | None, after: str, size: int) -> Sequence[Terminal]:
        numbers = sorted(number for number in self._state.terminals if number > after)
        every = [await self.get(number) for number in numbers]
        return [one for one in every if participant in (None, one.participant)][:size]


class FakeSignIns:
    def __init__(self, state: FakeState) -> None:
        self._state = state

    async def save(self, signed_in: SignedIn) -> None:
        self._state.sign_ins[signed_in.subject] = signed_in

    async def blacklist_version(self) -> int:
        return self._state.version

    async def raise_blacklist_version(self, version: int) -> None:
        self._state.version = max(self._state.version, version)


class FakeUploads:
    def __init__(self, state: FakeState) -> None:
        self._state = state

    def _id(self, key: UploadKey) -> int | None:
        return next((number for number, one in self._state.uploads.items() if one.key == key), None)

    async def find(self, key: UploadKey) -> Upload | None:
        number = self._id(key)
        return None if number is None else self._state.uploads[number]

    async def claim(self, start: Start, at: datetime) -> tuple[int, Upload]:
        number = self._id(start.key)
        if number is None:
            self._state.last_id = number = self._state.last_id + 1
            receiving = (UploadState.RECEIVING, start.size_bytes, 0)
            self._state.uploads[number] = Upload(start.key, *receiving, start.sender, start.file_name, start.carrier)
            self._state.data[number] = b""
            self._state.touched[number] = at
        return number, self._state.uploads[number]

    async def clear(self, upload_id: int, size_bytes: int) -> None:
        self._state.data[upload_id] = b""
        self._change(upload_id, received_bytes=0, size_bytes=size_bytes)

    async def write(self, upload_id: int, offset: int, data: bytes, at: datetime) -> None:
        assert len(self._state.data[upload_id]) == offset
        self._state.data[upload_id] += data
        self._state.touched[upload_id] = at
        self._change(upload_id, received_bytes=offset + len(data))

    async def next_sequence(self) -> int:
        self._state.sequence += 1
        return self._state.sequence

    async def store(self, upload_id: int, start: Start, facts: HeaderFacts, at: datetime, sequence: int) -> Upload:
        said = {"sender": start.sender, "file_name": start.file_name, "carrier": start.carrier}
        final = {"state": UploadState.STORED, "header": facts, "store_time": at, "sequence": sequence}
        self._change(upload_id, **said, **final)
        return self._state.uploads[upload_id]

    def _change(self, upload_id: int, **changed: Any) -> None:
        self._state.uploads[upload_id] = replace(self._state.uploads[upload_id], **changed)

    async def remove(self, key: UploadKey) -> None:
        number = self._id(key)
        if number is not None and self._state.uploads[number].state is UploadState.RECEIVING:
            del self._state.uploads[number], self._state.data[number]

    async def refuse(self, start: Start, at: datetime, reason: str, facts: dict[str, str]) -> None:
        self._state.refused.append((start, reason))

    async def part(self, key: UploadKey, offset: int) -> bytes:
        number = self._id(key)
        return b"" if number is None else self._state.data[number][offset : offset + 1000]

    async def list(
        self, participant: str | None, after: int, size: int, *, store_time_min: datetime | None
    ) -> Sequence[Upload]:
        found = [
            one
            for one in sorted(self._state.uploads.values(), key=lambda one: one.sequence)
            if one.sequence > after
            and participant in (None, one.key.participant)
            and (store_time_min is None or (one.store_time is not None and one.store_time >= store_time_min))
        ]
        return found[:size]

    async def remove_abandoned(self, before: datetime) -> int:
        uploads = self._state.uploads
        old = [
            number
            for number, one in uploads.items()
            if one.state is UploadState.RECEIVING and self._state.touched[number] < before
        ]
        for number in old:
            del uploads[number], self._state.data[number]
        return len(old)

    async def prove_stored(self) -> StoredProof:
        stored = [one for one in self._state.uploads.values() if one.header is not None]
        holes = set(range(1, self._state.sequence + 1)) ^ {one.sequence for one in stored}
        counts = [one.header for one in stored if one.header]
        return StoredProof(
            len(stored),
            sum(facts.record_count for facts in counts),
            sum(facts.total_fen for facts in counts),
            self._state.sequence,
            len(holes),
        )


class FakeAnnounce:
    def __init__(self, state: FakeState) -> None:
        self._state = state

    async def terminals_registered(self, terminals: Sequence[Terminal]) -> None:
        self._state.told += terminals

    async def psam_revoked(self, terminal: Terminal) -> None:
        self._state.told.append(terminal)

    async def device_paired(self, terminal: Terminal, pairing: Pairing) -> None:
        self._state.told.append((terminal, pairing))

    async def upload_stored(self, upload: Upload) -> None:
        self._state.told.append(upload)


class FakeCollection:
    def __init__(self, state: FakeState) -> None:
        self._state = state

    async def index(self, stored: Sequence[Indexed]) -> None:
        self._state.indexed.update({one.key: one for one in stored})

    async def serials_of_upload(self, key: UploadKey) -> Sequence[tuple[str, int, int, Ranges, Ranges]]:
        runs = self._state.indexed[key].serials.runs if key in self._state.indexed else ()
        return [
            (run.terminal_number, run.device_number, run.record_count, run.device_seqs, run.terminal_seqs)
            for run in runs
        ]

    async def prove_serials(self) -> tuple[int, int, str]:
        return len(self._state.indexed), 0, ""


class FakeRequests:
    def __init__(self, state: FakeState) -> None:
        self._state = state

    async def claim(self, key: Any) -> bool:
        return key not in self._state.answers

    async def first_answer(self, key: Any, cls: type[Any]) -> Any:
        assert isinstance(self._state.answers[key], cls)
        return self._state.answers[key]

    async def answer(self, key: Any, value: object) -> None:
        self._state.answers[key] = value


class FakeDatabase:
    """Makes units of work over one state; what is not committed is forgotten. No two may be open at once."""

    def __init__(self) -> None:
        self.state = FakeState()
        self.commits = 0

    def __call__(self) -> "FakeUnitOfWork":
        return FakeUnitOfWork(self)


class FakeUnitOfWork:
    def __init__(self, database: FakeDatabase) -> None:
        self._database = database

    async def __aenter__(self) -> Self:
        self._state = self._database.state.copy()
        self.requests = FakeRequests(self._state)
        self.announce = FakeAnnounce(self._state)
        self.terminals = FakeTerminals(self._state)
        self.sign_ins = FakeSignIns(self._state)
        self.uploads = FakeUploads(self._state)
        self.collection = FakeCollection(self._state)
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def commit(self) -> None:
        self._database.state = self._state.copy()
        self._database.commits += 1


class FakeSignatures:
    def verify(self, certificate: bytes, sha256: bytes, signature: bytes) -> None:
        if signature != GOOD:
            raise SignatureWrong
