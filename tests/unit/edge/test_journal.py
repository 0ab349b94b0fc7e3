from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.terminal.journal import Journal, JournalFull, MemoryJournal
from edge.terminal.journal_sqlite import SqliteJournal


def a_record(mark: int) -> bytes:
    return bytes([mark]) * 128


class JournalSuite:
    """What every journal promises; the fixture `journal` has room for three records."""

    def test_a_grey_record_is_replaced_in_its_place(self, journal: Journal) -> None:
        assert journal.next_seq() == 1
        journal.write_ahead(a_record(8))
        assert journal.next_seq() == 1
        journal.finish(a_record(1))
        assert [(kept.device_seq, kept.record) for kept in journal.pending(10)] == [(1, a_record(1))]
        assert journal.next_seq() == 2

    def test_a_dropped_grey_record_leaves_no_gap(self, journal: Journal) -> None:
        journal.write_ahead(a_record(8))
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
            journal.write_ahead(a_record(8))
            journal.finish(a_record(mark))
        with pytest.raises(JournalFull):
            journal.write_ahead(a_record(8))
        journal.acknowledge(1)
        journal.write_ahead(a_record(8))
        journal.finish(a_record(4))
        assert [kept.record[0] for kept in journal.pending(10)] == [2, 3, 4]


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


def test_power_loss_in_the_middle_of_a_tap_leaves_the_grey_record(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    before = SqliteJournal(path)
    before.finish(a_record(1))
    before.write_ahead(a_record(8))
    # The process is gone: nothing is closed, nothing finished.
    after = SqliteJournal(path)
    assert [(kept.device_seq, kept.record[0]) for kept in after.pending(10)] == [(1, 1), (2, 8)]
    assert after.next_seq() == 3
    after.close()
    before.close()
