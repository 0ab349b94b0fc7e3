"""Terminals and uploads as protobuf messages, and moments."""

from datetime import UTC, datetime

from citycard.terminal_gw.v1 import terminal_gw_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from services.terminal_gw.domain.terminal import Terminal
from services.terminal_gw.domain.upload import Upload


def moment(timestamp: Timestamp) -> datetime:
    """Read a timestamp: aware, UTC, whole microseconds."""
    return timestamp.ToDatetime(tzinfo=UTC)


def write(timestamp: Timestamp, at: datetime | None) -> None:
    """Fill a timestamp, or leave it unset."""
    if at is not None:
        timestamp.FromDatetime(at)


def terminal_to_pb(terminal: Terminal) -> pb.Terminal:
    """A terminal for the wire."""
    spec = terminal.spec
    message = pb.Terminal(
        name=f"terminals/{spec.terminal_number}",
        participant=f"participants/{terminal.participant}",
        psam_number=spec.psam_number,
        operator_number=spec.operator_number,
        device_number=spec.device_number,
        industry_code=spec.industry_code,
    )
    write(message.register_time, terminal.register_time)
    write(message.psam_revoke_time, terminal.psam_revoke_time)
    write(message.sign_in_time, terminal.sign_in_time)
    if terminal.pairing is not None:
        message.device_number = terminal.pairing.device_number
        write(message.pair_time, terminal.pairing.valid_from)
        write(message.pair_until_time, terminal.pairing.valid_until)
    else:
        write(message.pair_time, spec.pair_time)
        write(message.pair_until_time, spec.pair_until_time)
    return message


def upload_to_pb(upload: Upload) -> pb.Upload:
    """An upload for the wire."""
    message = pb.Upload(
        name=str(upload.key),
        state=pb.UploadState.ValueType(upload.state),
        size_bytes=upload.size_bytes,
        received_bytes=upload.received_bytes,
        participant=f"participants/{upload.key.participant}",
        sender=upload.sender,
        file_name=upload.file_name,
        carrier=pb.Carrier.ValueType(upload.carrier),
        already_stored=upload.already_stored,
        sequence=upload.sequence,
    )
    write(message.store_time, upload.store_time)
    if upload.header is not None:
        message.sender_institution = upload.header.sender_institution
        message.batch_number = upload.header.batch_number
        message.record_count = upload.header.record_count
        message.total_fen = upload.header.total_fen
        message.terminal_count = upload.header.terminal_count or 0
        message.device_seq_first = upload.header.device_seq_first
        message.device_seq_last = upload.header.device_seq_last
    return message
