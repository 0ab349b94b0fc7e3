"""How movements fold into purses, as columns, and what does not add up (clearing-and-ledger.md, section 6)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

import numpy as np
import numpy.typing as npt

from services.account.domain.batch import Movements
from services.account.domain.columns import I64, Bools
from services.account.domain.purse import PurseKey

Positions = npt.NDArray[np.intp]


class ItemKind(IntEnum):
    """What does not add up on a card; the numbers are stored."""

    GAP = 1
    REPEAT = 2
    BALANCE = 3


class ItemOutcome(StrEnum):
    """How an item ended."""

    FILLED = "FILLED"
    EXPLAINED = "EXPLAINED"
    DECIDED = "DECIDED"


@dataclass(frozen=True, slots=True)
class PurseItem:
    """One thing that does not add up on a card: found by itself, never silent, closed by records or by a person.

    Attributes:
        id: Number.
        key: The purse.
        kind: Counters missing (断号), a counter that came again (重号), a balance that is not explained (余额不符).
        counter_from: First counter concerned.
        counter_to: Last counter concerned.
        amount_fen: Of a repetition what was taken again; of a balance the book less what the card printed and what
            loads explain; 0 of a gap, since nobody knows.
        open_time: When it was found.
        close_time: When it ended; None while it is open.
        outcome: How it ended; None while it is open.
        note: Why a person closed it.
    """

    id: int
    key: PurseKey
    kind: ItemKind
    counter_from: int
    counter_to: int
    amount_fen: int
    open_time: datetime
    close_time: datetime | None
    outcome: ItemOutcome | None
    note: str


@dataclass(frozen=True, slots=True, eq=False)
class FoldedPurses:
    """What a batch adds to each of its purses; rows as the purses were locked.

    Attributes:
        debits_fen: Sum of the movements, repeated counters included: the money has moved.
        repeats_fen: Of them under counters that were there before.
        counter_count: Distinct counters never seen before.
        counter_max: Highest counter of the batch.
        printed_balance_fen: What the card said it held after that one.
        times_s: Its time, seconds since 1970 UTC.
    """

    debits_fen: I64
    repeats_fen: I64
    counter_count: I64
    counter_max: I64
    printed_balance_fen: I64
    times_s: I64


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What a batch shows of counters; rows of purses by position.

    Attributes:
        gap_positions: Purses that now miss counters.
        gap_from: First missing one of each.
        gap_to: Last missing one of each.
        repeats: Rows of the batch whose counter was there before.
        late_positions: Purses that get a counter below their highest which was never seen.
        late_counters: That counter.
    """

    gap_positions: Positions
    gap_from: I64
    gap_to: I64
    repeats: Positions
    late_positions: Positions
    late_counters: I64


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """What a batch holds of each of its purses, if all of it is new; rows by position.

    Attributes:
        counter_from: Lowest counter.
        counter_count: Movements; where the run is unbroken they end at `counter_from + counter_count - 1`.
        debits_fen: Their sum.
        printed_balance_fen: What the card said it held after the highest counter.
        times_s: The time of that one, seconds since 1970 UTC.
        unbroken: Whether the counters follow one another, each once.
    """

    counter_from: I64
    counter_count: I64
    debits_fen: I64
    printed_balance_fen: I64
    times_s: I64
    unbroken: Bools


def runs(movements: Movements, positions: Positions) -> Runs:
    """Sum movements per purse without knowing what came before; one or more of them.

    Most purses of a city go on where they stopped: for them this is all there is to know.
    """
    order = np.lexsort((movements.counters, positions))
    purse, counter = positions[order], movements.counters[order]
    new_purse = np.concatenate(([True], purse[1:] != purse[:-1]))
    follows = new_purse | np.concatenate(([True], counter[1:] == counter[:-1] + 1))
    starts = np.flatnonzero(new_purse)
    ends = np.concatenate((starts[1:], [len(order)])) - 1
    last = order[ends]
    return Runs(
        counter_from=counter[starts],
        counter_count=ends - starts + 1,
        debits_fen=np.add.reduceat(movements.amounts_fen[order], starts),
        printed_balance_fen=movements.balances_before_fen[last] - movements.amounts_fen[last],
        times_s=movements.times_s[last],
        unbroken=np.logical_and.reduceat(follows, starts),
    )


