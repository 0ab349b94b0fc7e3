"""Between card lists and the rows of BL and BI files (record-formats.md, section 2), which are 24 bytes a card.

The rows know no generation and two modes only, and a list may forget times: the losses are said here and happen nowhere
else. A card to be ignored has no row; one to be refused at the exit is refused at both ends.
"""

import numpy as np
import numpy.typing as npt

from libs.cardlist.entries import ANY_GENERATION, ENTRY, SETTLED, Action, Entries, in_order
from libs.records import bcd
from libs.records.blacklist_file import Action as RowAction
from libs.records.blacklist_file import Mode, make_entries
from libs.records.rows import Rows

Bools = npt.NDArray[np.bool_]


def from_rows(rows: Rows) -> tuple[Entries, Entries]:
    """Entries that rows add, and entries that they delete; both for any generation.

    Args:
        rows: Dtype `LIST_ENTRY`, checked by the decoder of their file. The mode of an addition becomes the action.
    """
    entries = np.zeros(len(rows), dtype=ENTRY)
    entries["card_number"] = rows["card_number"]
    entries["generation"] = ANY_GENERATION
    entries["action"] = rows["mode"]
    entries["reason"] = rows["reason"]
    entries["effective_s"] = bcd.times_to_epoch_s(rows["effective"]) if len(rows) else 0
    deletes: Bools = rows["action"] == RowAction.DELETE
    return entries[~deletes], entries[deletes]


def to_rows(entries: Entries, settled_until_s: int, deleted: Entries | None = None) -> Rows:
    """Rows of a BL file, or of a BI file.

    Args:
        entries: Of a blacklist, in order. Of a number in several generations the latest counts.
        settled_until_s: Stands for the times that were settled; of the list that the entries are from.
        deleted: What a BI file deletes; None or empty for BL. A number that is also added is not deleted.
    """
    added = _latest(entries)
    ignored: Bools = added["action"] == Action.IGNORE
    gone = np.zeros(0, dtype=ENTRY)
    if deleted is not None:
        gone = _latest(in_order(np.concatenate((deleted, added[ignored]))))
    added = added[~ignored]
    gone = gone[~np.isin(_numbers(gone), _numbers(added))]
    both = np.concatenate((added, gone))
    actions = np.repeat([RowAction.ADD, RowAction.DELETE], [len(added), len(gone)])
    times = np.where(both["effective_s"] == SETTLED, settled_until_s, both["effective_s"].astype(np.int64))
    modes = np.where(both["action"] == Action.LOCK, Mode.LOCK, Mode.REFUSE)
    return make_entries(both["card_number"], actions, both["reason"], bcd.epoch_s_to_times(times), modes)


def _numbers(entries: Entries) -> npt.NDArray[np.bytes_]:
    return np.ascontiguousarray(entries["card_number"]).view("S10")[:, 0] if len(entries) else np.zeros(0, "S10")


def _latest(entries: Entries) -> Entries:
    numbers = _numbers(entries)
    last: Bools = np.ones(len(entries), dtype=np.bool_)
    last[:-1] = numbers[1:] != numbers[:-1]
    return entries[last]
