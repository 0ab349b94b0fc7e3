"""A terminal's own work in a tap: list, guard, fare, records, journal with its two syncs."""

import json
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np

from bench.result import Context, Result
from bench.workload import NOON
from city.keys import CITY_CODE, ISSUER_ID, city_keys
from edge.terminal.blacklist import TerminalBlacklist
from edge.terminal.journal_sqlite import SqliteJournal
from edge.terminal.parameters import ParameterShelf, read_parameters
from edge.terminal.record import TerminalFacts
from edge.terminal.roles import Device, Role, make_role
from edge.terminal.terminal import Terminal
from libs.clock import FixedClock
from libs.fares.rules import load_pack
from libs.purse.card import JT, VirtualCard, card_keys, personalise
from libs.purse.sam import VirtualSam, issue_sam
from libs.purse.scheme import CardIdentity, Scheme
from libs.purse.sequence import MemorySequence
from libs.records import bcd
from libs.records.batch import FileType, ListExtension, encode_batch
from libs.records.blacklist_file import Action, ListReason, Mode, make_entries
from libs.records.numbers import card_bytes, institution_bytes, make_jt_number, psam_bytes, terminal_bytes

_TAPS: Final = int(os.environ.get("CITYCARD_BENCH_TAPS", "2000"))
_CARDS: Final = 50
_LISTED: Final = 20_000
_OWN_MS_MAX: Final = 2.0
_ISSUER = institution_bytes(ISSUER_ID)


def run(context: Context) -> list[Result]:
    """p99 of the terminal's own work as processor time, and by the clock beside the bare syncs of the medium."""
    folder = context.root / "edge"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    context.say(f"{_TAPS:,} bus taps of {_CARDS} cards, {_LISTED:,} cards listed, journal on {folder}")
    syncs = _bare_syncs(folder)
    journal = SqliteJournal(folder / "journal.sqlite", _TAPS + 1)
    work, waited = _own_ms(journal)
    assert journal.registers().last_seq == _TAPS, "every tap is a record"
    journal.close()
    shutil.rmtree(folder, ignore_errors=True)
    return [
        Result("edge.tap_own_p99", _p99(work), "ms", goal=_OWN_MS_MAX, less_is_better=True),
        Result("edge.tap_own_median", float(np.median(work)), "ms", less_is_better=True),
        Result(
            "edge.tap_with_medium_median",
            float(np.median(waited)),
            "ms",
            float(np.median(syncs)),
            "two appends of 2 KiB with fdatasync to a file on the same medium, median",
            less_is_better=True,
        ),
        Result(
            "edge.tap_with_medium_p99",
            _p99(waited),
            "ms",
            _p99(syncs),
            "the same, p99",
            less_is_better=True,
        ),
    ]


def _p99(values: list[float]) -> float:
    return float(np.percentile(values, 99))


class _Timed:
    """A chip (card or module) whose own time is counted, so that it can be taken out."""

    def __init__(self, chip: VirtualCard | VirtualSam) -> None:
        self._chip = chip
        self.seconds = 0.0

    def transmit(self, command: bytes) -> bytes:
        began = time.perf_counter()
        answer = self._chip.transmit(command)
        self.seconds += time.perf_counter() - began
        return answer


def _own_ms(journal: SqliteJournal) -> tuple[list[float], list[float]]:
    """Of every tap, without card and security module: processor time, and time by the clock.

    Both chips are machines of their own beside a real terminal. From the processor time their median is taken: to ask
    for it around each of their answers would cost more than they do.
    """
    clock = FixedClock(NOON)
    number = "020000000001"
    facts = TerminalFacts(number, f"58400001{number}", "11095840", CITY_CODE, 2, 9, 77, line="000101", station=5)
    sam = _Timed(
        issue_sam(
            city_keys(), Scheme.JT, _ISSUER, terminal_bytes(number), MemorySequence(),
            number=psam_bytes(facts.psam_number),
        )
    )  # fmt: skip
    blacklist = TerminalBlacklist()
    blacklist.load(_a_list())
    terminal = Terminal(facts, sam.transmit, journal, clock, blacklist, aids=(JT.aid,))
    role = make_role(Role.BUS, Device(terminal, ParameterShelf((read_parameters(_a_pack()),)), clock))
    cards = [_Timed(_a_card(serial)) for serial in range(_CARDS)]
    worked, waited, chips = [], [], []
    for tap in range(_TAPS):
        clock.advance(timedelta(seconds=5))
        card = cards[tap % _CARDS]
        card.seconds = sam.seconds = 0.0
        began, work = time.perf_counter(), time.thread_time()
        outcome = role.present(card.transmit)
        worked.append(1000 * (time.thread_time() - work))
        chips.append(1000 * (card.seconds + sam.seconds))
        waited.append(1000 * (time.perf_counter() - began) - chips[-1])
        assert outcome.tap is not None, outcome.code
        if not tap % 100:
            # As the program does while nobody taps.
            journal.tend()
    chip_ms = float(np.median(chips))
    return [one - chip_ms for one in worked], waited


def _bare_syncs(folder: Path) -> list[float]:
    """What two durable appends cost here, whoever makes them."""
    spent = []
    with (folder / "bare").open("wb", buffering=0) as file:
        for _ in range(_TAPS):
            began = time.perf_counter()
            for _ in range(2):
                file.write(bytes(2048))
                os.fdatasync(file.fileno())
            spent.append(1000 * (time.perf_counter() - began))
    return spent


def _a_card(serial: int) -> VirtualCard:
    number = card_bytes(make_jt_number(CITY_CODE, serial))[1]
    keys = card_keys(city_keys(), CardIdentity(Scheme.JT, _ISSUER, number))
    card = personalise(JT, number, keys, issuer=_ISSUER)
    application = card.applications[0]
    application.commit(type(application.purse)(balance_fen=100_000_00))
    return card


def _a_pack() -> bytes:
    shenzhen = json.loads((Path(load_pack.__code__.co_filename).parent / "packs" / "shenzhen.json").read_text("utf-8"))
    tables = [{"line": "000101", "kind": "flat", "fare_fen": 200}]
    document = {"version": 1, "effective": "2020-01-01T00:00:00+08:00", "rules": shenzhen, "prices": {"tables": tables}}
    return json.dumps(document).encode()


def _a_list() -> bytes:
    numbers = [card_bytes(make_jt_number(CITY_CODE, 70_000_000_000 + 7 * serial))[1] for serial in range(_LISTED)]
    rows = make_entries(
        np.array([np.frombuffer(number, np.uint8) for number in sorted(numbers)]),
        [Action.ADD] * _LISTED,
        [ListReason.LOST] * _LISTED,
        np.tile(np.frombuffer(bcd.bcd_time(NOON), np.uint8), (_LISTED, 1)),
        [Mode.REFUSE] * _LISTED,
    )
    return encode_batch(
        FileType.BL, rows, sender="00005840", receiver="00005840", batch_number=1, created=NOON,
        business_date=NOON.date(), extension=ListExtension(1, 0),
    )  # fmt: skip
