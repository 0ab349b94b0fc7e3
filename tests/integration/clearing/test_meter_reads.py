"""Meter reads go the way of every record: stored, one verdict each, no money (record-formats.md, section 4, test 7)."""

from edge.terminal.blacklist import TerminalBlacklist
from edge.terminal.journal import MemoryJournal
from edge.terminal.meter import MeterReader
from edge.terminal.record import TerminalFacts
from edge.terminal.terminal import Terminal
from libs.clock import FixedClock
from libs.records.otr import read_records
from tests.unit.meters.test_meters import POWER, WATER

from .conftest import Centre, a_batch
from .test_results_and_windows import DAY, NOON, a_city, rides


async def test_reads_of_a_terminal_are_accepted_once_and_post_nothing(centre: Centre) -> None:
    await a_city(centre)
    facts = TerminalFacts("990100000001", "00009901000000000001", "11139901", "9901", 0x0102, 17, 1)
    journal, clock = MemoryJournal(), FixedClock(NOON)
    terminal = Terminal(facts, lambda command: b"", journal, clock, TerminalBlacklist())
    out = MeterReader(terminal, clock).take([POWER, WATER, POWER[:-1]])
    assert (out.reads, sum(out.refused.values())) == (2, 1)
    records = read_records(b"".join(kept.record for kept in journal.pending(10)))
    first = centre.gateway.store("bus", a_batch(records, 1), NOON)
    again = centre.gateway.store("bus", a_batch(records, 2), NOON)
    paid = centre.gateway.store("bus", a_batch(rides(centre, 1, first_seq=7), 3), NOON)
    await centre.judge_all()
    assert await centre.codes(first) == [0, 0]
    assert await centre.codes(again) == [1, 1]
    assert await centre.codes(paid) == [0]
    statement = await centre.close_window("bus", DAY)
    assert statement.totals.gross_fen == 200
    assert [line for line in (await centre.prove()).lines if line.broken and line.invariant != "I10"] == []
