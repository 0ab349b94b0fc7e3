from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.terminal.journal import (
    Journal,
    JournalBusy,
    JournalDamaged,
    JournalFailed,
    JournalFull,
    MemoryJournal,
    Opened,
    Registers,
)
from edge.terminal.journal_sqlite import SqliteJournal


def a_record(mark: int) -> bytes:
    return bytes([mark]) * 128


class JournalSuite:
    """What every journal promises; the fixture `journal` has room for three records."""

    def test_a_grey_record_is_replaced_in_its_place(self, journal: Journal) -> None:
        assert journal.next_seq() == 1
        journal.write_ahead(a_record(8), 1)
        assert journal.next_seq() == 1
        journal.finish(a_record(1))
        assert [(kept.device_seq, kept.record) for kept in journal.pending(10)] == [(1, a_record(1))]
        assert journal.next_seq() == 2

    def test_a_dropped_grey_record_leaves_no_gap(self, journal: Journal) -> None:
        journal.write_ahead(a_record(8), 1)
        journal.drop()
        assert journal.next_seq() == 1
        assert journal.pending(10) == []

    def test_what_is_acknowledged_is_not_pending(self, journal: Journal) -> None:
        for mark in (1, 2, 3):
            journal.finish(a_record(mark))
        assert [kept.device_seq for kept in journal.pending(2)] == [1, 2]
        journal.acknowledge(2)
        assert [kept.device_seq for kept in journal.pending(10)] == [3]
        # An older receipt that comes late takes nothing back.
        journal.acknowledge(1)
        assert [kept.device_seq for kept in journal.pending(10)] == [3]

    def test_the_ring_refuses_to_overwrite_what_nobody_collected(self, journal: Journal) -> None:
        for mark in (1, 2, 3):
            journal.write_ahead(a_record(8), 1)
            journal.finish(a_record(mark))
        with pytest.raises(JournalFull):
            journal.write_ahead(a_record(8), 1)
        journal.acknowledge(1)
        journal.write_ahead(a_record(8), 1)
        journal.finish(a_record(4))
        assert [kept.record[0] for kept in journal.pending(10)] == [2, 3, 4]

    def test_it_warns_before_it_is_full(self, journal: Journal) -> None:
        journal.finish(a_record(1))
        journal.finish(a_record(2))
        assert not journal.fill().near_full
        journal.finish(a_record(3))
        assert journal.fill().near_full
        assert journal.fill().full
        with pytest.raises(JournalFull):
            journal.finish(a_record(4))
        journal.acknowledge(1)
        assert not journal.fill().full

    def test_running_totals_count_every_finished_record_once(self, journal: Journal) -> None:
        journal.write_ahead(a_record(8), 1)
        assert journal.registers() == Registers(0, 0)
        journal.finish(bytes(71) + (250).to_bytes(4, "big") + bytes(53))
        journal.write_ahead(a_record(8), 1)
        journal.drop()
        assert journal.registers() == Registers(1, 250)

    def test_a_range_is_read_again_for_a_re_collection(self, journal: Journal) -> None:
        for mark in (1, 2, 3):
            journal.finish(a_record(mark))
        journal.acknowledge(3)
        assert [kept.record[0] for kept in journal.range(2, 3)] == [2, 3]
        journal.finish(a_record(4))
        # The ring has three places: the first record has given its own away, or is still there.
        assert [kept.device_seq for kept in journal.range(2, 9)] == [2, 3, 4]


class TestMemoryJournal(JournalSuite):
    @pytest.fixture
    def journal(self) -> Journal:
        return MemoryJournal(records_max=3)


class TestSqliteJournal(JournalSuite):
    @pytest.fixture
    def journal(self, tmp_path: Path) -> Iterator[Journal]:
        journal = SqliteJournal(tmp_path / "journal.sqlite", records_max=3)
        yield journal
        journal.close()


def test_power_loss_in_the_middle_of_a_tap_leaves_its_slot_open(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    before = SqliteJournal(path)
    before.finish(a_record(1))
    before.write_ahead(a_record(8), 3)
    before.close()
    after = SqliteJournal(path)
    assert after.opened() == Opened(a_record(8), 3)
    assert [kept.device_seq for kept in after.pending(10)] == [1]
    after.finish(a_record(8))
    assert [(kept.device_seq, kept.record[0]) for kept in after.pending(10)] == [(1, 1), (2, 8)]
    assert after.next_seq() == 3
    after.close()


def test_a_second_program_on_the_same_journal_is_refused_by_name(tmp_path: Path) -> None:
    first = SqliteJournal(tmp_path / "journal.sqlite")
    with pytest.raises(JournalBusy):
        SqliteJournal(tmp_path / "journal.sqlite")
    first.finish(a_record(1))
    first.close()


@pytest.mark.parametrize("content", [b"SQLite format 3\0 and then something else" * 200, b"no database at all" * 400])
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(content)
    with pytest.raises(JournalDamaged):
        SqliteJournal(path)
    assert path.read_bytes() == content


def test_a_page_that_decayed_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal(path)
    for mark in range(200):
        journal.finish(a_record(mark % 250))
    journal.close()
    content = bytearray(path.read_bytes())
    content[4096 * 4 : 4096 * 5] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(JournalDamaged):
        SqliteJournal(path)


def test_a_folder_that_is_not_there_is_a_named_failure(tmp_path: Path) -> None:
    with pytest.raises(JournalFailed):
        SqliteJournal(tmp_path / "gone" / "journal.sqlite")


def test_a_full_medium_stops_the_tap_and_keeps_what_was_there(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    journal.finish(a_record(1))
    (pages,) = journal._database.execute("PRAGMA page_count").fetchone()
    journal._database.execute(f"PRAGMA max_page_count = {pages}")

    def fill_up() -> None:
        for mark in range(2, 250):
            journal.finish(a_record(mark))

    with pytest.raises(JournalFailed):
        fill_up()
    last = journal.registers().last_seq
    assert [kept.device_seq for kept in journal.pending(1000)] == list(range(1, last + 1))
    journal._database.execute("PRAGMA max_page_count = 100000")
    journal.finish(a_record(251))
    assert journal.registers().last_seq == last + 1
    journal.close()


def test_the_log_is_folded_in_between_taps_and_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal(path)
    log = path.with_name("journal.sqlite-wal")
    for mark in range(250):
        journal.finish(a_record(mark))
    assert log.stat().st_size > 400_000
    journal.tend()
    assert log.stat().st_size == 0
    journal.close()
