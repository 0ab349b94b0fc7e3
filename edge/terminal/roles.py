"""What a terminal is in the city: the roles of one program. A role decides what a tap means and what it costs.

A role is handed a card and answers what the display says and whether the way is free; it never raises for a card that
is refused. What it costs comes from the parameter pack in force, evaluated here and now (libs.fares).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from edge.terminal import trips
from edge.terminal.hints import words as hint_words
from edge.terminal.modes import WORDS as MODE_WORDS
from edge.terminal.parameters import Parameters, ParameterShelf
from edge.terminal.refusals import AmountOutOfRange, GatesOpen, OutOfService, PassUsedUp, words
from edge.terminal.terminal import Price, Tap, Terminal
from edge.terminal.transit import read_discount_state
from edge.terminal.trips import OpenTrip, TripCharge, read_open_trip
from libs.clock import Clock
from libs.errors import DomainError
from libs.fares.evaluate import Tap as Ride
from libs.fares.evaluate import evaluate, next_state
from libs.fares.prices import Flat
from libs.fares.state import encode_state, state_or_zero
from libs.purse.inspect import CardView
from libs.purse.terminal import read_balance
from libs.purse.transactions import PurseId
from libs.purse.transceiver import Transceiver
from libs.purse.verdict import Verdict, inspect_card
from libs.records.bcd import LOCAL_TIME
from libs.records.codes import Kind


class Role(Enum):
    """The roles; the value is the word of the command line."""

    BUS = "bus"
    GATE_ENTRY = "gate-entry"
    GATE_EXIT = "gate-exit"
    POS = "pos"
    PARKING_ENTRY = "parking-entry"
    PARKING_EXIT = "parking-exit"
    TICKET = "ticket"
    INSPECTOR = "inspector"
    METER = "meter"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one card at the reader.

    Attributes:
        open: The way is free.
        code: `OK`, or the reason why not, for logs and for displays that keep their own words.
        zh: What the display says.
        en: The same in English.
        tap: What was written; None when nothing was.
        verdict: Of an inspector.
    """

    open: bool
    code: str
    zh: str
    en: str
    tap: Tap | None = None
    verdict: Verdict | None = None


class Device:
    """A terminal in its role: rules in force, modes, lock, clock.

    Args:
        terminal: Card and module dialogues, journal.
        shelf: Its parameter packs.
        clock: Its own.
    """

    def __init__(self, terminal: Terminal, shelf: ParameterShelf, clock: Clock) -> None:
        self.terminal = terminal
        self.shelf = shelf
        self.clock = clock
        self.out_of_service = ""

    def pack(self) -> Parameters:
        """The pack in force; guard, hints and the version in records follow it.

        Raises:
            OutOfService: None is, or somebody has locked the terminal.
        """
        if self.out_of_service:
            raise OutOfService(why=self.out_of_service)
        found = self.shelf.at(self.clock.now())
        if found is None:
            raise OutOfService(why="no parameters in force")
        self.terminal.parameter_version = found.version
        self.terminal.guard.rules = found.guard
        self.terminal.hint_rules = found.hints
        return found

    def present(self, card: Transceiver, act: Callable[[Parameters], Tap]) -> Outcome:
        """Let a role act on a card, and put what happens into words."""
        try:
            tap = act(self.pack())
        except GatesOpen as gates:
            zh, en = words(gates)
            return Outcome(True, gates.reason, zh, en)
        except DomainError as error:
            zh, en = words(error)
            return Outcome(error.reason == "CARD_JUST_TAPPED", error.reason, zh, en)
        zh = f"扣款 {_yuan(tap.price.amount_fen)} 元，余额 {_yuan(tap.balance_after_fen)} 元"
        en = f"Paid {_yuan(tap.price.amount_fen)}, balance {_yuan(tap.balance_after_fen)}"
        for hint in tap.hints:
            more_zh, more_en = hint_words(hint)
            zh, en = f"{zh}。{more_zh}", f"{en}. {more_en}"
        return Outcome(True, "OK", zh, en, tap)

    def priced(self, pack: Parameters, card: Transceiver, view: CardView, main_type: int, charge: TripCharge) -> Price:
        """The price of a ride with its discounts, and what the card shall remember of it.

        Raises:
            AmountOutOfRange: More than one tap may take.
        """
        facts = self.terminal.facts
        now = self.clock.now()
        if facts.industry_code > 0xFF or not charge.list_price_fen:
            # Discounts are of transport. A ride that a mode made free is no ride for them either.
            return self.capped(pack, Price(charge.list_price_fen + charge.extra_fen, charge.list_price_fen))
        packed = read_discount_state(card, view.scheme)
        ride = Ride(
            mode=facts.industry_code,
            main_type=main_type,
            list_price_fen=charge.list_price_fen,
            at=now,
            line=facts.line,
            boarded_at=charge.trip.entered_at if charge.trip else None,
            state=state_or_zero(packed, now),
        )
        evaluated = evaluate(pack.rules, ride)
        price = Price(
            evaluated.amount_fen + charge.extra_fen,
            evaluated.list_price_fen + charge.extra_fen,
            evaluated.rule_id,
            evaluated.transfer_discount,
            # A card without a place for it rides all the same, without transfers and tiers.
            encode_state(next_state(pack.rules, ride, evaluated)) if packed else b"",
        )
        return self.capped(pack, price)

    def capped(self, pack: Parameters, price: Price) -> Price:
        """The price, if one tap may take it; raises `AmountOutOfRange`."""
        if price.amount_fen > pack.amount_fen_max:
            raise AmountOutOfRange(amount_fen=price.amount_fen, amount_fen_max=pack.amount_fen_max)
        return price


