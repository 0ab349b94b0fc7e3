"""The tables of day runs, and statements verified from files."""

import hashlib
import io
from pathlib import Path

from citycard.clearing.v1 import day_service_pb2 as days
from citycard.clearing.v1 import statement_service_pb2 as pb
from citycard.common.v1 import types_pb2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rich.console import Console
from typer.testing import CliRunner

from city.day.statements import KEY_FILE
from city.day.watch import STAGES, STATES, bar, runs_table, stages_table
from cli.main import build
from libs.statements import FIRST_LINK, SIGNED_TEXT, key_id


def text_of(table: object) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def a_run(*states: int) -> days.DayRun:
    stages = [
        days.StageProgress(participant=f"participants/{name}", stage=place + 1, state=state, reason=reason)
        for name, place, state, reason in (("bus", 0, states[0], ""), ("bus", 1, states[1], "REPLAY_DIFFERS"))
    ]
    return days.DayRun(
        name="dayRuns/20250102", stages=stages, requested_by="citycard://administrator/ann",
        progress=days.DayRunProgress(settlement_date=types_pb2.Date(year=2025, month=1, day=2), stage_count=2,
                                     done_count=1, failed_count=1, participant_count=1),
    )  # fmt: skip


def test_every_stage_and_state_has_its_words_in_two_languages() -> None:
    assert set(STAGES) == set(days.DayStage.values()) - {0}
    assert set(STATES) == set(days.StageState.values()) - {0}
    for word in [*STAGES.values(), *(word for word, _ in STATES.values())]:
        assert any("一" <= letter <= "鿿" for letter in word)
        assert any("a" <= letter <= "z" for letter in word)


def test_a_bar_is_full_only_when_all_is_done() -> None:
    assert bar(0, 4) == "░" * 20 + " 0%"
    assert bar(3, 4) == "█" * 15 + "░" * 5 + " 75%"
    assert bar(199, 200).endswith("░ 99%")
    assert bar(4, 4) == "█" * 20 + " 100%"


def test_a_run_is_shown_with_its_reasons() -> None:
    run = a_run(days.STAGE_STATE_DONE, days.STAGE_STATE_FAILED)
    shown = text_of(stages_table(run))
    assert "2025-01-02" in shown
    assert "失败 failed" in shown
    assert "REPLAY_DIFFERS" in shown
    assert "50%" in text_of(runs_table([run]))


def write_statements(folder: Path, key: Ed25519PrivateKey, count: int = 2) -> None:
    previous = FIRST_LINK
    for number in range(1, count + 1):
        st_file = f"ST {number}".encode()
        st, digest = hashlib.sha256(st_file).digest(), bytes([number]) * 32
        chain = hashlib.sha256(previous + st + digest).digest()
        document = pb.StatementDocument(
            name=f"participants/bus/statements/2025010{number}", statement_number=number, st_sha256=st,
            records_digest=digest, previous_chain_hash=previous, chain_hash=chain,
        ).SerializeToString(deterministic=True)  # fmt: skip
        signed = pb.SignedStatement(
            document=document, key_id=key_id(key.public_key()), signature=key.sign(SIGNED_TEXT + document)
        )
        (folder / f"bus-2025010{number}.signed.pb").write_bytes(signed.SerializeToString())
        (folder / f"bus-2025010{number}.st").write_bytes(st_file)
        previous = chain
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / KEY_FILE).write_bytes(public)


def test_statements_of_a_folder_are_verified_by_command(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    write_statements(tmp_path, key, 3)
    runner = CliRunner()
    good = runner.invoke(build(), ["statement", "verify", str(tmp_path)])
    assert (good.exit_code, good.stdout) == (0, "3 statements, 0 faults\n")
    (tmp_path / "bus-20250101.st").write_bytes(b"another")
    # One in the middle is gone: the chain says so.
    (tmp_path / "bus-20250102.signed.pb").unlink()
    bad = runner.invoke(build(), ["statement", "verify", str(tmp_path)])
    assert bad.exit_code == 1
    assert "ST_FILE\tparticipants/bus/statements/20250101" in bad.stdout
    assert "CHAIN\tparticipants/bus/statements/20250103" in bad.stdout
    (tmp_path / "bus-20250101.signed.pb").write_bytes(b"\xff" * 20)
    assert "DOCUMENT" in runner.invoke(build(), ["statement", "verify", str(tmp_path)]).stdout


def test_without_statements_or_key_the_command_says_what_is_missing(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(build(), ["statement", "verify", str(tmp_path)]).exit_code == 2
    (tmp_path / KEY_FILE).write_text("no key")
    assert runner.invoke(build(), ["statement", "verify", str(tmp_path)]).exit_code == 2
    nowhere = runner.invoke(build(), ["day", "run", "2025-01-02", "--root", str(tmp_path / "none")])
    assert nowhere.exit_code == 2
    assert runner.invoke(build(), ["day", "show", "yesterday", "--root", str(tmp_path)]).exit_code == 2
