"""The book: legs that balance, journals in an unbroken sequence, each sealed by the hash of the one before."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.account.domain.chart import Chart, Side, chart_number_of
from services.account.domain.errors import JournalUnbalanced, PurseLegMismatch
from services.account.domain.purse import PurseChange, PurseKey

# The chain begins with this instead of a hash: 32 zero bytes.
GENESIS = bytes(32)
# How far ahead of its posting an event may say it happened: clocks of callers are wrong, but not by a day.
EVENT_AHEAD_MAX = timedelta(days=1)
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
        legs: Debits equal credits in every asset.
        event_time: When it happened.
        participant: Who has a wallet debited; empty when none is.
        purpose: What for; empty when no wallet is debited.
        member: Which card or person uses the wallet, `cards/…`; empty: its own holder.
    """

    event: str
    reference: str
    legs: tuple[Leg, ...]
    event_time: datetime
    participant: str = ""
    purpose: str = ""
    member: str = ""

    def check(self, chart: Chart) -> None:
        """Check what needs no look at the books, first mistake first.

        Raises:
            JournalUnbalanced: Debits and credits differ.
            PurseLegMismatch: A leg on the float names no purse, or another leg names one.
            ChartNumberUnknown: An account's number is not in the chart.
        """
        check_balanced(self.legs, chart)
        for leg in self.legs:
            if (chart_number_of(leg.account) == chart.float_number) != (leg.purse is not None):
                raise PurseLegMismatch(account=leg.account)
        for leg in self.legs:
            chart.line(leg.account)

    @property
    def purses(self) -> list[PurseKey]:
        """The purses behind the legs, each once, in the order in which they are locked."""
        return sorted({leg.purse for leg in self.legs if leg.purse is not None})

    def reversed(self, event: str, reference: str, now: datetime) -> "Posting":
        """The opposite posting: every leg on its other side."""
        legs = tuple(Leg(leg.account, leg.side.other, leg.amount_fen, leg.purse) for leg in self.legs)
        return Posting(event, reference, legs, now)

    def part(self, amounts_fen: Sequence[int]) -> "Posting":
        """The same with other amounts, one per leg; legs of 0 are left out."""
        legs = (
            Leg(leg.account, leg.side, amount, leg.purse)
            for leg, amount in zip(self.legs, amounts_fen, strict=True)
            if amount
        )
        return replace(self, legs=tuple(legs))


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
class NewJournal:
    """What is to be written at the next place of the book.

    Attributes:
        id: Its own.
        posting: What is posted.
        after: Debits and credits of each of its accounts after it, in fen.
        detail: Digest of the rows that the journal stands for, 32 bytes; None when its legs say everything.
    """

    id: UUID
    posting: Posting
    after: Mapping[str, tuple[int, int]]
    detail: bytes | None = None


class TimeAxis(StrEnum):
    """Which time decides whether an entry belongs to a moment."""

    POST_TIME = "post_time"
    EVENT_TIME = "event_time"


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
        post_time: When the journal was posted.
        debits_after_fen: Debits of the account after the whole journal; None where an earlier version posted it.
        credits_after_fen: Credits likewise.
    """

    journal: UUID
    event: str
    reference: str
    leg: Leg
    event_time: datetime
    sequence: int
    leg_number: int
    post_time: datetime
    debits_after_fen: int | None
    credits_after_fen: int | None


def check_balanced(legs: Iterable[Leg], chart: Chart) -> None:
    """Let pass legs whose debits equal their credits in every asset.

    Raises:
        JournalUnbalanced: Of the first asset by name in which they differ, or there is nothing on either side.
    """
    sums: dict[str, list[int]] = {}
    for leg in legs:
        both = sums.setdefault(chart.asset_of(leg.account), [0, 0])
        both[leg.side is Side.CREDIT] += leg.amount_fen
    for asset, (debits, credits_) in sorted(sums.items() or [(chart.asset, [0, 0])]):
        if debits != credits_ or not debits:
            raise JournalUnbalanced(asset=asset, debits_fen=debits, credits_fen=credits_)


def purse_changes(chart: Chart, posting: Posting, *, posted: int = 0, pending: int = 0) -> list[PurseChange]:
    """Sum legs per purse, in the order in which purses are locked.

    A credit of a load event is a load, written on the card; every other posted leg is a correction of the book.

    Args:
        chart: Which events are loads.
        posting: Of one journal or reservation.
        posted: 1 when the legs are posted, else 0.
        pending: 1 when they become pending, -1 when they cease to be, else 0.
    """
    sums: dict[PurseKey, list[int]] = {}
    for leg in posting.legs:
        if leg.purse is not None:
            sums.setdefault(leg.purse, [0, 0])[leg.side is Side.CREDIT] += leg.amount_fen
    is_load = posting.event in chart.load_events
    return [
        PurseChange(
            key,
            loads_fen=posted * credits_ if is_load else 0,
            corrections_debit_fen=posted * debits,
            corrections_credit_fen=0 if is_load else posted * credits_,
            pending_loads_fen=pending * credits_,
            pending_debits_fen=pending * debits,
            load_time=posting.event_time if is_load and posted and credits_ else None,
        )
        for key, (debits, credits_) in sorted(sums.items())
    ]


def journal_bytes(journal_id: UUID, posting: Posting, post_time: datetime, detail: bytes | None = None) -> bytes:
    """The canonical form of a journal without its sequence: what the chain seals, and what SQL rebuilds to prove it.

    UTF-8 lines ended by LF: id, event, event time and posting time in microseconds since 1970 UTC, length of the
    reference in bytes, reference; when a wallet was debited `by|participant|purpose|member`; when the journal stands
    for a batch `detail|` and the digest of its rows in hexadecimal; then per leg in order
    `number|account|side|amount_fen|purse`. The length keeps a reference with line ends from passing for legs. Names
    stand instead of keys, so that giving a key another meaning is found too.
    """
    reference = posting.reference
    head = (
        f"{journal_id}\n{posting.event}\n{_microseconds(posting.event_time)}\n{_microseconds(post_time)}\n"
        f"{len(reference.encode())}\n{reference}\n"
    )
    if posting.participant or posting.purpose or posting.member:
        head += f"by|{posting.participant}|{posting.purpose}|{posting.member}\n"
    if detail is not None:
        head += f"detail|{detail.hex()}\n"
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
