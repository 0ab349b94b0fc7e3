"""An upload: one batch file as it came, known by its sender's participant and its content."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final, Self

from services.terminal_gw.domain.errors import UploadUnknown

_NAME: Final = re.compile(r"participants/([a-z0-9-]{1,40})/uploads/([0-9a-f]{64})", re.ASCII)


class UploadState(IntEnum):
    """The numbers of `citycard.terminal_gw.v1.UploadState`."""

    RECEIVING = 1
    STORED = 2


class Carrier(IntEnum):
    """The numbers of `citycard.terminal_gw.v1.Carrier`."""

    UNSPECIFIED = 0
    LINE = 1
    COLLECTOR = 2
    FILE_DROP = 3


@dataclass(frozen=True, slots=True)
class UploadKey:
    """What makes an upload the same upload: the same bytes from another participant are another one.

    Attributes:
        participant: Whose certificate sent it, without `participants/`.
        sha256: Of the whole file, 32 bytes.
    """

    participant: str
    sha256: bytes

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read `participants/{participant}/uploads/{64 hexadecimal digits}`.

        Raises:
            UploadUnknown: Not of that form.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise UploadUnknown(upload=name)
        return cls(match[1], bytes.fromhex(match[2]))

    def __str__(self) -> str:
        return f"participants/{self.participant}/uploads/{self.sha256.hex()}"


@dataclass(frozen=True, slots=True)
class Start:
    """What the sender says before the bytes.

    Attributes:
        key: Of the upload.
        size_bytes: Of the whole file.
        sender: Identity that sends it, `citycard://…`.
        certificate: Its certificate, PEM: with the signature it proves for ever who sent the file.
        signature: ECDSA P-256 with SHA-256 over the 32 bytes of the digest, DER.
        file_name: A convenience.
        carrier: How it comes.
    """

    key: UploadKey
    size_bytes: int
    sender: str
    certificate: bytes
    signature: bytes
    file_name: str = ""
    carrier: Carrier = Carrier.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """What the file says of itself (record-formats.md, section 2, header).

    Attributes:
        sender_institution: 16 hexadecimal digits.
        batch_number: 1 to 999,999.
        record_count: Records in the file.
        total_fen: Their total, in fen.
        terminal_count: Terminals whose records are in it; None before anybody looked.
        device_seq_first: Lowest device serial when all records are of one machine; 0 otherwise.
        device_seq_last: Highest likewise.
    """

    sender_institution: str
    batch_number: int
    record_count: int
    total_fen: int
    terminal_count: int | None = None
    device_seq_first: int = 0
    device_seq_last: int = 0


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload as it stands.

    Attributes:
        key: Its name.
        state: RECEIVING or STORED, the latter for ever.
        size_bytes: Of the whole file.
        received_bytes: Stored so far, from the start without a hole.
        sender: Identity that sent it, `citycard://…`.
        file_name: As the sender called it.
        carrier: How it came.
        store_time: When it was stored; None before.
        sequence: Position among the stored uploads, from 1; 0 before.
        header: What the file says of itself; None before it is stored.
        already_stored: In an answer: nothing was stored anew.
    """

    key: UploadKey
    state: UploadState
    size_bytes: int
    received_bytes: int
    sender: str
    file_name: str
    carrier: Carrier
    store_time: datetime | None = None
    sequence: int = 0
    header: HeaderFacts | None = None
    already_stored: bool = False
