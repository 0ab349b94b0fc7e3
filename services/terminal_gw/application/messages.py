"""Domain facts as protobuf: what events and answers say."""

from datetime import UTC, datetime

from citycard.terminal_gw.v1 import terminal_gw_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from services.terminal_gw.domain.terminal import Terminal
from services.terminal_gw.domain.upload import Upload


def timestamp(at: datetime) -> Timestamp:
    """An aware instant."""
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def instant(stamp: Timestamp) -> datetime:
    """An aware instant, UTC."""
    return stamp.ToDatetime(tzinfo=UTC)


def terminal_to_pb(terminal: Terminal) -> pb.Terminal:
    """One terminal."""
    message = pb.Terminal(
        name=f"terminals/{terminal.number}",
        participant=f"participants/{terminal.participant}",
        psam_number=terminal.psam_number,
        operator_number=terminal.operator_number,
        device_number=terminal.device_number,
        industry_code=terminal.industry_code,
        register_time=timestamp(terminal.registered_at),
    )
    if terminal.psam_revoked_at is not None:
        message.psam_revoke_time.CopyFrom(timestamp(terminal.psam_revoked_at))
    if terminal.signed_in_at is not None:
        message.sign_in_time.CopyFrom(timestamp(terminal.signed_in_at))
    return message


def upload_to_pb(upload: Upload, *, already_stored: bool = False) -> pb.Upload:
    """One upload."""
    message = pb.Upload(
        name=upload.name,
        state=pb.UploadState.ValueType(upload.state),
        size_bytes=upload.size_bytes,
        received_bytes=upload.received_bytes,
        participant=f"participants/{upload.participant}",
        sender=upload.sender,
        file_name=upload.file_name,
        carrier=pb.Carrier.ValueType(upload.carrier),
        sender_institution=upload.sender_institution,
        batch_number=upload.batch_number,
        record_count=upload.record_count,
        total_fen=upload.total_fen,
        already_stored=already_stored,
        sequence=upload.sequence,
    )
    if upload.stored_at is not None:
        message.store_time.CopyFrom(timestamp(upload.stored_at))
    return message
