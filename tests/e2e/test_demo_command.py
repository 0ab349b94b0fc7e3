"""The command that everybody runs first, as a process of its own."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from city.environment import PlatformState
from city.names import SERVICES
from city.servers import LocalServers

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]

_BIN = Path(sys.executable).parent


def run(*command: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=folder, check=False)


def test_a_kept_demo_is_proven_answers_its_own_line_and_is_taken_down(new_root: Callable[[str], Path]) -> None:
    root = new_root("demo") / "city"
    demo = run(_BIN / "citycard", "demo", "--records", "300", "--seed", "3", "--root", root, "--keep")
    try:
        assert demo.returncode == 0, demo.stdout + demo.stderr
        for part in ("地铁一号线 metro-1", "300 distinct records", "CARD_LISTED", "nothing is broken"):
            assert part in demo.stdout
        state = PlatformState(root)
        assert all(state.service(service) for service in SERVICES)

        line = next(line for line in demo.stdout.splitlines() if "buf curl" in line)
        _, *arguments = shlex.split(line)
        answer = run(_BIN / "buf", *arguments)
        assert answer.returncode == 0, answer.stderr
        assert json.loads(answer.stdout)["name"].startswith("participants/metro-1/statements/")

        again = run(_BIN / "citycard", "prove", "--root", root)
        assert again.returncode == 0, again.stdout
        read_the_books(root)
        tamper_with_the_books(root)
    finally:
        down = run(_BIN / "citycard", "down", "--root", root)
    assert down.returncode == 0, down.stderr
    assert not any(state.service(service) for service in SERVICES)
    assert run(_BIN / "citycard", "prove", "--root", root).returncode == 2
    LocalServers(root).destroy()


def read_the_books(root: Path) -> None:
    """Every sheet of the ledger of the demo's day."""
    for arguments, words in (
        (("chart",), "借贷平衡"),
        (("account", "2203"), "2203.metro-1"),
        (("journal", "1"), "发卡 cards_issued"),
        (("statement", "2201"), "消费清分 records_posted"),
        (("float",), "钱包与总账相符"),
    ):
        shown = run(_BIN / "citycard", "ledger", *arguments, "--root", root)
        assert shown.returncode == 0, shown.stderr
        assert words in shown.stdout


def tamper_with_the_books(root: Path) -> None:
    """One fen in one row, by somebody who may do everything to the database; the proof names the row."""
    servers = LocalServers(root)
    name = servers.ensure_database("account").name
    proof = (_BIN / "citycard", "prove", "--service", "account", "--root", root)
    assert run(*proof).returncode == 0
    with psycopg.connect(servers.postgres.superuser_url(name), autocommit=True) as connection:
        connection.execute("UPDATE entry SET amount_fen = amount_fen + 1 WHERE sequence = 9 AND leg_number = 1")
        row = connection.execute("SELECT journal_id FROM journal WHERE sequence = 9").fetchone()
    assert row is not None
    found = run(*proof)
    assert found.returncode == 1
    assert f"account I13: journals/{row[0]} at 9" in found.stdout


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    demo = run(_BIN / "citycard", "demo", "--root", tmp_path)
    assert demo.returncode == 2
    assert "not a demo's" in demo.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letters"]


def test_a_file_that_is_no_day_is_refused_before_anything_starts(tmp_path: Path) -> None:
    data = tmp_path / "day.csv"
    data.write_text("a,b\n1,2\n")
    demo = run(_BIN / "citycard", "demo", "--data", data, "--root", tmp_path / "city")
    assert demo.returncode == 2
    assert "day.csv, line 2" in demo.stderr
    assert not (tmp_path / "city").exists()
