"""What a card remembers: its ten transactions and thirty trips, and how they compare with the centre's books (F17).

The log keeps the counter *after* the increment, records and the centre keep the one before (purse-protocol.md,
section 2); online and offline transactions count apart. Both are allowed for here, and nowhere else.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from libs.purse import status
from libs.purse.card.profiles import SFI_LOG, SFI_TRANSIT_LOG
from libs.purse.layouts import LOG, TRANSIT_LOG, Reading, decode
from libs.purse.transactions import Tti
from libs.purse.transceiver import Transceiver, exchange

LOG_RECORDS = 10
_RECORDS_MAX = 32
_ONLINE = frozenset({Tti.ED_LOAD, Tti.EP_LOAD, Tti.ED_UNLOAD, Tti.OVERDRAFT_CHANGE})


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One transaction of file 0018.

    Attributes:
        counter: After the transaction, as the card keeps it.
        overdraft_limit_fen: At that time; the balance that the chip tells includes it.
        amount_fen: Its amount, in fen.
        tti: Transaction type, also one that we do not know.
        terminal: Terminal number, 6 bytes.
        at: City time; None when the digits are none.
        raw: The whole record, 23 bytes.
    """

    counter: int
    overdraft_limit_fen: int
    amount_fen: int
    tti: int
    terminal: bytes
    at: datetime | None
    raw: bytes

    @property
    def counter_before(self) -> int:
        """As MACs, TACs and records carry it."""
        return self.counter - 1

    @property
    def online(self) -> bool:
        """Whether the online counter counted it: loads, unloads, changes of the limit."""
        return self.tti in _ONLINE


def parse_log(record: bytes) -> LogEntry | None:
    """One record of file 0018; None for an empty or shorter one."""
    if len(record) != LOG.size or not any(record):
        return None
    stamp = decode(LOG, record)[-1].value
    return LogEntry(
        counter=int.from_bytes(record[:2], "big"),
        overdraft_limit_fen=int.from_bytes(record[2:5], "big"),
        amount_fen=int.from_bytes(record[5:9], "big"),
        tti=record[9],
        terminal=record[10:16],
        at=stamp if isinstance(stamp, datetime) else None,
        raw=record,
    )


def read_log(card: Transceiver) -> tuple[LogEntry, ...]:
    """The log of the selected application, newest first.

    Raises:
        CardGone: The card left.
    """
    return tuple(entry for record in _records(card, SFI_LOG) if (entry := parse_log(record)))


def read_trips(card: Transceiver) -> tuple[tuple[Reading, ...], ...]:
    """The transit log of the selected application, newest first, field by field; empty ones are left out.

    Raises:
        CardGone: The card left.
    """
    return tuple(decode(TRANSIT_LOG, record) for record in _records(card, SFI_TRANSIT_LOG) if any(record))


@dataclass(frozen=True, slots=True)
class CentreEntry:
    """What the centre knows of one transaction of the card.

    Attributes:
        counter_before: Counter in its record or order.
        amount_fen: In fen.
        tti: Transaction type.
    """

    counter_before: int
    amount_fen: int
    tti: int


class Gap(Enum):
    """How card and centre differ."""

    NOT_AT_CENTRE = "the card has it, the centre not: a record is still under way, or lost"
    NOT_ON_CARD = "the centre has it, the card not: it never happened, or the record is forged"
    CONTRADICTS = "both have it with another amount or type"


@dataclass(frozen=True, slots=True)
class Difference:
    """One transaction that card and centre do not agree upon.

    Attributes:
        gap: How.
        online: Which of the two counters.
        counter_before: Which transaction.
        card: What the card says; None when it says nothing.
        centre: What the centre says; likewise.
    """

    gap: Gap
    online: bool
    counter_before: int
    card: LogEntry | None
    centre: CentreEntry | None


def differences(
    log: Iterable[LogEntry], centre: Iterable[CentreEntry], *, capacity: int = LOG_RECORDS
) -> list[Difference]:
    """Where card and centre differ, by counter; what is older than the card's memory of that counter is not judged.

    Args:
        log: From `read_log`.
        centre: What the centre has of the card, at least as far back.
        capacity: Records of the log file; a log that is not full has forgotten nothing.
    """
    on_card = {(entry.online, entry.counter_before): entry for entry in log}
    at_centre = {(entry.tti in _ONLINE, entry.counter_before): entry for entry in centre}
    found = []
    for online, counter in sorted(on_card.keys() | at_centre.keys()):
        ours, theirs = on_card.get((online, counter)), at_centre.get((online, counter))
        if ours is None:
            # Ten entries are shared by both counters: only what is younger than the oldest one must be there.
            remembered = [number for kind, number in on_card if kind == online]
            if len(on_card) >= capacity and (not remembered or counter < min(remembered)):
                continue
            gap = Gap.NOT_ON_CARD
        elif theirs is None:
            gap = Gap.NOT_AT_CENTRE
        elif (ours.amount_fen, ours.tti) != (theirs.amount_fen, theirs.tti):
            gap = Gap.CONTRADICTS
        else:
            continue
        found.append(Difference(gap, online, counter, ours, theirs))
    return found


def _records(card: Transceiver, sfi: int) -> Iterator[bytes]:
    for number in range(1, _RECORDS_MAX + 1):
        data, word = exchange(card, bytes((0x00, 0xB2, number, sfi << 3 | 4, 0x00)))
        if word != status.OK:
            return
        yield data
