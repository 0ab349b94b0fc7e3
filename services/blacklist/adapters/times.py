"""Timestamps of the wire as moments: aware, UTC, whole microseconds."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


def moment(timestamp: Timestamp) -> datetime:
    """Read a timestamp; what is finer than a microsecond is dropped."""
    return timestamp.ToDatetime(tzinfo=UTC)


def write(timestamp: Timestamp, at: datetime | None) -> None:
    """Fill a timestamp, or leave it unset."""
    if at is not None:
        timestamp.FromDatetime(at)
