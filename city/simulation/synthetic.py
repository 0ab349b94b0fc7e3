"""A synthetic day made of a seed: commuters, changes between bus and metro, concessions, a few things that go wrong.

Everything follows from the seed and the number of records: the same city, to the byte, on every machine. Prices are
those of the rule pack `shenzhen` (libs/fares); the plan knows for every card what a card remembers, so that transfers
get their discount within the window and not after it.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import accumulate
from typing import Final, TypeVar

import numpy as np

from city.keys import CITY_CODE
from city.simulation.operators import BUS_INDUSTRY, METRO_INDUSTRY, OPERATORS, metro_line
from city.simulation.plan import TAP, CardColumns, DayPlan, TerminalColumns
from libs.clock import CITY_TZ
from libs.fares.evaluate import Tap, evaluate, next_state
from libs.fares.prices import Staged
from libs.fares.rules import RulePack, load_pack
from libs.fares.state import DiscountState
from libs.records.codes import Kind
from libs.records.numbers import card_bytes, make_jt_number

_T = TypeVar("_T")

RECORDS_DEFAULT: Final = 24_000
DAY: Final = date(2025, 9, 1)
# Before the cut-off of 22:00, so that the day settles on its own date.
_COLLECTED_AT = time(21, 30)
_FIRST_SERIAL = 10_000_000_000

_STATIONS_OF_LINE = 18
_GATES_OF_STATION = 5
_METRO_FARES = Staged(((4, 200), (8, 300), (12, 400), (16, 500), (22, 600), (None, 700)))
# Bus operators by slug: lines, vehicles on each, share of bus rides in percent.
_BUSES = {
    "bus-group": (30, 12, 70),
    "bus-west": (10, 8, 20),
    "bus-jinhuanan": (3, 5, 5),
    "bus-huacheng": (2, 4, 3),
    "bus-henggang": (1, 3, 2),
}
_BUS_FARES = (200, 200, 250, 300, 300, 400, 500, 700, 1000)
# Card main type (card-files.md, section 8) and its share in percent.
_MAIN_TYPES = ((1, 80), (2, 7), (3, 7), (4, 2), (5, 2), (6, 2))
# A rider's day and its share in percent.
_HABITS = (("metro", 34), ("bus", 30), ("bus then metro", 16), ("metro then bus", 10), ("bus then bus", 10))
_ENTRY_ONLY_SHARE = 0.01
_LATE_CHANGE_SHARE = 0.05
_SENT_AGAIN = 3


@dataclass(frozen=True, slots=True)
class _Leg:
    """One ride of one card: boarded and, on the metro, left."""

    mode: int
    boarded: datetime
    left: datetime
    line: int
    from_terminal: int
    to_terminal: int
    list_price_fen: int


class _City:
    """Stations, gates, lines and vehicles."""

    def __init__(self) -> None:
        numbers: list[str] = []
        operators: list[int] = []
        lines: list[int] = []
        stations: list[int] = []
        self.gates: dict[tuple[int, int], list[int]] = {}
        self.vehicles: dict[int, list[list[int]]] = {}
        self.bus_operators: list[int] = []
        self.bus_shares: list[int] = []
        self.metro_operators: list[int] = []

        def add(operator: int, line: int, station: int, serial: int) -> int:
            numbers.append(f"{OPERATORS[operator].number:02d}{line:04d}{station:03d}{serial:03d}")
            operators.append(operator)
            lines.append(line)
            stations.append(station)
            return len(numbers) - 1

        for place, operator in enumerate(OPERATORS):
            if operator.is_metro:
                self.metro_operators.append(place)
                for station in range(1, _STATIONS_OF_LINE + 1):
                    self.gates[place, station] = [
                        add(place, metro_line(operator), station, gate) for gate in range(1, _GATES_OF_STATION + 1)
                    ]
            else:
                line_count, vehicle_count, share = _BUSES[operator.slug]
                self.bus_operators.append(place)
                self.bus_shares.append(share)
                self.vehicles[place] = [
                    [add(place, 100 * operator.number + line, 0, vehicle) for vehicle in range(1, vehicle_count + 1)]
                    for line in range(line_count)
                ]
        self.terminals = TerminalColumns(
            tuple(numbers), np.array(operators, np.uint8), np.array(lines, np.int32), np.array(stations, np.int32)
        )


class _Riders:
    """Draws the legs of one card after the other."""

    def __init__(self, city: _City, draw: random.Random, day: date) -> None:
        self._city = city
        self._draw = draw
        self._day = day
        self._metro_rides = 0
        self._bus_rides = 0

    def legs(self) -> list[_Leg]:
        """The rides of one card, in the order of time."""
        habit = _choose(self._draw, _HABITS)
        morning = self._moment(5, 40, 200)
        evening = self._moment(16, 0, 180)
        first, _, second = habit.partition(" then ")
        out = [*self._journey(morning, first, second)]
        # Not everybody comes back the same way within the day.
        back = [*self._journey(evening, second or first, first if second else "")] if self._draw.random() < 0.7 else []
        return out + back

    def _journey(self, start: datetime, first: str, second: str) -> Iterator[_Leg]:
        leg = self._ride(first, start)
        yield leg
        if second:
            # Mostly in time for the transfer discount, now and then too late for it.
            late = self._draw.random() < _LATE_CHANGE_SHARE
            wait = timedelta(seconds=self._draw.randrange(5401, 6600) if late else self._draw.randrange(120, 1500))
            yield self._ride(second, (leg.boarded if late and first == "bus" else leg.left) + wait)

    def _ride(self, mode: str, boarded: datetime) -> _Leg:
        return self._metro(boarded) if mode == "metro" else self._bus(boarded)

    def _metro(self, boarded: datetime) -> _Leg:
        draw, city = self._draw, self._city
        operators = city.metro_operators
        # The first rides go round, so that the smallest city has every line.
        first = operators[self._metro_rides % len(operators)]
        other = draw.choice(operators) if self._metro_rides >= len(operators) and draw.random() < 0.4 else first
        self._metro_rides += 1
        from_station, to_station = draw.sample(range(1, _STATIONS_OF_LINE + 1), 2)
        stops = abs(from_station - to_station)
        if other != first:
            # All lines cross in the middle.
            middle = _STATIONS_OF_LINE // 2
            stops = abs(from_station - middle) + abs(to_station - middle) + 1
        price = _METRO_FARES.find(0, stops)
        assert price is not None, "the last stage has no end"
        return _Leg(
            mode=METRO_INDUSTRY,
            boarded=boarded,
            left=boarded + timedelta(seconds=240 + 130 * stops + draw.randrange(240)),
            line=metro_line(OPERATORS[other]),
            from_terminal=draw.choice(city.gates[first, from_station]),
            to_terminal=draw.choice(city.gates[other, to_station]),
            list_price_fen=price,
        )

    def _bus(self, boarded: datetime) -> _Leg:
        draw, city = self._draw, self._city
        operators = city.bus_operators
        if self._bus_rides < len(operators):
            operator = operators[self._bus_rides]
        else:
            operator = draw.choices(operators, city.bus_shares)[0]
        self._bus_rides += 1
        line = draw.randrange(len(city.vehicles[operator]))
        vehicle = draw.choice(city.vehicles[operator][line])
        return _Leg(
            mode=BUS_INDUSTRY,
            boarded=boarded,
            left=boarded + timedelta(seconds=draw.randrange(300, 2100)),
            line=100 * OPERATORS[operator].number + line,
            from_terminal=vehicle,
            to_terminal=vehicle,
            list_price_fen=_BUS_FARES[(operator * 7 + line) % len(_BUS_FARES)],
        )

    def _moment(self, hour: int, minute: int, span_minutes: int) -> datetime:
        # Two draws added: the crowd comes in the middle of the span.
        offset = self._draw.randrange(span_minutes * 30) + self._draw.randrange(span_minutes * 30)
        return datetime.combine(self._day, time(hour, minute), CITY_TZ) + timedelta(seconds=offset)


def make_day(seed: int, record_count: int = RECORDS_DEFAULT, day: date = DAY) -> DayPlan:
    """Plan a day.

    Args:
        seed: Any integer.
        record_count: How many taps the day shall have, 100 or more, so that every operator has some.
        day: When it is.
    """
    if record_count < 100:
        raise ValueError("a city day has 100 records at least")
    draw = random.Random(seed)
    city = _City()
    riders = _Riders(city, draw, day)
    pack = load_pack("shenzhen")
    taps: list[tuple[int, int, int, int, int, int, int, bool]] = []
    main_types: list[int] = []
    while len(taps) < record_count:
        card = len(main_types)
        main_types.append(_choose(draw, _MAIN_TYPES))
        entry_only = draw.random() < _ENTRY_ONLY_SHARE
        ridden = [*_taps(pack, card, main_types[card], riders.legs())]
        if entry_only and ridden[-1][3] == Kind.EXIT:
            # The exit gate stood open.
            ridden.pop()
        taps += ridden[: record_count - len(taps)]
    # Card and kind decide within a second, so that the order never depends on how the list was made.
    taps.sort(key=lambda tap: (tap[0], tap[1], tap[3]))
    cards = len(main_types)
    return DayPlan(
        title_zh=f"种子 {seed} 的模拟城市，{day:%Y-%m-%d}",
        title_en=f"synthetic city of seed {seed}, {day:%Y-%m-%d}",
        collected_at=datetime.combine(day, _COLLECTED_AT, CITY_TZ),
        settlement_date=day,
        valid_from=day,
        cards=CardColumns(
            numbers=np.array(
                [
                    np.frombuffer(card_bytes(make_jt_number(CITY_CODE, _FIRST_SERIAL + card))[1], np.uint8)
                    for card in range(cards)
                ]
            ),
            main_types=np.array(main_types, np.uint8),
            opening_fen=np.array([5_000 + 1_000 * draw.randrange(16) for _ in range(cards)], np.int64),
        ),
        terminals=city.terminals,
        taps=np.array(taps, dtype=TAP),
        sent_again=np.array(sorted(draw.sample(range(record_count), _SENT_AGAIN)), dtype=np.intp),
    )


def _taps(
    pack: RulePack, card: int, main_type: int, legs: list[_Leg]
) -> Iterator[tuple[int, int, int, int, int, int, int, bool]]:
    """The taps of one card with what each costs."""
    state = DiscountState()
    for leg in legs:
        metro = leg.mode == METRO_INDUSTRY
        paid_at = leg.left if metro else leg.boarded
        ride = Tap(
            mode=leg.mode,
            main_type=main_type,
            list_price_fen=leg.list_price_fen,
            at=paid_at,
            line=f"{leg.line:06d}",
            boarded_at=leg.boarded,
            state=state,
        )
        charge = evaluate(pack, ride)
        state = next_state(pack, ride, charge)
        if metro:
            yield int(leg.boarded.timestamp()), card, leg.from_terminal, int(Kind.ENTRY), 0, 0, 0, False
        yield (
            int(paid_at.timestamp()),
            card,
            leg.to_terminal,
            int(Kind.EXIT if metro else Kind.PURCHASE),
            leg.list_price_fen,
            charge.amount_fen,
            charge.rule_id,
            charge.transfer_discount,
        )


def _choose(draw: random.Random, shares: tuple[tuple[_T, int], ...]) -> _T:
    """One of some things with shares in percent."""
    percent = draw.randrange(100)
    for (thing, _), below in zip(shares, accumulate(share for _, share in shares), strict=True):
        if percent < below:
            return thing
    raise AssertionError("shares sum to 100")
