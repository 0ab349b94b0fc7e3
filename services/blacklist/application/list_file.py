"""List files: BL and BI (record-formats.md, section 2), the same bytes for the same versions, for ever."""

from dataclasses import dataclass

import numpy as np

from libs.clock import CITY_TZ
from libs.records.batch import FileType, ListExtension, encode_batch
from libs.records.bcd import epoch_s_to_times
from libs.records.blacklist_file import Mode, make_entries
from libs.records.header import BATCH_NUMBER_MAX
from services.blacklist.application.ports import ListColumns
from services.blacklist.domain.chain import Head
from services.blacklist.domain.entry import ListMode


@dataclass(frozen=True, slots=True)
class ListFile:
    """A file ready to be sent.

    Attributes:
        version: Version of the list after it.
        data: The bytes; empty when the receiver has this version already, for there is no file without a change.
    """

    version: int
    data: bytes


def list_file(head: Head, columns: ListColumns, *, base_version: int, centre: str) -> ListFile:
    """Write a BL file (base version 0 and full) or a BI file.

    Created and business date are those of the version, the batch number is the version (after 999,999 it begins
    again at 1), and the receiver is the centre itself: the file is for everybody.

    Args:
        head: The version after the file, at least 1.
        columns: Its cards.
        base_version: 0: the whole list.
        centre: Institution id of the centre, 16 hexadecimal digits.
    """
    assert head.create_time is not None, "version 0 has no file"
    # Two modes are known there; what is to be ignored is not among the columns.
    modes = np.where(columns.modes == ListMode.LOCK, Mode.LOCK, Mode.REFUSE)
    rows = make_entries(columns.numbers, columns.actions, columns.reasons, epoch_s_to_times(columns.effective_s), modes)
    data = encode_batch(
        FileType.BI if base_version else FileType.BL,
        rows,
        sender=centre,
        receiver=centre,
        batch_number=(head.version - 1) % BATCH_NUMBER_MAX + 1,
        created=head.create_time,
        business_date=head.create_time.astimezone(CITY_TZ).date(),
        extension=ListExtension(head.version, base_version),
    )
    return ListFile(head.version, data)


def empty_columns() -> ListColumns:
    """No cards."""
    none = np.zeros(0, dtype=np.int16)
    return ListColumns(np.zeros((0, 10), dtype=np.uint8), none, none, none, np.zeros(0, dtype=np.int64))