class BusValidator:
    """A bus (车载机): one tap where the line has one fare, boarding and alighting where it has stages.

    The stop is told by the driver's panel or the satellite: `at_stop`.
    """

    def __init__(self, device: Device) -> None:
        self._device = device

    def present(self, card: Transceiver) -> Outcome:
        """One tap."""
        device, facts = self._device, self._device.terminal.facts

        def act(pack: Parameters) -> Tap:
            if pack.trip is None or isinstance(pack.prices.tables.get(facts.line), Flat):
                fare = pack.prices.find(facts.line)
                return device.terminal.pay(
                    card, lambda view, main_type: device.priced(pack, card, view, main_type, TripCharge(fare))
                )
            trip = _peek(device, card)
            # Boarded on this very vehicle: this tap alights.
            if trip is not None and trip.terminal == facts.terminal_packed:
                return _leave(device, card)
            return _enter(device, pack, card)

        return device.present(card, act)


class GateEntry:
    """The entry side of a metro gate (进站闸机)."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def present(self, card: Transceiver) -> Outcome:
        """One tap."""
        return self._device.present(card, lambda pack: _enter(self._device, pack, card))


class GateExit:
    """The exit side of a metro gate (出站闸机)."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def present(self, card: Transceiver) -> Outcome:
        """One tap."""
        return self._device.present(card, lambda pack: _leave(self._device, card))


class Pos:
    """A shop's point of sale (消费机): the clerk keys in the amount, then the card is shown."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.amount_fen = 0

    def present(self, card: Transceiver) -> Outcome:
        """Take the amount keyed in; it is cleared only when it was taken."""
        device, amount_fen = self._device, self.amount_fen

        def act(pack: Parameters) -> Tap:
            if amount_fen <= 0:
                raise AmountOutOfRange(amount_fen=amount_fen, amount_fen_max=pack.amount_fen_max)
            price = device.capped(pack, Price(amount_fen, amount_fen))
            return device.terminal.pay(card, lambda view, main_type: price)

        outcome = device.present(card, act)
        if outcome.tap is not None:
            self.amount_fen = 0
        return outcome


class ParkingEntry:
    """The entry of a car park: a mark on the card, nothing taken (停车场入口)."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def present(self, card: Transceiver) -> Outcome:
        """One tap."""
        device = self._device
        return device.present(card, lambda pack: device.terminal.enter(card))


class ParkingExit:
    """The exit of a car park: the stay is captured by the entry mark, which the exit releases (停车场出口)."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def present(self, card: Transceiver) -> Outcome:
        """One tap."""
        device = self._device

        def act(pack: Parameters) -> Tap:
            def pricing(view: CardView, main_type: int) -> Price:
                trip = read_open_trip(card, device.terminal.facts.industry_code)
                charge = trips.charge_parking(pack, trip, device.clock.now())
                return device.capped(pack, Price(charge.list_price_fen, charge.list_price_fen))

            if pack.parking is None:
                raise OutOfService(why="no rules of parking in force")
            return device.terminal.leave(card, pricing)

        return device.present(card, act)


class TicketGate:
    """A gate of a park or a hall (检票闸机): passes are counted, purses pay. Uses of today come from the journal."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._day = ""
        self._uses: dict[bytes, int] = {}
        self._count_today()

    def present(self, card: Transceiver) -> Outcome:
        """One tap."""
        device = self._device

        def act(pack: Parameters) -> Tap:
            rules = pack.ticket
            if rules is None:
                raise OutOfService(why="no rules of tickets in force")
            view = device.terminal.look(card)
            if device.terminal.main_type(card) not in rules.pass_types:
                price = device.capped(pack, Price(rules.price_fen, rules.price_fen))
                return device.terminal.pay(card, lambda view, main_type: price)
            if self._today() != self._day:
                self._count_today()
            if self._uses.get(view.number, 0) >= rules.uses_per_day:
                raise PassUsedUp(uses_per_day=rules.uses_per_day)
            tap = device.terminal.tap(card, Kind.PASS_USED, lambda view, main_type: Price(0, 0))
            number = tap.purchase.view.number
            self._uses[number] = self._uses.get(number, 0) + 1
            return tap

        return device.present(card, act)

    def _today(self) -> str:
        return f"{self._device.clock.now().astimezone(LOCAL_TIME):%Y%m%d}"

    def _count_today(self) -> None:
        """From what lies in the ring: a restart must not give everybody a second visit."""
        self._day, self._uses = self._today(), {}
        journal = self._device.terminal.journal
        for kept in journal.range(1, journal.registers().last_seq):
            if kept.record[1] == Kind.PASS_USED and kept.record[79:83].hex() == self._day:
                number = kept.record[14:24]
                self._uses[number] = self._uses.get(number, 0) + 1


