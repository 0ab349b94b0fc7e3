"""Terminals in their roles, in front of virtual cards: fares, trips, modes, guard, parking, tickets, inspection."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city.keys import CITY_CODE, ISSUER_ID, city_keys
from edge.terminal.blacklist import TerminalBlacklist
from edge.terminal.guard import PassBackGuard
from edge.terminal.journal import Journal, MemoryJournal
from edge.terminal.modes import DegradedMode, ModeLog, ModePeriod, ModePeriodWrong
from edge.terminal.parameters import ParameterShelf, ParametersInvalid, read_parameters
from edge.terminal.record import TerminalFacts
from edge.terminal.roles import Device, Outcome, Pos, Role, make_role, mode_lines
from edge.terminal.terminal import Terminal
from edge.terminal.transit import read_discount_state
from libs.clock import CITY_TZ, FixedClock
from libs.fares.state import decode_state
from libs.purse.card import VirtualCard
from libs.purse.inspect import select
from libs.purse.sam import issue_sam
from libs.purse.scheme import Scheme
from libs.purse.sequence import MemorySequence
from libs.records.codes import Kind
from libs.records.numbers import institution_bytes, psam_bytes, terminal_bytes
from libs.records.otr import Flag, Records, check_format, read_records
from tests.unit.edge.test_terminal import JT, NOON, a_card, a_list, number_of, proves
from tests.unit.edge.test_terminal import Mode as ListMode

KEYS = city_keys()
METRO, BUS, PARKING, RETAIL, PARK = 0x0001, 0x0002, 0x0007, 0x0201, 0x0301
RULES = {
    "name": "test", "version": 1, "metro_modes": [1], "bus_modes": [2],
    "rules": [
        {"id": 1, "name": "METRO_95", "step": "card_type", "modes": [1], "percent": 95, "zh": "九五折", "en": "95 %"},
        {"id": 2, "name": "BUS_80", "step": "card_type", "modes": [2], "percent": 80, "zh": "八折", "en": "80 %"},
        {"id": 3, "name": "TRANSFER", "step": "transfer", "modes": [1, 2], "amount_off_fen": 40, "window_s": 5400,
         "chains": False, "zh": "换乘", "en": "transfer"},
    ],
}  # fmt: skip


def a_document(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "version": 7,
        "effective": "2025-09-01T03:00:00+08:00",
        "rules": RULES,
        "prices": {
            "tables": [
                {"line": "000101", "kind": "flat", "fare_fen": 200},
                {
                    "line": "000000",
                    "kind": "staged",
                    "stages": [{"up_to_stops": 4, "fare_fen": 200}, {"fare_fen": 500}],
                },
            ]
        },
        "trip": {
            "table": "000000", "lowest_fen": 200, "highest_fen": 700, "entry_balance_fen": 200, "longest_minutes": 180,
            "overstay": "lowest", "no_entry": "refuse", "open_entry": "refuse", "same_station_minutes": 15,
            "same_station_fen": 0,
        },
        "guard": {"double_tap_s": 3, "pass_back_s": 60},
        "amount_fen_max": 100_000,
    }  # fmt: skip
    return document | changes


def packed(**changes: Any) -> bytes:
    return json.dumps(a_document(**changes)).encode()


class City:
    """Readers that share a clock, modes, a list and, where they stand together, a guard."""

    def __init__(self, **changes: Any) -> None:
        self.clock = FixedClock(NOON)
        self.modes = ModeLog()
        self.blacklist = TerminalBlacklist()
        self.shelf = ParameterShelf((read_parameters(packed(**changes)),))
        self.made = 0
        self.journals: list[Journal] = []

    def device(
        self, industry: int = METRO, station: int = 5, line: str = "000101", guard: PassBackGuard | None = None
    ) -> Device:
        self.made += 1
        number = f"{self.made:012d}"
        facts = TerminalFacts(
            number, f"58400001{number}", "11095840", CITY_CODE, industry, 9, self.made, line=line, station=station
        )
        sam = issue_sam(
            KEYS, Scheme.JT, institution_bytes(ISSUER_ID), terminal_bytes(number), MemorySequence(),
            number=psam_bytes(facts.psam_number),
        )  # fmt: skip
        journal = MemoryJournal(100)
        self.journals.append(journal)
        terminal = Terminal(facts, sam.transmit, journal, self.clock, self.blacklist, guard=guard, modes=self.modes)
        return Device(terminal, self.shelf, self.clock)

    def ride(self, card: VirtualCard, entry: Device, exit_: Device, minutes: float = 20) -> Outcome:
        assert make_role(Role.GATE_ENTRY, entry).present(card.transmit).code == "OK"
        self.clock.advance(minutes=minutes)
        return make_role(Role.GATE_EXIT, exit_).present(card.transmit)

    def records(self) -> Records:
        return read_records(b"".join(kept.record for journal in self.journals for kept in journal.pending(1000)))


@pytest.fixture
def city() -> City:
    return City()


class TestTrips:
    def test_a_ride_costs_the_staged_fare_with_its_discount(self, city: City) -> None:
        card = a_card()
        outcome = city.ride(card, city.device(station=5), city.device(station=8))
        assert outcome.tap is not None
        assert (outcome.tap.price.amount_fen, outcome.tap.price.list_price_fen) == (190, 200)
        assert outcome.zh.startswith("扣款 1.90 元，余额 48.10 元")
        records = city.records()
        assert records["kind"].tolist() == [Kind.ENTRY, Kind.EXIT]
        assert records["parameter_version"].tolist() == [7, 7]
        assert not check_format(records).any()
        assert proves(records)

    def test_the_card_remembers_and_the_next_bus_is_a_transfer(self, city: City) -> None:
        card = a_card()
        city.ride(card, city.device(station=5), city.device(station=8))
        city.clock.advance(minutes=10)
        outcome = make_role(Role.BUS, city.device(BUS)).present(card.transmit)
        assert outcome.tap is not None
        # 200 less 20 %, less 40 fen for the transfer.
        assert outcome.tap.price.amount_fen == 120
        assert outcome.tap.price.transfer_discount
        select(card.transmit, JT.aid)
        state = decode_state(read_discount_state(card.transmit, Scheme.JT))
        assert (state.metro_paid_fen, state.bus_paid_fen, state.trips) == (190, 120, 2)

    def test_an_exit_without_an_entry_is_refused_or_charged_as_the_rules_say(self, city: City) -> None:
        outcome = make_role(Role.GATE_EXIT, city.device()).present(a_card().transmit)
        assert (outcome.open, outcome.code) == (False, "TRIP_NOT_OPEN")
        assert "客服中心" in outcome.zh
        charging = City(trip=a_document()["trip"] | {"no_entry": "highest"})
        outcome = make_role(Role.GATE_EXIT, charging.device()).present(a_card().transmit)
        assert outcome.tap is not None
        assert outcome.tap.price.list_price_fen == 700

    def test_a_second_entry_is_refused_or_charged_as_the_rules_say(self, city: City) -> None:
        card = a_card()
        for made, rule, code in (
            (city, "refuse", "TRIP_OPEN"),
            (City(trip=a_document()["trip"] | {"open_entry": "highest"}), "highest", "OK"),
        ):
            card = a_card()
            assert make_role(Role.GATE_ENTRY, made.device(station=5)).present(card.transmit).code == "OK"
            made.clock.advance(hours=5)
            outcome = make_role(Role.GATE_ENTRY, made.device(station=6)).present(card.transmit)
            assert outcome.code == code, rule
        assert outcome.tap is not None
        assert outcome.tap.price.amount_fen == 700

    def test_a_long_stay_costs_more_and_a_return_to_the_same_station_nothing(self, city: City) -> None:
        outcome = city.ride(a_card(), city.device(station=5), city.device(station=8), minutes=181)
        assert outcome.tap is not None
        assert outcome.tap.price.amount_fen == 190 + 200
        outcome = city.ride(a_card(serial=2), city.device(station=5), city.device(station=5), minutes=14)
        assert outcome.tap is not None
        assert outcome.tap.price.amount_fen == 0

    def test_too_little_money_does_not_enter(self, city: City) -> None:
        outcome = make_role(Role.GATE_ENTRY, city.device()).present(a_card(balance_fen=199).transmit)
        assert (outcome.open, outcome.code) == (False, "ENTRY_BALANCE_LOW")
        assert make_role(Role.GATE_ENTRY, city.device()).present(a_card(balance_fen=200).transmit).open

    def test_a_trip_is_charged_by_the_pack_of_its_entry(self, city: City) -> None:
        dearer = a_document(version=8, effective="2025-09-01T12:10:00+08:00")
        dearer["prices"]["tables"][1]["stages"] = [{"fare_fen": 900}]
        city.shelf.put(read_parameters(json.dumps(dearer).encode()))
        first = city.ride(a_card(), city.device(station=5), city.device(station=8))
        then = city.ride(a_card(serial=2), city.device(station=5), city.device(station=8))
        assert [one.tap.price.list_price_fen for one in (first, then) if one.tap] == [200, 900]

    def test_a_bus_of_stages_takes_two_taps_of_its_own_and_none_of_another(self, city: City) -> None:
        card = a_card()
        bus, other = city.device(BUS, 3, "000200"), city.device(BUS, 3, "000200")
        role = make_role(Role.BUS, bus)
        assert role.present(card.transmit).code == "OK"
        city.clock.advance(minutes=9)
        assert make_role(Role.BUS, other).present(card.transmit).code == "TRIP_OPEN"
        outcome = role.present(card.transmit)
        assert outcome.tap is not None
        assert outcome.tap.price.list_price_fen == 0, "alighted where boarded within the time"
        assert city.records()["kind"].tolist() == [Kind.ENTRY, Kind.EXIT]


class TestGuard:
    def test_a_card_is_not_passed_back_through_the_gate_beside(self, city: City) -> None:
        guard = PassBackGuard()
        first, second = city.device(guard=guard), city.device(guard=guard)
        card = a_card()
        assert make_role(Role.GATE_ENTRY, first).present(card.transmit).open
        outcome = make_role(Role.GATE_ENTRY, first).present(card.transmit)
        assert (outcome.open, outcome.code) == (True, "CARD_JUST_TAPPED")
        city.clock.advance(seconds=10)
        outcome = make_role(Role.GATE_ENTRY, second).present(card.transmit)
        assert (outcome.open, outcome.code) == (False, "CARD_PASSED_BACK")
        # Out again is another way.
        assert make_role(Role.GATE_EXIT, second).present(card.transmit).open

    def test_a_listed_card_stays_out_and_its_hit_is_written_once(self, city: City) -> None:
        city.blacklist.load(a_list((number_of(1), ListMode.REFUSE, NOON)))
        device = city.device()
        for _ in range(3):
            assert make_role(Role.GATE_ENTRY, device).present(a_card().transmit).code == "CARD_LISTED"
            city.clock.advance(minutes=1)
        (record,) = city.records()
        assert (record["kind"], record["flags"], record["amount_fen"]) == (Kind.CARD_LOCKED, Flag.BLACKLIST_HIT, 0)


class TestModes:
    def test_out_of_a_train_fault_everybody_goes_free_and_enters_again_days_later(self, city: City) -> None:
        left, stayed = a_card(), a_card(serial=2)
        for card in (left, stayed):
            assert make_role(Role.GATE_ENTRY, city.device(station=5)).present(card.transmit).open
        city.clock.advance(minutes=30)
        city.modes.begin(DegradedMode.TRAIN_FAULT, city.clock.now(), frozenset({6}))
        assert mode_lines(city.device(station=6)) == [
            ("列车故障模式：本站出站免费", "Train fault: leaving here is free.")
        ]
        assert mode_lines(city.device(station=7)) == []
        outcome = make_role(Role.GATE_EXIT, city.device(station=6)).present(left.transmit)
        assert outcome.tap is not None
        assert outcome.tap.price.amount_fen == 0
        city.clock.advance(hours=1)
        city.modes.end(DegradedMode.TRAIN_FAULT, city.clock.now())
        # Walked out of a station without a gate: the open trip is forgiven for as long as the after-effect lasts.
        city.clock.advance(days=3)
        assert make_role(Role.GATE_ENTRY, city.device(station=9)).present(stayed.transmit).code == "OK"
        late = a_card(serial=3)
        city.clock.set(NOON)
        assert make_role(Role.GATE_ENTRY, city.device(station=5)).present(late.transmit).open
        city.clock.advance(days=9)
        assert make_role(Role.GATE_ENTRY, city.device(station=9)).present(late.transmit).code == "TRIP_OPEN"

    def test_who_entered_untouched_pays_the_lowest_fare(self, city: City) -> None:
        city.modes.begin(DegradedMode.ENTRY_FREE, NOON, frozenset({5}))
        assert make_role(Role.GATE_ENTRY, city.device(station=5)).present(a_card().transmit).code == "GATES_OPEN"
        outcome = make_role(Role.GATE_EXIT, city.device(station=8)).present(a_card().transmit)
        assert outcome.tap is not None
        assert outcome.tap.price.list_price_fen == 200

    def test_in_an_emergency_nobody_taps(self, city: City) -> None:
        city.modes.begin(DegradedMode.EMERGENCY, NOON)
        for role in (Role.GATE_ENTRY, Role.GATE_EXIT):
            outcome = make_role(role, city.device()).present(a_card().transmit)
            assert (outcome.open, outcome.code, outcome.tap) == (True, "GATES_OPEN", None)
        assert not len(city.records())

    def test_time_fare_and_date_are_waived_one_by_one(self, city: City) -> None:
        city.modes.begin(DegradedMode.TIME_FREE, NOON)
        outcome = city.ride(a_card(), city.device(station=5), city.device(station=8), minutes=500)
        assert outcome.tap is not None
        assert outcome.tap.price.amount_fen == 190
        city.modes.end(DegradedMode.TIME_FREE, city.clock.now())
        city.modes.begin(DegradedMode.FARE_FREE, city.clock.now())
        outcome = city.ride(a_card(serial=2), city.device(station=5), city.device(station=60))
        assert outcome.tap is not None
        assert outcome.tap.price.list_price_fen == 200
        expired = a_card(serial=3, expiry=NOON.date() - timedelta(days=1))
        assert make_role(Role.GATE_ENTRY, city.device()).present(expired.transmit).code == "CARD_EXPIRED"
        city.modes.begin(DegradedMode.DATE_FREE, city.clock.now())
        assert make_role(Role.GATE_ENTRY, city.device()).present(expired.transmit).code == "OK"

    def test_a_period_that_ends_before_it_begins_is_none(self) -> None:
        with pytest.raises(ModePeriodWrong):
            ModePeriod(DegradedMode.EMERGENCY, NOON, NOON)
        with pytest.raises(ModePeriodWrong):
            ModePeriod(DegradedMode.EMERGENCY, datetime(2025, 9, 1))  # noqa: DTZ001 (that is the fault)

    def test_periods_without_effect_are_forgotten(self) -> None:
        log = ModeLog()
        log.begin(DegradedMode.EXIT_FREE, NOON, after_effect=timedelta(days=1))
        log.begin(DegradedMode.EXIT_FREE, NOON + timedelta(minutes=5))
        log.end(DegradedMode.EXIT_FREE, NOON + timedelta(hours=1))
        log.forget(NOON + timedelta(hours=24))
        assert len(log.periods) == 1
        log.forget(NOON + timedelta(hours=25))
        assert log.periods == ()


class TestOtherRoles:
    def test_a_shop_takes_what_the_clerk_keyed_in_once(self, city: City) -> None:
        role = make_role(Role.POS, city.device(RETAIL))
        assert isinstance(role, Pos)
        card = a_card()
        assert role.present(card.transmit).code == "AMOUNT_OUT_OF_RANGE"
        role.amount_fen = 12_34
        outcome = role.present(card.transmit)
        assert outcome.tap is not None
        assert outcome.tap.balance_after_fen == 50_00 - 12_34
        city.clock.advance(seconds=10)
        assert role.present(card.transmit).code == "AMOUNT_OUT_OF_RANGE"
        role.amount_fen = 100_001
        assert role.present(card.transmit).code == "AMOUNT_OUT_OF_RANGE"
        (record,) = city.records()
        assert (record["industry"], record["tti"], record["discount_rule"]) == (RETAIL, 6, 0)

    def test_a_car_park_captures_the_stay_and_releases_the_mark(self) -> None:
        rules = {
            "free_minutes": 30,
            "unit_minutes": 60,
            "unit_fen": 500,
            "day_fen": 3000,
            "hold_days": 30,
            "lost_fen": 0,
        }
        city = City(parking=rules)
        entry, leave = city.device(PARKING), city.device(PARKING)
        card = a_card(balance_fen=200_00)
        for minutes, fen in ((30, 0), (31, 500), (61, 1000), (23 * 60, 3000), (25 * 60, 3500), (49 * 60 + 1, 7000)):
            assert make_role(Role.PARKING_ENTRY, entry).present(card.transmit).open
            city.clock.advance(minutes=minutes)
            outcome = make_role(Role.PARKING_EXIT, leave).present(card.transmit)
            assert outcome.tap is not None
            assert outcome.tap.price.amount_fen == fen, minutes
            assert make_role(Role.PARKING_EXIT, leave).present(card.transmit).code == "CARD_JUST_TAPPED"
            city.clock.advance(seconds=90)
            assert make_role(Role.PARKING_EXIT, leave).present(card.transmit).code == "TRIP_NOT_OPEN"
        assert make_role(Role.PARKING_ENTRY, entry).present(card.transmit).open
        city.clock.advance(days=31)
        assert make_role(Role.PARKING_EXIT, leave).present(card.transmit).code == "TRIP_NOT_OPEN", "the hold expired"

    def test_a_pass_opens_a_park_twice_a_day_also_over_a_restart(self) -> None:
        city = City(ticket={"price_fen": 1000, "pass_types": [10], "uses_per_day": 2})
        device, card = city.device(PARK), a_card(main_type=10)
        role = make_role(Role.TICKET, device)
        assert role.present(card.transmit).open
        city.clock.advance(minutes=5)
        role = make_role(Role.TICKET, device)
        assert role.present(card.transmit).open
        city.clock.advance(minutes=5)
        assert make_role(Role.TICKET, device).present(card.transmit).code == "PASS_USED_UP"
        outcome = role.present(a_card(serial=2).transmit)
        assert outcome.tap is not None
        assert outcome.tap.price.amount_fen == 1000
        city.clock.advance(days=1)
        assert role.present(card.transmit).open
        assert city.records()["kind"].tolist() == [9, 9, 1, 9]

    def test_an_inspector_reads_and_writes_nothing(self, city: City) -> None:
        card = a_card()
        before = card.applications[0].purse
        outcome = make_role(Role.INSPECTOR, city.device()).present(card.transmit)
        assert (outcome.open, outcome.code) == (True, "OK")
        assert "50.00" in outcome.zh
        assert card.applications[0].purse == before
        city.blacklist.load(a_list((number_of(1), ListMode.REFUSE, NOON)))
        assert make_role(Role.INSPECTOR, city.device()).present(card.transmit).code == "CARD_LISTED"
        assert not len(city.records())

    def test_without_parameters_nobody_is_charged(self, city: City) -> None:
        device = city.device()
        device.shelf = ParameterShelf()
        for role in (Role.GATE_ENTRY, Role.BUS, Role.POS, Role.TICKET, Role.PARKING_EXIT):
            assert make_role(role, device).present(a_card().transmit).code == "OUT_OF_SERVICE"


DOCUMENTS = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


class TestParameters:
    @pytest.mark.parametrize(
        ("changes", "where", "fault"),
        [
            ({"version": 0}, "pack.version", "OUT_OF_RANGE"),
            ({"effective": "2025-09-01T00:00:00"}, "pack.effective", "NO_ZONE"),
            ({"effective": "tomorrow"}, "pack.effective", "NOT_A_TIME"),
            ({"surprise": 1}, "pack.surprise", "UNKNOWN_FIELD"),
            ({"rules": []}, "pack.rules", "NOT_A_MAPPING"),
            ({"trip": a_document()["trip"] | {"table": "12"}}, "pack.trip.table", "NOT_A_LINE"),
            ({"trip": a_document()["trip"] | {"highest_fen": 1}}, "pack.trip.highest_fen", "OUT_OF_RANGE"),
            ({"trip": a_document()["trip"] | {"overstay": "more"}}, "pack.trip.overstay", "NOT_A_CHOICE"),
            ({"guard": {"double_tap_s": 3}}, "pack.guard.pass_back_s", "MISSING"),
        ],
    )  # fmt: skip
    def test_a_fault_is_named(self, changes: dict[str, Any], where: str, fault: str) -> None:
        with pytest.raises(ParametersInvalid) as refused:
            read_parameters(packed(**changes))
        assert (refused.value.facts["where"], refused.value.facts["fault"]) == (where, fault)

    @given(st.binary(max_size=200) | DOCUMENTS.map(lambda made: json.dumps(made).encode()))
    def test_anything_else_is_refused_by_name(self, content: bytes) -> None:
        with pytest.raises(ParametersInvalid):
            read_parameters(content)

    def test_a_newer_pack_replaces_older_ones_from_its_instant_on(self) -> None:
        def pack(version: int, hour: int) -> Any:
            return read_parameters(packed(version=version, effective=f"2025-09-01T{hour:02d}:00:00+08:00"))

        def at(shelf: ParameterShelf, hour: int) -> int | None:
            found = shelf.at(datetime(2025, 9, 1, hour, 30, tzinfo=CITY_TZ))
            return found.version if found else None

        shelf = ParameterShelf((pack(1, 1), pack(3, 6)))
        assert [at(shelf, hour) for hour in (0, 2, 7)] == [None, 1, 3]
        # Comes late, is replaced at six all the same.
        shelf.put(pack(2, 4))
        assert [at(shelf, hour) for hour in (2, 5, 7)] == [1, 2, 3]
        # Called back: version 4 is the old content from five on.
        shelf.put(pack(4, 5))
        assert [at(shelf, hour) for hour in (2, 4, 5, 7)] == [1, 2, 4, 4]
        shelf.put(pack(2, 8))
        assert at(shelf, 9) == 4
