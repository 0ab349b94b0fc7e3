"""What suspense keeps beside its items, as rows and columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt

from services.clearing.domain.judgement import I64


@dataclass(frozen=True, slots=True)
class NewItems:
    """Items to be opened; columns of equal length.

    Attributes:
        digest: (n,) V16 of the records.
        participant: (n,) surrogate.
        settlement_day: Days of the records; None where they have none.
        issuer: 16 hexadecimal digits each.
    """

    digest: npt.NDArray[np.void]
    participant: I64
    settlement_day: Sequence[date | None]
    code: I64
    debited: npt.NDArray[np.bool_]
    amount_fen: I64
    issuer: Sequence[str]
    jt: npt.NDArray[np.bool_]
    card_number: Sequence[bytes]
    terminal_number: I64
    terminal_seq: I64
    file_id: I64
    file_index: I64


@dataclass(frozen=True, slots=True)
class ItemEvent:
    """Something that happened to an item."""

    at: datetime
    person: str
    action: str
    note: str


@dataclass(frozen=True, slots=True)
class Age:
    """What is open of one participant, kind and age."""

    participant: str
    debited: bool
    days_above: int
    item_count: int
    amount_fen: int
    oldest_at: datetime
