"""The fleet's day before it happens, as columns: who the terminals are, what they record, and what goes wrong where.

Everything follows from the seed. A terminal is a row, a tap is a row; neither is a Python object.
"""

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final

import numpy as np
import numpy.typing as npt

from city.keys import CITY_CODE, ISSUER_ID, city_keys
from city.simulation.operators import OPERATORS, metro_line
from libs.clock import CITY_TZ
from libs.purse.bulk import bulk_tac
from libs.purse.scheme import Scheme
from libs.records import bcd
from libs.records.codes import Kind
from libs.records.numbers import CardClass, card_bytes, institution_bytes, make_jt_number
from libs.records.otr import Records, new_records, seal, tac_data

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

DAY: Final = date(2025, 9, 1)
WAVES: Final = 3
OLD_PROGRAM: Final = "terminal 0.0 (2009)"
_OPENS, _CLOSES = time(5, 30), time(21, 30)
_FIRST_CARD = 30_000_000_000
_TRIPS_OF_CARD = 6
_OPENING_FEN = 200_00

# Shares of terminals [convention]: without a line of their own, with an old program, with a clock that has drifted, far
# off, whose battery is pulled in the day, that send a file twice, that send records again in another file.
_WITHOUT_LINE, _OLD, _DRIFTED, _FAR_OFF = 0.3, 0.1, 0.3, 0.01
_BATTERY, _FILE_TWICE, _RECORDS_TWICE, _LINE_BREAKS = 0.1, 0.1, 0.05, 0.25
# Whose records are lost for ever, come late, or were declared void.
_LOST, _LATE, _VOID = 0.03, 0.06, 0.02

HOLE: Final = np.dtype([("terminal", "i4"), ("first", "i8"), ("last", "i8"), ("kind", "u1")])
"""Serials of a terminal that do not come with their wave."""

LOST, LATE, VOID = 0, 1, 2
HOLE_KINDS: Final = ("lost", "late", "void")


@dataclass(frozen=True, slots=True)
class Fleet:
    """The terminals.

    Attributes:
        numbers: (n,) terminal number as an integer.
        operators: (n,) place of the operator in `OPERATORS`.
        own_line: (n,) it has a line of its own; the others are visited by their operator's collector.
        old_program: (n,) it says nothing at sign-in but who it is.
        clock_ahead_s: (n,) how far its clock is ahead.
        battery_wave: (n,) in which wave its battery is pulled, -1 never.
        line_breaks: (n,) its uploads are cut in the middle.
        file_twice: (n,) it sends a file a second time.
        records_twice: (n,) it sends records a second time in another file.
    """

    numbers: I64
    operators: U8
    own_line: Bools
    old_program: Bools
    clock_ahead_s: I64
    battery_wave: npt.NDArray[np.int8]
    line_breaks: Bools
    file_twice: Bools
    records_twice: Bools

    def __len__(self) -> int:
        return len(self.numbers)

    def number(self, terminal: int) -> str:
        """12 digits."""
        return f"{self.numbers[terminal]:012d}"

    def psam_number(self, terminal: int) -> str:
        """20 digits."""
        return f"58400001{self.number(terminal)}"

    def device_number(self, terminal: int) -> int:
        """The machine."""
        return terminal + 1


@dataclass(frozen=True, slots=True)
class FleetDay:
    """What happens to it.

    Attributes:
        seed: Of everything.
        fleet: The terminals.
        records: Every record that a terminal of the fleet has made, by terminal and device seq.
        starts: (n + 1,) where the records of each terminal begin in `records`.
        wave: (records,) when each would be sent: 0 to `WAVES` - 1.
        holes: What does not come, dtype `HOLE`.
        closed_at: When the day's registers are closed.
    """

    seed: int
    fleet: Fleet
    records: Records
    starts: I64
    wave: U8
    holes: npt.NDArray[np.void]
    closed_at: datetime

    def of(self, terminal: int) -> slice:
        """The rows of a terminal."""
        return slice(int(self.starts[terminal]), int(self.starts[terminal + 1]))

    def held_back(self) -> U8:
        """(records,) 0 for one that comes with its wave, else 1 + the kind of its hole."""
        held = np.zeros(len(self.records), np.uint8)
        for hole in self.holes:
            start = int(self.starts[hole["terminal"]])
            held[start + hole["first"] - 1 : start + hole["last"]] = 1 + hole["kind"]
        return held

    def expected_holes(self) -> dict[str, list[tuple[int, int]]]:
        """By terminal number: the ranges that its certificate must list, exactly."""
        found: dict[str, list[tuple[int, int]]] = {}
        for hole in self.holes[self.holes["kind"] == LOST]:
            found.setdefault(self.fleet.number(int(hole["terminal"])), []).append(
                (int(hole["first"]), int(hole["last"]))
            )
        return found

    def registers(self) -> tuple[I64, I64]:
        """(n,) count and (n,) sum in fen of every terminal's day, as its own registers say them.

        A serial that was declared void never was a record: it is in neither.
        """
        real = self.held_back() != 1 + VOID
        amounts = np.append(np.where(real, self.records["amount_fen"].astype(np.int64), 0).cumsum(), 0)
        counts = np.append(real.astype(np.int64).cumsum(), 0)
        # The place before the first row is the appended zero.
        return np.diff(counts[self.starts - 1]), np.diff(amounts[self.starts - 1])


