"""Power goes at every operation on the journal's files: what was promised is there, nothing is there twice."""

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge.terminal.journal import Registers
from edge.terminal.journal_sqlite import SqliteJournal
from tests.faults.edge import recording_vfs
from tests.faults.edge.recording_vfs import Recording, lay_down, recorded

RING = 6
GREY, DONE = 8, 1


def a_record(kind: int, mark: int) -> bytes:
    amount = (100 + mark).to_bytes(4, "big")
    return bytes((1, kind)) + bytes([mark]) * 69 + amount + bytes([mark]) * 53


@dataclass(frozen=True)
class State:
    """All that a journal tells of itself."""

    records: tuple[bytes, ...]
    open_kind: int
    pending: tuple[int, ...]
    registers: Registers


EMPTY = State((), 0, (), Registers(0, 0))


def state_of(journal: SqliteJournal) -> State:
    opened = journal.opened()
    records = tuple(kept.record for kept in journal.range(1, 1_000_000))
    return State(
        (*records, opened.record) if opened else records,
        opened.kind if opened else 0,
        tuple(kept.device_seq for kept in journal.pending(1_000)),
        journal.registers(),
    )


def taps(journal: SqliteJournal) -> list[Callable[[], None]]:
    """Taps of every outcome, collections between them, the ring goes round, the log is folded in."""
    acts: list[Callable[[], None]] = []
    for mark in range(1, 15):
        acts.append(lambda mark=mark: journal.write_ahead(a_record(GREY, mark), DONE))  # type: ignore[misc]  # the default binds the mark
        if mark % 5 == 0:
            acts.append(journal.drop)
        elif mark % 7 == 0:
            acts.append(lambda mark=mark: journal.finish(a_record(GREY, mark)))  # type: ignore[misc]  # likewise
        else:
            acts.append(lambda mark=mark: journal.finish(a_record(DONE, mark)))  # type: ignore[misc]  # likewise
        if mark % 3 == 0:
            acts.append(lambda: journal.acknowledge(journal.registers().last_seq))
        if mark % 6 == 0:
            acts.append(journal._checkpoint)
    return acts


@dataclass
class Played:
    """What was done to the medium, and what the journal said after how many operations."""

    recording: Recording
    states: list[tuple[int, State]]

    def allowed(self, cut: int) -> set[State]:
        """What a restart may find: the last state that was promised by then, or the one that was under way."""
        done = max(index for index, (ops, _) in enumerate(self.states) if ops <= cut)
        return {state for _, state in self.states[done : done + 2]}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    if not recording_vfs.available:
        pytest.skip("this Python carries its own SQLite: no file layer can be put under it")
    with recorded() as recording:
        journal = SqliteJournal(tmp_path_factory.mktemp("played") / "journal.sqlite", RING)
        states = [(0, EMPTY), (len(recording.ops), state_of(journal))]
        for act in taps(journal):
            act()
            states.append((len(recording.ops), state_of(journal)))
        journal.close()
    return Played(recording, states)


def found(image: dict[str, bytes], folder: Path) -> State:
    lay_down(image, folder)
    journal = SqliteJournal(folder / "journal.sqlite", RING)
    try:
        return state_of(journal)
    finally:
        journal.close()


def test_the_series_does_what_it_shall(played: Played) -> None:
    kinds = {op.what for op in played.recording.ops}
    assert {"create", "write", "sync", "truncate"} <= kinds
    assert len({state for _, state in played.states}) > 25
    assert played.states[-1][1].registers.last_seq == 12


@pytest.mark.parametrize("image_of", ["killed", "powerless"])
def test_after_a_cut_behind_any_operation_the_journal_is_as_promised(
    played: Played, tmp_path: Path, image_of: str
) -> None:
    ops = played.recording.ops
    for cut in range(len(ops) + 1):
        image = getattr(played.recording, image_of)(cut)
        assert found(image, tmp_path) in played.allowed(cut), (cut, ops[cut - 1 : cut])


def test_a_write_that_is_torn_anywhere_changes_nothing(played: Played, tmp_path: Path) -> None:
    for cut in range(1, len(played.recording.ops) + 1):
        for share in (0.0, 0.13, 0.5, 0.999):
            image = played.recording.torn(cut, share)
            if image is not None:
                assert found(image, tmp_path) in played.allowed(cut - 1), (cut, share)


@pytest.mark.parametrize("seed", range(3))
def test_writes_that_reach_the_medium_in_any_order_change_nothing(played: Played, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    for cut in range(len(played.recording.ops) + 1):
        assert found(played.recording.scattered(cut, draw), tmp_path) in played.allowed(cut), cut


_WRITER = """
import sys
from pathlib import Path
from edge.terminal.journal_sqlite import SqliteJournal
journal = SqliteJournal(Path(sys.argv[1]))
opened = journal.opened()
if opened:
    journal.finish(opened.record)
while True:
    seq = journal.next_seq()
    journal.write_ahead(bytes((1, 8)) + seq.to_bytes(4, "big") + bytes(122), 1)
    journal.finish(bytes((1, 1)) + seq.to_bytes(4, "big") + bytes(122))
    print(seq, flush=True)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_a_process_killed_again_and_again_loses_nothing_that_it_told(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    path = tmp_path / "journal.sqlite"
    told = 0
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(draw.randrange(1, 40)):
                told = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            told = max([told, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    journal = SqliteJournal(path)
    opened = journal.opened()
    records = [kept.record for kept in journal.range(1, 1_000_000)]
    assert len(records) in (told, told + 1)
    assert [int.from_bytes(record[2:6], "big") for record in records] == list(range(1, len(records) + 1))
    assert all(record[1] in (GREY, DONE) for record in records)
    assert opened is None or opened.record[1] == GREY
    journal.close()
