"""Pure decisions about clocks, serials, packs and completeness."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.records.otr import read_records
from services.terminal_gw.application.sessions import News, Pulse, SessionHub, TerminalSession
from services.terminal_gw.domain.clock import ClockAction, ClockThresholds
from services.terminal_gw.domain.completeness import DayFacts, Register, Stored, Verdict, certify, chain
from services.terminal_gw.domain.device import Command, CommandState
from services.terminal_gw.domain.errors import SessionReplaced, SlowReader
from services.terminal_gw.domain.packs import PackKey, Place, Rollout, RolloutStatus, Stage, wanted
from services.terminal_gw.domain.serials import Ranges, count_of, merged, ranges_of, serials_of, without
from tests.unit.terminal_gw.files import device_records

NOON = datetime(2026, 11, 22, 4, tzinfo=UTC)
DAY = date(2026, 11, 22)
SERIALS = st.lists(st.integers(1, 60), max_size=40)
THRESHOLDS = ClockThresholds(timedelta(seconds=2), timedelta(seconds=120), timedelta(seconds=600))


def spread(ranges: Ranges) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


class TestClock:
    @given(st.integers(-5_000, 5_000), st.one_of(st.none(), st.integers(-5_000, 5_000)))
    def test_a_clock_is_never_set_to_before_the_last_record(self, ahead_s: int, record_s: int | None) -> None:
        record = None if record_s is None else NOON + timedelta(seconds=record_s)
        caller = NOON + timedelta(seconds=ahead_s)
        verdict = THRESHOLDS.judge(caller, NOON, record)
        if verdict.set_to is not None:
            # A record from beyond the clock's own time is from another clock: only going back past it is forbidden.
            assert record is None or verdict.set_to >= record or caller < record
        if abs(ahead_s) > 600:
            assert verdict.action is ClockAction.STOP

    def test_a_record_from_the_far_future_stops_the_device_whatever_its_clock_shows_now(self) -> None:
        assert THRESHOLDS.judge(NOON, NOON, NOON + timedelta(hours=1)).action is ClockAction.STOP


class TestSerials:
    @given(SERIALS)
    def test_ranges_hold_exactly_the_serials(self, serials: list[int]) -> None:
        ranges = ranges_of(np.array(sorted(serials), dtype=np.int64))
        assert spread(ranges) == set(serials)
        assert count_of(ranges) == len(set(serials))
        assert merged(ranges) == ranges

    @given(SERIALS, SERIALS, st.integers(1, 60), st.integers(0, 60))
    def test_what_is_missing_and_what_is_there_make_the_whole(
        self, covered: list[int], void: list[int], first: int, last: int
    ) -> None:
        holes = without((first, last), [(one, one) for one in covered], [(one, one) for one in void])
        assert spread(holes) == set(range(first, last + 1)) - set(covered) - set(void)

    def test_a_file_of_many_terminals_is_told_apart_and_damaged_records_count_nowhere(self) -> None:
        parts = [
            device_records([3, 1, 2, 9], terminal="020100000002", device=7),
            device_records([5, 5], terminal="020100000001", device=8),
            device_records([4], terminal="020100000002", device=7),
        ]
        records = read_records(bytearray(b"".join(part.tobytes() for part in parts)))
        records[-1]["crc"] ^= 1
        found = serials_of(records)
        assert [(run.terminal_number, run.device_number, run.record_count, run.device_seqs) for run in found.runs] == [
            ("020100000001", 8, 2, ((5, 5),)),
            ("020100000002", 7, 4, ((1, 3), (9, 9))),
        ]
        assert (found.terminal_count, found.device_seq_first, found.device_seq_last) == (2, 0, 0)


def a_day(registers: tuple[Register, ...], covered: Ranges, **changed: object) -> DayFacts:
    values: dict[str, object] = {"before": None, "declared_void": (), "other_devices": ()}
    values |= changed
    return DayFacts("020100000001", "metro", "1" * 20, 7, DAY, registers, covered=covered, **values)  # type: ignore[arg-type]  # a builder


def a_register(
    first: int, last: int, count: int | None = None, running: int | None = None, *, closed: bool = True
) -> Register:
    count = last - first + 1 if count is None else count
    running = last if running is None else running
    return Register(DAY, 7, first, last, count, count * 2, running, running * 2, day_closed=closed)


class TestCompleteness:
    @given(SERIALS, st.integers(1, 60), st.integers(0, 60))
    def test_a_certificate_lists_exactly_the_holes(self, stored: list[int], first: int, last: int) -> None:
        last = max(last, first - 1)
        covered = ranges_of(np.array(sorted(stored), dtype=np.int64))
        here = len(set(stored) & set(range(first, last + 1)))
        facts = a_day((a_register(first, last),), covered)
        one = certify(facts, Stored(here, here * 2))
        assert spread(one.missing) == set(range(first, last + 1)) - set(stored)
        assert (one.verdict is Verdict.COMPLETE) == (not one.missing)
        assert certify(facts, Stored(here, here * 2)).content == one.content

    def test_a_shift_that_was_lost_between_two_is_seen_by_its_serials_and_by_the_running_totals(self) -> None:
        shifts = (a_register(1, 4), a_register(9, 12))
        one = certify(a_day(shifts, ((1, 12),)), Stored(12, 24))
        assert one.verdict is Verdict.DIFFERENT
        assert b"differs count" in one.content
        shifts = (a_register(1, 4), a_register(5, 8, running=9))
        assert b"differs running 5" in certify(a_day(shifts, ((1, 8),)), Stored(8, 16)).content

    def test_serials_declared_void_are_no_holes_but_the_register_must_say_the_same(self) -> None:
        honest = a_day((a_register(1, 10, count=9, running=9),), ((1, 4), (6, 10)), declared_void=((5, 5),))
        one = certify(honest, Stored(9, 18))
        assert one.verdict is Verdict.COMPLETE
        assert b"void 5 5\n" in one.content
        greedy = a_day((a_register(1, 10),), ((1, 4), (6, 10)), declared_void=((5, 5),))
        assert certify(greedy, Stored(9, 18)).verdict is Verdict.DIFFERENT

    def test_without_a_closing_register_nothing_is_complete(self) -> None:
        assert certify(a_day((), ()), Stored()).verdict is Verdict.OPEN
        assert certify(a_day((a_register(1, 2, closed=False),), ((1, 2),)), Stored(2, 4)).verdict is Verdict.OPEN

    def test_the_chain_depends_on_every_file_and_their_order(self) -> None:
        one, two = b"1" * 32, b"2" * 32
        assert len({chain(()), chain((one,)), chain((one, two)), chain((two, one))}) == 4


def a_rollout(number: int, version: int, *stages: Stage, **changed: object) -> Rollout:
    values: dict[str, object] = {"pack": PackKey(1, 0, "", version), "stage": 1, "state": RolloutStatus.RUNNING}
    values |= changed
    return Rollout(number, stages=stages or (Stage((), 100),), failure_count_max=0, start_time=NOON, **values)  # type: ignore[arg-type]  # a builder


class TestPacks:
    def test_a_percentage_is_about_that_many_and_the_same_ones_at_every_look_and_at_every_later_stage(self) -> None:
        places = [Place(f"{number:012d}", "metro", 1, "") for number in range(2_000)]
        ten = a_rollout(1, 1, Stage((), 10), Stage((), 50))
        fifty = a_rollout(1, 1, Stage((), 10), Stage((), 50), stage=2)
        first = {place.terminal_number for place in places if ten.covers(place)}
        later = {place.terminal_number for place in places if fifty.covers(place)}
        assert 140 < len(first) < 260
        assert 900 < len(later) < 1_100
        assert first < later

    def test_the_newest_that_covers_decides_and_a_pack_for_the_kind_goes_before_one_for_all(self) -> None:
        bus = Place("000000000001", "metro", 1, "north")
        everybody, later = a_rollout(1, 1), a_rollout(2, 2, Stage(("south",), 100))
        assert wanted(bus, [later, everybody], {}) == {1: everybody.pack}
        own = a_rollout(3, 9, pack=PackKey(1, 1, "", 9))
        newer = a_rollout(4, 3)
        assert wanted(bus, [newer, own, everybody], {}) == {1: own.pack}
        assert wanted(Place("000000000001", "metro", 2, ""), [own], {}) == {}
        assert wanted(bus, [a_rollout(5, 5, pack=PackKey(1, 0, "bus", 5))], {}) == {}

    @pytest.mark.parametrize("key", [PackKey(1, 0, "", 7), PackKey(5, 2, "metro-1", 999_999_999)])
    def test_a_name_is_read_as_it_is_written(self, key: PackKey) -> None:
        assert PackKey.parse(str(key)) == key


def a_session(number: str = "020100000001") -> TerminalSession:
    return TerminalSession(number, "id", f"citycard://terminal/metro/{number}", b"")


def a_command(number: int) -> Command:
    return Command(number, "020100000001", "restart", b"", CommandState.PENDING, "x", NOON, NOON)


class TestSessions:
    async def test_what_is_said_again_and_again_takes_one_place_and_the_newest_counts(self) -> None:
        session = a_session()
        for seconds in range(1_000):
            session.tell(Pulse(NOON + timedelta(seconds=seconds)))
            session.tell(News(seconds))
        assert [await session.next(), await session.next()] == [Pulse(NOON + timedelta(seconds=999)), News(999)]

    async def test_too_many_commands_unread_end_it_and_the_first_reason_stands(self) -> None:
        session = a_session()
        for number in range(200):
            session.tell(a_command(number))
        session.end(SessionReplaced(terminal="x"))
        with pytest.raises(SlowReader):
            await session.next()

    async def test_an_older_session_that_leaves_late_does_not_take_the_newer_with_it(self) -> None:
        hub, older, newer = SessionHub(10), a_session(), a_session()
        hub.enter(older)
        hub.enter(newer)
        with pytest.raises(SessionReplaced):
            await older.next()
        hub.leave(older)
        assert hub.find(newer.terminal_number) is newer

    def test_a_place_is_given_back_once(self) -> None:
        hub = SessionHub(1)
        leave = hub.take_place()
        leave()
        leave()
        assert hub.call_count == 0
