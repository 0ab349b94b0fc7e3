"""The book: legs that balance, journals in an unbroken sequence, each sealed by the hash of the one before."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from services.account.domain.chart import Chart, Side, chart_number_of
from services.account.domain.errors import JournalUnbalanced, PurseLegMismatch
from services.account.domain.purse import PurseChange, PurseKey

# The chain begins with this instead of a hash: 32 zero bytes.
GENESIS = bytes(32)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of a journal.

    Attributes:
        account: Name of the account.
        side: Debit or credit.
        amount_fen: Above 0.
        purse: The purse behind a leg on the card float; None elsewhere, and on the float in journals of whole
            batches, whose detail stands in the movements or openings.
    """

    account: str
    side: Side
    amount_fen: int
    purse: PurseKey | None = None


@dataclass(frozen=True, slots=True)
class Posting:
    """What is to be posted or held.

    Attributes:
        event: Word of the event, `load`.
        reference: What it refers to, `loads/…`.
        legs: Debits equal credits.
        event_time: When it happened.
    """

    event: str
    reference: str
    legs: tuple[Leg, ...]
    event_time: datetime

    def check(self, chart: Chart) -> None:
        """Check what needs no look at the books, first mistake first.

        Raises:
            JournalUnbalanced: Debits and credits differ.
            PurseLegMismatch: A leg on the float names no purse, or another leg names one.
            ChartNumberUnknown: An account's number is not in the chart.
        """
        check_balanced(self.legs)
        for leg in self.legs:
            if (chart_number_of(leg.account) == chart.float_number) != (leg.purse is not None):
                raise PurseLegMismatch(account=leg.account)
        for leg in self.legs:
            chart.line(leg.account)

    @property
    def purses(self) -> list[PurseKey]:
        """The purses behind the legs, each once, in the order in which they are locked."""
        return sorted({leg.purse for leg in self.legs if leg.purse is not None})


@dataclass(frozen=True, slots=True)
class Journal:
    """One posted journal: never changed, corrected only by another.

    Attributes:
        id: Its own.
        posting: What was posted.
        post_time: When it was posted.
        sequence: Position in the book, without gaps, from 1.
    """

    id: UUID
    posting: Posting
    post_time: datetime
    sequence: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an account: a leg with its journal's facts.

    Attributes:
        journal: Id of the journal.
        event: Word of the event.
        reference: What it refers to.
        leg: The leg.
        event_time: When it happened.
        sequence: Position of the journal in the book.
        leg_number: Position of the leg in the journal, from 1.
    """

    journal: UUID
    event: str
    reference: str
    leg: Leg
    event_time: datetime
    sequence: int
    leg_number: int


def check_balanced(legs: Iterable[Leg]) -> None:
    """Let pass legs whose debits equal their credits.

    Raises:
        JournalUnbalanced: They differ, or there is nothing on either side.
    """
    sums = {Side.DEBIT: 0, Side.CREDIT: 0}
    for leg in legs:
        sums[leg.side] += leg.amount_fen
    if sums[Side.DEBIT] != sums[Side.CREDIT] or not sums[Side.DEBIT]:
        raise JournalUnbalanced(debits_fen=sums[Side.DEBIT], credits_fen=sums[Side.CREDIT])


def purse_changes(
    chart: Chart, event: str, legs: Iterable[Leg], *, posted: int = 0, pending: int = 0
) -> list[PurseChange]:
    """Sum legs per purse, in the order in which purses are locked.

    A credit of a load event is a load, written on the card; every other posted leg is a correction of the book.

    Args:
        chart: Which events are loads.
        event: Word of the event.
        legs: Of one journal or reservation.
        posted: 1 when the legs are posted, else 0.
        pending: 1 when they become pending, -1 when they cease to be, else 0.
    """
    sums: dict[PurseKey, list[int]] = {}
    for leg in legs:
        if leg.purse is not None:
            sums.setdefault(leg.purse, [0, 0])[leg.side is Side.CREDIT] += leg.amount_fen
    is_load = event in chart.load_events
    return [
        PurseChange(
            key,
            loads_fen=posted * credits_ if is_load else 0,
            corrections_debit_fen=posted * debits,
            corrections_credit_fen=0 if is_load else posted * credits_,
            pending_loads_fen=pending * credits_,
            pending_debits_fen=pending * debits,
        )
        for key, (debits, credits_) in sorted(sums.items())
    ]


def journal_bytes(journal_id: UUID, posting: Posting, post_time: datetime) -> bytes:
    """The canonical form of a journal without its sequence: what the chain seals, and what SQL rebuilds to prove it.

    UTF-8 lines ended by LF: id, event, event time and posting time in microseconds since 1970 UTC, length of the
    reference in bytes, reference, then per leg in order `number|account|side|amount_fen|purse`. The length keeps a
    reference with line ends from passing for legs. Names stand instead of keys, so that giving a key another meaning
    is found too.
    """
    reference = posting.reference
    head = (
        f"{journal_id}\n{posting.event}\n{_microseconds(posting.event_time)}\n{_microseconds(post_time)}\n"
        f"{len(reference.encode())}\n{reference}\n"
    )
    legs = (
        f"{number}|{leg.account}|{leg.side.value}|{leg.amount_fen}|{leg.purse.name if leg.purse else ''}\n"
        for number, leg in enumerate(posting.legs, 1)
    )
    return (head + "".join(legs)).encode()


def chain_hash(previous: bytes, sequence: int, body: bytes) -> bytes:
    """The seal of a journal: SHA-256 over the seal before it (32 bytes), its sequence (8 bytes) and its bytes."""
    return hashlib.sha256(previous + sequence.to_bytes(8, "big") + body).digest()


def _microseconds(moment: datetime) -> int:
    step = moment - _EPOCH
    return (step.days * 86_400 + step.seconds) * 1_000_000 + step.microseconds
