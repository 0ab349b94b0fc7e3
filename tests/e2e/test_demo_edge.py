"""`citycard demo-edge` as somebody runs it: a small fleet, every fault, every certificate right."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_fleet_s_day_ends_with_right_certificates_and_leaves_nothing_running(tmp_path: Path) -> None:
    root = tmp_path / "city"
    command = [sys.executable, "-m", "cli.main", "demo-edge", "--terminals", "60", "--records", "3000", "--seed", "5"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'stubs'}"}
    done = subprocess.run(
        [*command, "--root", str(root)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differ" in done.stdout
    assert "黑名单时延" in done.stdout
    assert "p99" in done.stdout
    assert "terminal_gw" in done.stdout


def test_misuse_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "somebody's file").write_text("")
    command = [sys.executable, "-m", "cli.main", "demo-edge", "--root", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'stubs'}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "not a demo's" in done.stderr
