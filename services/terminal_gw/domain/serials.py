"""Which serials a file of records holds, as ranges per terminal and machine (record-formats.md, sections 1 and 5)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from libs.records.bcd import is_bcd
from libs.records.otr import OTR_FORMAT, Records, checksums, terminal_numbers
from services.terminal_gw.domain.upload import UploadKey

Ranges: TypeAlias = tuple[tuple[int, int], ...]
SERIAL_MAX: Final = 4_294_967_295
_I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SerialRuns:
    """What one file holds of one terminal in one machine.

    Attributes:
        terminal_number: 12 digits.
        device_number: The machine.
        record_count: Records, doubles of the file included.
        device_seqs: Device serials, first and last of each run, in order.
        terminal_seqs: PSAM serials likewise; records without one (0) have none.
    """

    terminal_number: str
    device_number: int
    record_count: int
    device_seqs: Ranges
    terminal_seqs: Ranges


@dataclass(frozen=True, slots=True)
class FileSerials:
    """What one file holds.

    Attributes:
        runs: By terminal and machine.
        terminal_count: Terminals in it.
        device_seq_first: Lowest device serial when all records are of one machine; 0 otherwise.
        device_seq_last: Highest likewise.
    """

    runs: tuple[SerialRuns, ...] = ()
    terminal_count: int = 0
    device_seq_first: int = 0
    device_seq_last: int = 0


@dataclass(frozen=True, slots=True)
class Indexed:
    """A stored upload and what it holds.

    Attributes:
        upload_id: Its number.
        key: Its key.
        sender: Identity that sent it.
        batch_number: Of its header.
        serials: What it holds.
    """

    upload_id: int
    key: UploadKey
    sender: str
    batch_number: int
    serials: FileSerials


def serials_of(records: Records) -> FileSerials:
    """The serials of the records that arrived whole: one with a wrong checksum proves nothing.

    Args:
        records: Of one file, any order.
    """
    good = records[intact(records)]
    if not len(good):
        return FileSerials()
    terminals = terminal_numbers(good).astype(np.int64)
    devices = good["device_number"].astype(np.int64)
    device_seqs = good["device_seq"].astype(np.int64)
    terminal_seqs = good["terminal_seq"].astype(np.int64)
    order = np.lexsort((device_seqs, devices, terminals))
    terminals, devices = terminals[order], devices[order]
    device_seqs, terminal_seqs = device_seqs[order], terminal_seqs[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(terminals) != 0) | (np.diff(devices) != 0)])
    ends = np.r_[starts[1:], len(order)]
    runs = tuple(
        SerialRuns(
            f"{terminals[start]:012d}",
            int(devices[start]),
            int(end - start),
            ranges_of(device_seqs[start:end]),
            ranges_of(np.sort(terminal_seqs[start:end])),
        )
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    )
    one_device = bool((devices == devices[0]).all())
    return FileSerials(
        runs,
        len(np.unique(terminals)),
        int(device_seqs.min()) if one_device else 0,
        int(device_seqs.max()) if one_device else 0,
    )


def intact(records: Records) -> npt.NDArray[np.bool_]:
    """Which records arrived as they were made: checksum, format and digits of the terminal number.

    Whether they are right is another question, and clearing's: a record with an impossible date is not missing.
    """
    good = is_bcd(records["terminal_number"])
    good &= checksums(records) == records["crc"]
    good &= records["format"] == OTR_FORMAT
    return good


def ranges_of(serials: _I64) -> Ranges:
    """Sorted serials as runs; doubles count once, zeros not at all."""
    serials = serials[serials > 0]
    if not len(serials):
        return ()
    breaks = np.flatnonzero(np.diff(serials) > 1)
    firsts, lasts = serials[np.r_[0, breaks + 1]], serials[np.r_[breaks, len(serials) - 1]]
    return tuple(zip(firsts.tolist(), lasts.tolist(), strict=True))


def count_of(ranges: Iterable[tuple[int, int]]) -> int:
    """How many serials."""
    return sum(last - first + 1 for first, last in ranges)


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Any ranges as runs in order."""
    result: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return tuple(result)


def without(whole: tuple[int, int], *covered: Sequence[tuple[int, int]]) -> Ranges:
    """What of a range none of the given ranges covers, in order; nothing of an empty range."""
    first, last = whole
    holes: list[tuple[int, int]] = []
    for low, high in merged(one for ranges in covered for one in ranges):
        if high < first:
            continue
        if low > last:
            break
        if low > first:
            holes.append((first, low - 1))
        first = high + 1
    if first <= last:
        holes.append((first, last))
    return tuple(holes)


def multirange(ranges: Iterable[tuple[int, int]]) -> str:
    """Ranges as PostgreSQL reads them: `{[1,4),[7,8)}`."""
    return "{" + ",".join(f"[{first},{last + 1})" for first, last in ranges) + "}"


def of_multirange(value: Any) -> Ranges:
    """A multirange of the driver as ranges; it is normal already: in order, without touching runs."""
    return tuple((int(one.lower), int(one.upper) - 1) for one in value)