def make_fleet_day(seed: int, terminal_count: int = 1_000, record_count: int = 150_000) -> FleetDay:
    """Plan a day.

    Args:
        seed: Any integer that is not negative.
        terminal_count: At least one for each operator.
        record_count: Records of all terminals together.
    """
    if terminal_count < len(OPERATORS) or record_count < terminal_count:
        raise ValueError(f"a fleet has {len(OPERATORS)} terminals at least, and a record for each")
    draw = np.random.default_rng(seed)
    fleet = _make_fleet(draw, terminal_count)
    # Busy and quiet places; some terminals nobody uses that day.
    weights = draw.gamma(1.5, 1.0, terminal_count) * (draw.random(terminal_count) > 0.02)
    terminals = np.sort(draw.choice(terminal_count, record_count, p=weights / weights.sum()))
    starts = np.searchsorted(terminals, np.arange(terminal_count + 1)).astype(np.int64)
    seconds = _times(draw, terminals, starts)
    records = _make_records(draw, fleet, terminals, starts, seconds)
    opens, closes = (int(datetime.combine(DAY, at, CITY_TZ).timestamp()) for at in (_OPENS, _CLOSES))
    wave = np.minimum((seconds - opens) * WAVES // (closes - opens), WAVES - 1).astype(np.uint8)
    # Not before the records that stand before it in the same terminal: clocks run on within a day.
    closed_at = datetime.combine(DAY, time(21, 45), CITY_TZ)
    return FleetDay(seed, fleet, records, starts, wave, _make_holes(draw, starts), closed_at)


def _make_fleet(draw: np.random.Generator, count: int) -> Fleet:
    operators = np.sort(draw.integers(0, len(OPERATORS), count)).astype(np.uint8)
    operators[: len(OPERATORS)] = np.arange(len(OPERATORS))
    operators.sort()

    def share(part: float) -> Bools:
        return draw.random(count) < part

    numbers = np.array([OPERATORS[place].number for place in operators.tolist()], np.int64) * 10_000_000_000
    own_line = ~share(_WITHOUT_LINE)
    drift = np.where(share(_DRIFTED), draw.integers(-300, 301, count), 0)
    clock = np.where(share(_FAR_OFF), draw.choice(np.array([-86_400, -3_600, 3_600, 86_400]), count), drift)
    return Fleet(
        numbers=numbers + 500_000 + np.arange(count),
        operators=operators,
        own_line=own_line,
        old_program=share(_OLD),
        clock_ahead_s=clock.astype(np.int64),
        battery_wave=np.where(share(_BATTERY), draw.integers(0, WAVES, count), -1).astype(np.int8),
        line_breaks=share(_LINE_BREAKS),
        file_twice=share(_FILE_TWICE),
        records_twice=share(_RECORDS_TWICE),
    )


def _times(draw: np.random.Generator, terminals: npt.NDArray[np.int64], starts: I64) -> I64:
    """Epoch seconds of every record, ascending within each terminal: morning and evening are busy."""
    opens = datetime.combine(DAY, _OPENS, CITY_TZ).timestamp()
    closes = datetime.combine(DAY, _CLOSES, CITY_TZ).timestamp()
    peak = draw.choice(np.array([8.0, 12.5, 18.0]), len(terminals), p=[0.4, 0.2, 0.4])
    midnight = datetime.combine(DAY, time(), CITY_TZ).timestamp()
    wanted = midnight + 3600 * draw.normal(peak, 1.6)
    seconds: I64 = np.clip(wanted, opens, closes - 1).astype(np.int64)
    ordered: I64 = seconds[np.lexsort((seconds, terminals))]
    return ordered


def _make_records(
    draw: np.random.Generator, fleet: Fleet, terminals: npt.NDArray[np.int64], starts: I64, seconds: I64
) -> Records:
    count = len(terminals)
    cards = max(1, count // _TRIPS_OF_CARD)
    numbers = np.array(
        [np.frombuffer(card_bytes(make_jt_number(CITY_CODE, _FIRST_CARD + card))[1], np.uint8) for card in range(cards)]
    )
    card = draw.integers(0, cards, count)
    operator_numbers = np.array([one.number for one in OPERATORS], np.int64)
    industries = np.array([one.industry_code for one in OPERATORS], np.int64)
    acquirers = np.array([np.frombuffer(institution_bytes(one.institution_id), np.uint8) for one in OPERATORS])
    lines = np.array([metro_line(one) if one.is_metro else 0 for one in OPERATORS], np.int64)
    operators = fleet.operators[terminals]
    amounts = draw.choice(np.array([160, 190, 200, 285, 380, 475]), count)
    device_seq = np.arange(count) - starts[terminals] + 1

    records = new_records(count)
    issuer = np.frombuffer(institution_bytes(ISSUER_ID), np.uint8)
    records["kind"] = np.where(industries[operators] == 1, int(Kind.EXIT), int(Kind.PURCHASE))
    records["card_class"] = int(CardClass.CPU_JT)
    records["key_version"] = records["key_index"] = 1
    records["issuer"] = issuer
    records["card_number"] = numbers[card]
    records["card_city"] = records["accepting_city"] = np.frombuffer(bytes.fromhex(CITY_CODE), np.uint8)
    records["card_main_type"] = 1
    records["acquirer"] = acquirers[operators]
    records["industry"] = industries[operators]
    records["operator"] = operator_numbers[operators]
    terminal_bcd = bcd_of(fleet.numbers, 6)
    psam_bcd = np.concatenate(
        [np.tile(np.frombuffer(bytes.fromhex("58400001"), np.uint8), (len(fleet), 1)), terminal_bcd], axis=1
    )
    records["terminal_number"] = terminal_bcd[terminals]
    records["psam_number"] = psam_bcd[terminals]
    # A battery that was pulled makes the module skip what it had reserved.
    opens = datetime.combine(DAY, _OPENS, CITY_TZ).timestamp()
    closes = datetime.combine(DAY, _CLOSES, CITY_TZ).timestamp()
    wave = np.minimum((seconds - opens) * WAVES // (closes - opens), WAVES - 1)
    pulled = (fleet.battery_wave[terminals] >= 0) & (wave >= fleet.battery_wave[terminals])
    records["terminal_seq"] = device_seq + np.where(pulled, 64, 0)
    records["device_seq"] = device_seq
    records["device_number"] = terminals + 1
    order = np.lexsort((seconds, card))
    first = np.searchsorted(card[order], np.arange(cards))
    counter = np.empty(count, np.int64)
    counter[order] = np.arange(count) - first[card[order]]
    spent = np.cumsum(amounts[order]) - amounts[order]
    before = np.empty(count, np.int64)
    before[order] = _OPENING_FEN - (spent - spent[first[card[order]]])
    records["card_counter"] = counter
    records["balance_before_fen"] = before
    records["tti"] = np.where(industries[operators] == 1, 9, 6)
    records["amount_fen"] = records["list_price_fen"] = amounts
    records["line"] = bcd_of(lines, 3)[operators]
    records["time"] = bcd.epoch_s_to_times(seconds)
    records["tac"] = bulk_tac(
        city_keys(), Scheme.JT, issuer.tobytes(), records["card_number"], np.ones(count, np.uint8),
        np.zeros(count, np.uint8), tac_data(records),
    )  # fmt: skip
    return seal(records)


def _make_holes(draw: np.random.Generator, starts: I64) -> npt.NDArray[np.void]:
    """At most two holes in a terminal, apart from one another, each of one kind."""
    rows: list[tuple[int, int, int, int]] = []
    counts = np.diff(starts)
    for kind, share in ((LOST, _LOST), (LATE, _LATE), (VOID, _VOID)):
        for terminal in np.flatnonzero((draw.random(len(counts)) < share) & (counts >= 12)).tolist():
            if any(one[0] == terminal for one in rows):
                continue
            length = int(draw.integers(1, 6))
            first = int(draw.integers(1, counts[terminal] - length + 1))
            rows.append((terminal, first, first + length - 1, kind))
            if kind == LOST and first > 8:
                # A second hole before it, with something in between.
                rows.append((terminal, 1, int(draw.integers(1, 4)), kind))
    return np.array(sorted(rows), dtype=HOLE)


def bcd_of(numbers: I64, size: int) -> U8:
    """(n, size) packed digits of numbers."""
    digits = numbers[:, None] // 10 ** np.arange(2 * size - 1, -1, -1, dtype=np.int64) % 10
    return (digits[:, ::2] * 16 + digits[:, 1::2]).astype(np.uint8)