class Inspector:
    """An inspector's handheld (稽查机): reads, never writes, and says whether the passenger has paid."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def present(self, card: Transceiver) -> Outcome:
        """Look at one card."""
        device = self._device
        now = device.clock.now()
        try:
            view = device.terminal.look(card)
            verdict = inspect_card(card, view.aid, now.astimezone(LOCAL_TIME).date())
        except DomainError as error:
            zh, en = words(error)
            return Outcome(False, error.reason, zh, en)
        assert verdict is not None, "the application was just found"
        listed = device.terminal.blacklist.find(view.number, now)
        if listed is not None:
            return Outcome(False, "CARD_LISTED", "此卡在黑名单上", "This card is on the blacklist.", verdict=verdict)
        balance = "—" if verdict.balance_fen is None else _yuan(verdict.balance_fen)
        zh = f"{'有效' if verdict.valid else '无效'}，余额 {balance} 元，行程 {len(verdict.trips)} 条"
        en = f"{'Valid' if verdict.valid else 'Not valid'}, balance {balance}, {len(verdict.trips)} trips on the card"
        return Outcome(verdict.valid, "OK" if verdict.valid else "CARD_NOT_VALID", zh, en, verdict=verdict)


CardRole = BusValidator | GateEntry | GateExit | Pos | ParkingEntry | ParkingExit | TicketGate | Inspector

_ROLES: dict[Role, Callable[[Device], CardRole]] = {
    Role.BUS: BusValidator,
    Role.GATE_ENTRY: GateEntry,
    Role.GATE_EXIT: GateExit,
    Role.POS: Pos,
    Role.PARKING_ENTRY: ParkingEntry,
    Role.PARKING_EXIT: ParkingExit,
    Role.TICKET: TicketGate,
    Role.INSPECTOR: Inspector,
}


def make_role(role: Role, device: Device) -> CardRole:
    """The behaviour of a role that takes cards; a meter takes none (edge.terminal.meter)."""
    assert role is not Role.METER, "a meter reads frames, not cards"
    return _ROLES[role](device)


def mode_lines(device: Device) -> list[tuple[str, str]]:
    """What the display says of the degraded modes that are on here, Chinese and English."""
    terminal = device.terminal
    return [MODE_WORDS[mode] for mode in terminal.modes.now(device.clock.now(), terminal.facts.station)]


def _enter(device: Device, pack: Parameters, card: Transceiver) -> Tap:
    if pack.trip is None:
        raise OutOfService(why="no rules of trips in force")
    rules, facts = pack.trip, device.terminal.facts

    def pricing(view: CardView, main_type: int) -> Price:
        trip = read_open_trip(card, facts.industry_code)
        balance_fen = read_balance(card, PurseId.EP)
        charge = trips.charge_entry(pack, trip, balance_fen, facts.station, device.clock.now(), device.terminal.modes)
        price = Price(
            charge.extra_fen,
            charge.extra_fen,
            highest_fen=rules.highest_fen,
            longest_minutes=min(0xFFFF, int(rules.longest.total_seconds()) // 60),
        )
        return device.capped(pack, price)

    return device.terminal.enter(card, pricing)


def _leave(device: Device, card: Transceiver) -> Tap:
    facts = device.terminal.facts

    def pricing(view: CardView, main_type: int) -> Price:
        now = device.clock.now()
        trip = read_open_trip(card, facts.industry_code)
        pack = _pack_of(device, trip, now)
        charge = trips.charge_exit(pack, trip, facts.station, now, device.terminal.modes)
        return device.priced(pack, card, view, main_type, charge)

    return device.terminal.leave(card, pricing)


def _pack_of(device: Device, trip: OpenTrip | None, now: datetime) -> Parameters:
    """A trip is charged by the pack of its entry."""
    pack = device.shelf.of_trip(trip.entered_at, now) if trip is not None else device.shelf.at(now)
    if pack is None or pack.trip is None:
        raise OutOfService(why="no rules of trips in force")
    return pack


def _peek(device: Device, card: Transceiver) -> OpenTrip | None:
    """The open trip of a card before it is decided what the tap is."""
    view = device.terminal.look(card)
    return None if view.blocked else read_open_trip(card, device.terminal.facts.industry_code)


def _yuan(amount_fen: int) -> str:
    sign = "-" if amount_fen < 0 else ""
    return f"{sign}{abs(amount_fen) // 100}.{abs(amount_fen) % 100:02d}"
