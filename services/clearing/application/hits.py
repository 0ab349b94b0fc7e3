"""What a judged set says of cards on the blacklist: one event of columns for the blacklist service."""

import uuid
from datetime import datetime
from typing import Final

import numpy as np
from citycard.clearing.v1 import events_pb2 as events

from libs.records import otr
from libs.records.codes import Kind, ResultCode
from services.clearing.application.messages import timestamp
from services.clearing.domain.judgement import I64, Judgement, Known, rows_of

LOCKED: Final = 1
REFUSED: Final = 2
LET_THROUGH: Final = 3
_ROWS_MAX: Final = 20_000


def hits_of(
    records: otr.Records, times_s: I64, known: Known, judgement: Judgement, at: datetime
) -> list[events.ListedCardsMet]:
    """The records of a set that tell of a listed card (record-formats.md: section 1, kind 07 and flag b5; section 4).

    Counted are accepted records of kind 07, and takers with code 20 or the flag. A record that came before has code 01
    and is not counted again; one that waits is counted by the decision that lets it in.

    Args:
        records: (n,) OTR of the set.
        times_s: (n,) epoch seconds, by the terminals' clocks.
        known: What they were judged by.
        judgement: Their verdicts.
        at: Now.

    Returns:
        Events of at most 20,000 rows; none where no card was met.
    """
    flags = records["flags"]
    flagged = (flags & otr.Flag.BLACKLIST_HIT) != 0
    written = (records["kind"] == Kind.CARD_LOCKED) & (judgement.codes == ResultCode.ACCEPTED)
    passed = judgement.takes & ((judgement.codes == ResultCode.BLACKLISTED) | flagged)
    # A kind 07 is a lock by its name; one that says "met" and not "locked" was refused only.
    refused = written & flagged & ((flags & otr.Flag.CARD_LOCKED) == 0)
    outcomes = np.select([passed, refused], [LET_THROUGH, REFUSED], default=LOCKED).astype(np.uint8)
    chosen = np.flatnonzero(written | passed)
    # A clock that runs ahead must not make a card met in the future for ever.
    met_s = np.maximum(np.minimum(times_s, known.received_s), 1)
    made = []
    for start in range(0, len(chosen), _ROWS_MAX):
        rows = chosen[start : start + _ROWS_MAX]
        some = rows_of(records, rows)
        made.append(
            events.ListedCardsMet(
                hit_set_id=str(uuid.uuid4()),
                card_numbers=some["card_number"].tobytes(),
                generations=known.generation[rows].tolist(),
                outcomes=outcomes[rows].tobytes(),
                times_s=met_s[rows].tolist(),
                terminal_numbers=some["terminal_number"].tobytes(),
                post_time=timestamp(at),
            )
        )
    return made