def may_repeat(movements: Movements, positions: Positions, counter_max: I64) -> Bools:
    """Which movements could bear a counter that was folded before: those not above the purse's highest.

    Args:
        movements: Of the batch.
        positions: For each movement the position of its purse.
        counter_max: Highest counter of each purse before the batch; -1 for none.
    """
    low: Bools = movements.counters <= counter_max[positions]
    return low


def fold(movements: Movements, positions: Positions, counter_max: I64, seen: Bools) -> tuple[FoldedPurses, Findings]:
    """Sum movements per purse, and find what is missing or came again.

    A counter that comes twice (a clone, or a record that clearing posted to suspense) moves money twice and counts
    once; the balance that its first bearer printed stands.

    Args:
        movements: One or more.
        positions: For each movement the position of its purse; every position up to the highest occurs.
        counter_max: Highest counter of each purse before the batch; -1 for none.
        seen: Movements whose counter was folded in an earlier batch.
    """
    # Stable: rows of one counter keep the order of the batch, so that the result depends on nothing else.
    order = np.lexsort((movements.counters, positions))
    purse, counter = positions[order], movements.counters[order]
    new_purse = np.concatenate(([True], purse[1:] != purse[:-1]))
    starts = np.flatnonzero(new_purse)
    ends = np.concatenate((starts[1:], [len(order)])) - 1
    distinct = new_purse | np.concatenate(([True], counter[1:] != counter[:-1]))
    first_of_counter = np.maximum.accumulate(np.where(distinct, np.arange(len(order)), 0))
    highest = order[first_of_counter[ends]]
    again = ~distinct | seen[order]
    amounts = movements.amounts_fen[order]
    folded = FoldedPurses(
        debits_fen=np.add.reduceat(amounts, starts),
        repeats_fen=np.add.reduceat(np.where(again, amounts, 0), starts),
        counter_count=np.add.reduceat((~again).astype(np.int64), starts),
        counter_max=movements.counters[highest],
        printed_balance_fen=movements.balances_before_fen[highest] - movements.amounts_fen[highest],
        times_s=movements.times_s[highest],
    )
    before = counter_max[purse]
    # What is new and above: each should follow the one before it, the lowest of them the highest of the purse.
    high = np.flatnonzero(~again & (counter > before))
    expected = before[high] + 1
    same = purse[high[1:]] == purse[high[:-1]]
    expected[1:][same] = counter[high[:-1]][same] + 1
    jumps = counter[high] > expected
    late = np.flatnonzero(~again & (counter < before))
    findings = Findings(
        gap_positions=purse[high][jumps],
        gap_from=expected[jumps],
        gap_to=counter[high][jumps] - 1,
        repeats=order[again],
        late_positions=purse[late],
        late_counters=counter[late],
    )
    return folded, findings


def unexplained_fen(
    after_fen: int, last_time: datetime, loads: Iterable[tuple[datetime, int]], tolerance: timedelta
) -> int:
    """What of the difference between book and card no load explains; 0 when all is well.

    The card printed its balance at a time that is known only as well as the terminal's clock: any cut within the
    tolerance may lie between loads that it held then and loads that came after; no other.

    Args:
        after_fen: The book less what the card printed.
        last_time: When it printed that.
        loads: Time and amount of loads that the book holds, newest first.
        tolerance: How far the clock may be off.
    """
    rows = list(loads)
    if after_fen == 0 and not any(at > last_time + tolerance for at, _ in rows):
        return 0
    summed = 0
    for place, (at, amount) in enumerate(rows):
        summed += amount
        older = rows[place + 1][0] if place + 1 < len(rows) else None
        if summed == after_fen and at >= last_time - tolerance and (older is None or older <= last_time + tolerance):
            return 0
    surely_after = sum(amount for at, amount in rows if at > last_time + tolerance)
    return after_fen - surely_after or after_fen
