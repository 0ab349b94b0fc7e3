"""Readers: in this process, on the desk through PC/SC, or at the other end of a stream. See README.md."""

from libs.purse.readers.in_process import InProcessReader
from libs.purse.readers.port import (
    CardAbsent,
    CardBusy,
    CardWasReset,
    Connection,
    Reader,
    ReaderLost,
    ReaderServiceDown,
    ReaderServiceLost,
    ReaderSupportMissing,
    ReaderUnknown,
)

__all__ = [
    "CardAbsent",
    "CardBusy",
    "CardWasReset",
    "Connection",
    "InProcessReader",
    "Reader",
    "ReaderLost",
    "ReaderServiceDown",
    "ReaderServiceLost",
    "ReaderSupportMissing",
    "ReaderUnknown",
]
