"""Uploads: batch files as they came, known by participant and digest."""

from dataclasses import dataclass
from datetime import datetime

RECEIVING, STORED = 1, 2
"""States, the numbers of `UploadState`."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload.

    Attributes:
        id: Surrogate.
        participant: Id of the participant whose certificate sent it.
        sha256: Of the whole file, 32 bytes.
        received_bytes: Stored so far, from the start without a hole.
        sender: Identity that sent it.
        carrier: Number of `Carrier`.
        sender_institution: 16 hexadecimal digits of the file's header; empty before it is stored.
        sequence: Position in the journal of stored uploads, from 1 without a hole; 0 before.
    """

    id: int
    participant: str
    sha256: bytes
    state: int
    size_bytes: int
    received_bytes: int
    sender: str
    file_name: str
    carrier: int
    stored_at: datetime | None = None
    sender_institution: str = ""
    batch_number: int = 0
    record_count: int = 0
    total_fen: int = 0
    sequence: int = 0

    @property
    def name(self) -> str:
        """Resource name."""
        return f"participants/{self.participant}/uploads/{self.sha256.hex()}"


@dataclass(frozen=True, slots=True)
class HeaderFacts:
    """What the gateway reads of a batch file; judging it is clearing's business."""

    sender_institution: str
    batch_number: int
    record_count: int
    total_fen: int
