"""A terminal's parameter pack (参数): fares, discounts, rules of trips, guard and hints, as one JSON document.

A pack is read strictly and once; a fault is named and the packs in force stay. It takes effect at its instant, and a
trip is charged by the pack of its entry (record-formats.md, section 2, FT).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

from edge.terminal.guard import GuardRules
from edge.terminal.hints import HintRules
from libs.errors import InvalidInput
from libs.fares.errors import RulePackInvalid
from libs.fares.prices import ListPrices
from libs.fares.reader import Reader
from libs.fares.rules import RulePack

_FEN_MAX: Final = 0xFFFF_FFFF
_VERSION_MAX: Final = 0xFFFF_FFFF
_MINUTES_MAX: Final = 7 * 24 * 60
# The pack in force, those to come, and those that trips under way began with.
_KEPT: Final = 16


class ParametersInvalid(InvalidInput):
    """A pack is not one; the packs in force stay. Facts: `where`, `fault`, `found`."""

    reason = "PARAMETERS_INVALID"


class Charge(Enum):
    """What a broken trip costs."""

    REFUSE = "refuse"  # the service desk decides
    NOTHING = "nothing"
    LOWEST = "lowest"
    HIGHEST = "highest"


@dataclass(frozen=True, slots=True)
class TripRules:
    """Trips with entry and exit (card-lifecycle-and-fares.md, section 4).

    Attributes:
        table: Line whose price table prices them, such as `000000` for a network.
        lowest_fen: Lowest fare.
        highest_fen: Highest fare.
        entry_balance_fen: Least money to enter with.
        longest: Longest time of a trip.
        overstay: What a longer one costs on top.
        no_entry: What an exit without entry costs.
        open_entry: What an entry costs when the last trip was not ended.
        same_station_within: Who leaves where he entered within this time
        same_station_fen: pays this.
    """

    table: str
    lowest_fen: int
    highest_fen: int
    entry_balance_fen: int
    longest: timedelta
    overstay: Charge
    no_entry: Charge
    open_entry: Charge
    same_station_within: timedelta
    same_station_fen: int


@dataclass(frozen=True, slots=True)
class ParkingRules:
    """A car park (card-lifecycle-and-fares.md, section 7).

    Attributes:
        free: Time that costs nothing.
        unit: Every begun piece of time
        unit_fen: costs this,
        day_fen: up to this in 24 hours.
        hold: An entry mark older than this is no entry any more: the attendant decides.
        lost_fen: What leaving without an entry mark costs; 0 sends to the attendant.
    """

    free: timedelta
    unit: timedelta
    unit_fen: int
    day_fen: int
    hold: timedelta
    lost_fen: int

    def price(self, stayed: timedelta) -> int:
        """What a stay costs, in fen; each 24 hours are capped by themselves."""
        if stayed <= self.free:
            return 0
        days, rest = divmod(stayed, timedelta(days=1))
        return days * self.day_fen + min(self.day_fen, -(-rest // self.unit) * self.unit_fen)


@dataclass(frozen=True, slots=True)
class TicketRules:
    """A gate of a park or a hall.

    Attributes:
        price_fen: Of one visit with a purse.
        pass_types: Card main types that are passes: they pay nothing and are counted (kind 09).
        uses_per_day: How often a pass opens this gate in a day.
    """

    price_fen: int
    pass_types: frozenset[int]
    uses_per_day: int


@dataclass(frozen=True, slots=True)
class Parameters:
    """One pack.

    Attributes:
        version: Grows with every change; its low 16 bits stand in records.
        effective: From when on.
        rules: Discounts.
        prices: List prices by line.
        trip: Of gates and of buses with two taps; None where there are none.
        parking: Of car parks.
        ticket: Of ticket gates.
        guard: Against double taps.
        hints: When to hint.
        amount_fen_max: Most that one tap may take.
    """

    version: int
    effective: datetime
    rules: RulePack
    prices: ListPrices
    trip: TripRules | None
    parking: ParkingRules | None
    ticket: TicketRules | None
    guard: GuardRules
    hints: HintRules
    amount_fen_max: int


def read_parameters(content: bytes) -> Parameters:
    """A pack from its bytes.

    Raises:
        ParametersInvalid: Not JSON, or something in it is missing, unknown, of a wrong type or out of range.
    """
    try:
        document = json.loads(content)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ParametersInvalid(where="pack", fault="NOT_JSON", found=error) from error
    try:
        return _parameters(document)
    except RulePackInvalid as wrong:
        raise ParametersInvalid(**wrong.facts) from wrong


def _parameters(document: Mapping[str, Any]) -> Parameters:
    pack = Reader(document, "pack")
    version = pack.integer("version", 1, _VERSION_MAX)
    effective = _moment(pack, "effective")
    made = Parameters(
        version=version,
        effective=effective,
        rules=RulePack.from_dict(_mapping(pack, "rules")),
        prices=ListPrices.from_dict(_mapping(pack, "prices")),
        trip=_trip(Reader(pack.take("trip"), "pack.trip")) if pack.has("trip") else None,
        parking=_parking(Reader(pack.take("parking"), "pack.parking")) if pack.has("parking") else None,
        ticket=_ticket(Reader(pack.take("ticket"), "pack.ticket")) if pack.has("ticket") else None,
        guard=_guard(Reader(pack.take("guard"), "pack.guard")) if pack.has("guard") else GuardRules(),
        hints=_hints(Reader(pack.take("hints"), "pack.hints")) if pack.has("hints") else HintRules(),
        amount_fen_max=pack.integer("amount_fen_max", 1, _FEN_MAX) if pack.has("amount_fen_max") else 1_000_00,
    )
    pack.finish()
    return made


class ParameterShelf:
    """The packs of one terminal: in force, to come, and gone but needed by trips under way.

    Args:
        packs: Kept from before, in any order.
    """

    __slots__ = ("_packs",)

    def __init__(self, packs: tuple[Parameters, ...] = ()) -> None:
        self._packs: tuple[Parameters, ...] = ()
        for pack in packs:
            self.put(pack)

    def put(self, pack: Parameters) -> None:
        """Take a pack. From its instant on it replaces all of lower versions, also ones that have not begun yet.

        One that comes late and is replaced already changes nothing.
        """
        if any(one.version >= pack.version and one.effective <= pack.effective for one in self._packs):
            return
        kept = [one for one in self._packs if one.effective < pack.effective or one.version > pack.version]
        self._packs = tuple(sorted([*kept, pack], key=lambda one: one.effective)[-_KEPT:])

    def at(self, moment: datetime) -> Parameters | None:
        """The pack in force then; the oldest one for trips that began before it; None when none is in force now."""
        found = [one for one in self._packs if one.effective <= moment]
        return found[-1] if found else None

    def of_trip(self, entered_at: datetime, now: datetime) -> Parameters | None:
        """The pack that a trip is charged by: that of its entry, or the oldest that is left."""
        return self.at(entered_at) or next((one for one in self._packs if one.effective <= now), None)

    @property
    def packs(self) -> tuple[Parameters, ...]:
        """All, by the time of their effect."""
        return self._packs


def _mapping(reader: Reader, field: str) -> Mapping[str, Any]:
    value = reader.take(field)
    if not isinstance(value, Mapping):
        raise reader.wrong(field, "NOT_A_MAPPING", type(value).__name__)
    return value


def _moment(reader: Reader, field: str) -> datetime:
    text = reader.text(field)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise reader.wrong(field, "NOT_A_TIME", text) from None
    if moment.tzinfo is None:
        raise reader.wrong(field, "NO_ZONE", text)
    return moment


def _minutes(reader: Reader, field: str, low: int = 0) -> timedelta:
    return timedelta(minutes=reader.integer(field, low, _MINUTES_MAX))


def _trip(reader: Reader) -> TripRules:
    table = reader.text("table")
    if len(table) != 6 or not (table.isascii() and table.isdecimal()):
        raise reader.wrong("table", "NOT_A_LINE", table)
    lowest = reader.integer("lowest_fen", 0, _FEN_MAX)
    rules = TripRules(
        table=table,
        lowest_fen=lowest,
        highest_fen=reader.integer("highest_fen", lowest, _FEN_MAX),
        entry_balance_fen=reader.integer("entry_balance_fen", 0, _FEN_MAX),
        longest=_minutes(reader, "longest_minutes", 1),
        overstay=reader.choice("overstay", Charge),
        no_entry=reader.choice("no_entry", Charge),
        open_entry=reader.choice("open_entry", Charge),
        same_station_within=_minutes(reader, "same_station_minutes"),
        same_station_fen=reader.integer("same_station_fen", 0, _FEN_MAX),
    )
    reader.finish()
    return rules


def _parking(reader: Reader) -> ParkingRules:
    rules = ParkingRules(
        free=_minutes(reader, "free_minutes"),
        unit=_minutes(reader, "unit_minutes", 1),
        unit_fen=reader.integer("unit_fen", 0, _FEN_MAX),
        day_fen=reader.integer("day_fen", 0, _FEN_MAX),
        hold=timedelta(days=reader.integer("hold_days", 1, 366)),
        lost_fen=reader.integer("lost_fen", 0, _FEN_MAX),
    )
    reader.finish()
    return rules


def _ticket(reader: Reader) -> TicketRules:
    price = reader.integer("price_fen", 0, _FEN_MAX)
    rules = TicketRules(price, reader.codes("pass_types") or frozenset(), reader.integer("uses_per_day", 1, 1000))
    reader.finish()
    return rules


def _guard(reader: Reader) -> GuardRules:
    rules = GuardRules(reader.integer("double_tap_s", 0, 3600), reader.integer("pass_back_s", 0, 86_400))
    reader.finish()
    return rules


def _hints(reader: Reader) -> HintRules:
    rules = HintRules(reader.integer("low_balance_fen", 0, _FEN_MAX), reader.integer("near_expiry_days", 0, 3660))
    reader.finish()
    return rules
