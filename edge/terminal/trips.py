"""Trips with two taps: what the card tells of the last one, and what entry and exit cost.

The card's newest transit log record (file 001E, card-files.md, section 3) is the trip state: an entry stays the newest
one until somebody writes an exit. Rules: card-lifecycle-and-fares.md, section 4; degraded modes as `modes` says.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from edge.terminal.modes import DegradedMode, ModeLog
from edge.terminal.parameters import Charge, Parameters, TripRules
from edge.terminal.refusals import EntryBalanceLow, GatesOpen, TripNotOpen, TripOpen
from libs.purse import status
from libs.purse.transceiver import Transceiver, exchange
from libs.records.bcd import time_of
from libs.records.errors import TimeInvalid

_READ_NEWEST: Final = bytes.fromhex("00B201F430")
_ENTRY: Final = 0x03
_LENGTH: Final = 48
# How long ago people may have entered untouched.
_ASSUMED_ENTRY: Final = timedelta(hours=4)


@dataclass(frozen=True, slots=True)
class OpenTrip:
    """An entry that no exit followed.

    Attributes:
        industry: Low byte of the industry code: metro 01, bus 02, parking 07.
        line: 6 digits.
        station: Where.
        terminal: 6 bytes BCD of the reader.
        entered_at: When, by that reader's clock.
        highest_fen: What the trip costs at most, as the entry reader wrote it.
    """

    industry: int
    line: str
    station: int
    terminal: bytes
    entered_at: datetime
    highest_fen: int


@dataclass(frozen=True, slots=True)
class TripCharge:
    """What a tap of a trip costs before discounts.

    Attributes:
        list_price_fen: The fare.
        extra_fen: On top, without discounts: overstay, or the trip before that was not ended.
        trip: The trip that it ends; None for an entry, or where none was found.
        forgiven: A degraded mode waived something.
    """

    list_price_fen: int
    extra_fen: int = 0
    trip: OpenTrip | None = None
    forgiven: bool = False


def read_open_trip(card: Transceiver, industry: int) -> OpenTrip | None:
    """The open trip of a selected application in one kind of transport; None when the last one was ended.

    An unreadable log, or one of another system, counts as no trip: the rules for a missing entry then decide.

    Raises:
        CardGone: The card left.
    """
    data, word = exchange(card, _READ_NEWEST)
    if word != status.OK or len(data) != _LENGTH or data[0] != _ENTRY or data[9] != industry & 0xFF:
        return None
    line, at = data[10:14].hex(), data[25:32]
    if not line.isdecimal():
        return None
    try:
        entered_at = time_of(at)
    except TimeInvalid:
        return None
    return OpenTrip(
        industry=data[9],
        line=line[2:],
        station=int.from_bytes(data[14:16], "big"),
        terminal=data[3:9],
        entered_at=entered_at,
        highest_fen=int.from_bytes(data[42:46], "big"),
    )


def charge_entry(
    pack: Parameters, trip: OpenTrip | None, balance_fen: int, station: int, now: datetime, modes: ModeLog
) -> TripCharge:
    """What an entry costs: nothing, unless the last trip was not ended and the rules charge that.

    Args:
        pack: In force, with rules of trips.
        trip: The last one, if it is open.
        balance_fen: The holder's money.
        station: Here.
        now: By the terminal's clock.
        modes: Of the city.

    Raises:
        GatesOpen: People walk through.
        TripOpen: The service desk decides.
        EntryBalanceLow: Too little to enter with.
    """
    rules = _trip_rules(pack)
    _demand_closed(modes, (DegradedMode.EMERGENCY, DegradedMode.ENTRY_FREE), now, station)
    extra, forgiven = 0, False
    if trip is not None:
        forgiven = modes.trip_was_cut(trip.entered_at, now)
        if not forgiven:
            if rules.open_entry is Charge.REFUSE:
                raise TripOpen(station=trip.station, entered=trip.entered_at.isoformat())
            extra = _penalty(rules.open_entry, rules, trip.highest_fen)
    if balance_fen < rules.entry_balance_fen + extra:
        raise EntryBalanceLow(balance_fen=balance_fen, least_fen=rules.entry_balance_fen + extra)
    return TripCharge(0, extra, forgiven=forgiven)


def charge_exit(pack: Parameters, trip: OpenTrip | None, station: int, now: datetime, modes: ModeLog) -> TripCharge:
    """What an exit costs before discounts.

    Args:
        pack: That of the entry, with rules of trips.
        trip: The open one.
        station: Here.
        now: By the terminal's clock.
        modes: Of the city.

    Raises:
        GatesOpen: People walk through.
        TripNotOpen: The service desk decides.
        FareUnknown: The table has no price for the two stations.
    """
    rules = _trip_rules(pack)
    _demand_closed(modes, (DegradedMode.EMERGENCY, DegradedMode.EXIT_FREE), now, station)
    if modes.on(DegradedMode.TRAIN_FAULT, now, station):
        return TripCharge(0, trip=trip, forgiven=True)
    if trip is None:
        if modes.assumed_entries(now, _ASSUMED_ENTRY) is not None:
            return TripCharge(rules.lowest_fen, forgiven=True)
        if rules.no_entry is Charge.REFUSE:
            raise TripNotOpen
        return TripCharge(_penalty(rules.no_entry, rules, rules.highest_fen))
    stayed = now - trip.entered_at
    if trip.station == station and timedelta(0) <= stayed <= rules.same_station_within:
        return TripCharge(rules.same_station_fen, trip=trip)
    if modes.on(DegradedMode.FARE_FREE, now, station):
        return TripCharge(rules.lowest_fen, trip=trip, forgiven=True)
    fare = pack.prices.find(rules.table, trip.station, station)
    late = stayed > rules.longest
    forgiven = late and modes.on(DegradedMode.TIME_FREE, now, station)
    extra = _penalty(rules.overstay, rules, rules.highest_fen) if late and not forgiven else 0
    return TripCharge(fare, extra, trip, forgiven)


def charge_parking(pack: Parameters, trip: OpenTrip | None, now: datetime) -> TripCharge:
    """What leaving a car park costs: by the time since the entry mark, captured at the exit.

    Raises:
        TripNotOpen: No entry mark, or one that has expired, and the rules send to the attendant.
    """
    rules = pack.parking
    assert rules is not None, "a car park's terminal starts with a pack that has its rules"
    stayed = now - trip.entered_at if trip is not None else timedelta(0)
    if trip is None or stayed > rules.hold:
        if not rules.lost_fen:
            raise TripNotOpen
        return TripCharge(rules.lost_fen)
    # A reader whose clock runs behind the one at the entry: nobody pays for negative time.
    return TripCharge(rules.price(max(stayed, timedelta(0))), trip=trip)


def _demand_closed(modes: ModeLog, open_by: tuple[DegradedMode, ...], now: datetime, station: int) -> None:
    for mode in open_by:
        if modes.on(mode, now, station):
            raise GatesOpen(mode=mode.value)


def _trip_rules(pack: Parameters) -> TripRules:
    assert pack.trip is not None, "a gate starts with a pack that has rules of trips"
    return pack.trip


def _penalty(charge: Charge, rules: TripRules, highest_fen: int) -> int:
    match charge:
        case Charge.LOWEST:
            return rules.lowest_fen
        case Charge.HIGHEST:
            return highest_fen
        case _:
            return 0
