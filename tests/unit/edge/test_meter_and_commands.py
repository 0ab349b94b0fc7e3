"""The meter reader's frames one by one, and the two programs as somebody calls them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from city.keys import CITY_CODE, ISSUER_ID
from cli.main import build
from edge.terminal.home import ConfigurationInvalid, Home, read_configuration
from edge.terminal.journal import MemoryJournal
from edge.terminal.meter import MeterReader, measure
from edge.terminal.terminal import Terminal
from libs.clock import FixedClock, SystemClock
from libs.errors import DomainError
from libs.meters.reading import Utility
from libs.meters.record import from_records
from libs.records.otr import check_format, read_records
from tests.unit.edge.test_roles import a_document
from tests.unit.edge.test_terminal import FACTS, NOON, TerminalBlacklist
from tests.unit.meters.test_meters import POWER, WATER, changed, sealed

RUN = CliRunner()


def a_reader() -> tuple[MeterReader, MemoryJournal]:
    journal, clock = MemoryJournal(), FixedClock(NOON)
    terminal = Terminal(FACTS, lambda command: b"", journal, clock, TerminalBlacklist())
    return MeterReader(terminal, clock), journal


class TestMeterReader:
    def test_bad_frames_are_refused_one_by_one_and_counted(self) -> None:
        reader, journal = a_reader()
        cut, wrong_sum = POWER[:-3], POWER[:-2] + bytes((POWER[-2] ^ 1, POWER[-1]))
        out = reader.take([cut, POWER, wrong_sum, wrong_sum, WATER, b"", changed(WATER, 1, 0x55)])
        assert (out.frames, out.reads) == (7, 2)
        assert sum(out.refused.values()) == 5
        assert out.refused["FRAME_CHECKSUM_WRONG"] == 2
        records = read_records(b"".join(kept.record for kept in journal.pending(9)))
        assert not check_format(records).any()
        assert [(one.utility, one.cumulative) for one in from_records(records)] == [
            (Utility.POWER, 1234567),
            (Utility.WATER, 12345),
        ]
        assert records["device_seq"].tolist() == [1, 2]

    def test_total_and_rest_of_one_meter_are_one_read(self) -> None:
        reader, journal = a_reader()
        left = bytes.fromhex("68 230100000000 68 91 08 3334C333 9A785634 00 16".replace(" ", ""))
        out = reader.take([sealed(left), POWER])
        (read,) = from_records(read_records(journal.pending(1)[0].record))
        assert (out.reads, out.left_over, read.remaining) == (1, 0, 1234567)
        out = reader.take([sealed(left)])
        assert (out.reads, out.left_over) == (0, 1)

    def test_an_address_byte_of_68_does_not_make_water_electricity(self) -> None:
        assert measure(sealed(WATER[:7] + b"\x68" + WATER[8:])).utility is Utility.WATER

    @given(st.binary(max_size=60))
    def test_anything_else_is_refused_by_name(self, octets: bytes) -> None:
        with pytest.raises(DomainError):
            measure(octets)


def a_home(folder: Path, **changes: object) -> Path:
    said = {
        "terminal_number": "020000000001", "psam_number": "58400001020000000001", "acquirer_id": "11095840",
        "accepting_city": CITY_CODE, "industry_code": "0001", "operator_number": 9, "device_number": 77,
        "station": 5, "participant": "metro-1", "issuer_id": ISSUER_ID, "centre_id": "00005840", "records_max": 50,
    } | changes  # fmt: skip
    home = folder / "home"
    home.mkdir(exist_ok=True)
    (home / "terminal.json").write_text(json.dumps(said))
    (folder / "pack.json").write_text(json.dumps(a_document(effective="2025-01-01T00:00:00+08:00")))
    return home


def a_card_file(folder: Path, balance_fen: int = 5000) -> Path:
    path = folder / "card.json"
    made = RUN.invoke(build(), ["card", "personalise", "--out", str(path), "--balance-fen", str(balance_fen)])
    assert made.exit_code == 0, made.output
    return path


class TestTerminalCommand:
    def test_help_names_every_role(self) -> None:
        shown = RUN.invoke(build(), ["terminal", "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0
        for role in (
            "bus",
            "gate-entry",
            "gate-exit",
            "pos",
            "parking-entry",
            "parking-exit",
            "ticket",
            "inspector",
            "meter",
        ):
            assert role in shown.output

    def test_a_card_rides_and_its_records_leave_on_a_stick(self, tmp_path: Path) -> None:
        home, card = a_home(tmp_path), a_card_file(tmp_path)
        stick = tmp_path / "stick"
        stick.mkdir()
        common = ["terminal", "--home", str(home), "--role"]
        done = RUN.invoke(build(), [*common, "gate-entry", "--pack", str(tmp_path / "pack.json"), "--card", str(card)])
        assert done.exit_code == 0, done.output
        assert "○ OK" in done.output
        # The program has ended; parameters, journal and the module's number are in the folder.
        done = RUN.invoke(build(), [*common, "gate-exit", "--card", str(card), "--close-day", "--drop-out", str(stick)])
        assert done.exit_code == 0, done.output
        assert "2 records" in done.output
        records = read_records((stick / "records.otr").read_bytes())
        assert records["kind"].tolist() == [2, 3]
        done = RUN.invoke(build(), [*common, "gate-exit", "--card", str(card)])
        assert done.exit_code == 3
        assert "TRIP_NOT_OPEN" in done.output

    def test_modes_survive_the_program(self, tmp_path: Path) -> None:
        home, card = a_home(tmp_path), a_card_file(tmp_path)
        common = ["terminal", "--home", str(home), "--role", "gate-entry"]
        RUN.invoke(build(), [*common, "--pack", str(tmp_path / "pack.json"), "--mode", "emergency"])
        done = RUN.invoke(build(), [*common, "--card", str(card)])
        assert "GATES_OPEN" in done.output
        assert "紧急放行" in done.output
        done = RUN.invoke(build(), [*common, "--mode-off", "emergency", "--card", str(card)])
        assert "○ OK" in done.output

    def test_a_meter_reader_counts_what_it_refuses(self, tmp_path: Path) -> None:
        home = a_home(tmp_path, industry_code="0102")
        frames = tmp_path / "frames.txt"
        frames.write_text(f"{POWER.hex()}\nno frame\n{POWER[:-2].hex()}\n{WATER.hex()}\n")
        done = RUN.invoke(build(), ["terminal", "--home", str(home), "--role", "meter", "--frames", str(frames)])
        assert done.exit_code == 3, done.output
        assert "2 reads of 3 frames" in done.output
        assert "NOT_HEXADECIMAL: 1" in done.output

    @pytest.mark.parametrize(
        "options",
        [["--role", "lift"], ["--role", "bus", "--gateway", "localhost:1"], ["--role", "bus", "--mode", "holiday"]],
    )
    def test_misuse_is_told_apart(self, tmp_path: Path, options: list[str]) -> None:
        home = a_home(tmp_path)
        assert RUN.invoke(build(), ["terminal", "--home", str(home), *options]).exit_code == 2

    @pytest.mark.parametrize(
        "changes",
        [{"line": "12"}, {"station": 70000}, {"colour": "red"}, {"industry_code": "XYZ1"}, {"records_max": 0}],
    )
    def test_a_wrong_configuration_is_named(self, tmp_path: Path, changes: dict[str, object]) -> None:
        home = a_home(tmp_path, **changes)
        done = RUN.invoke(build(), ["terminal", "--home", str(home), "--role", "bus"])
        assert done.exit_code == 1
        assert next(iter(changes)) in done.output
        with pytest.raises(ConfigurationInvalid):
            read_configuration((home / "terminal.json").read_bytes())

    def test_two_programs_do_not_share_a_folder(self, tmp_path: Path) -> None:
        home = a_home(tmp_path)
        opened = Home(home, SystemClock())
        done = RUN.invoke(build(), ["terminal", "--home", str(home), "--role", "bus"])
        assert (done.exit_code, "JOURNAL_BUSY" in done.output) == (1, True)
        opened.close()


def test_the_collector_s_help_answers() -> None:
    shown = RUN.invoke(build(), ["collector", "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    for option in ("--socket", "--drop", "--period-s", "--batch-first"):
        assert option in shown.output
