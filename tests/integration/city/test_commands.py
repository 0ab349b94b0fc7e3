"""The `citycard` command as people use it: a process of its own."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from city.environment import PlatformState
from city.processes import gone_within
from city.servers import LocalServers

ROOT = Path(__file__).parents[3]
CITYCARD = [sys.executable, "-m", "cli.main"]
SMALL = Path(__file__).parent / "small_service.py"


def citycard_with(mode: str) -> list[str]:
    """The command with the small program in place of each service."""
    program = (
        "import sys, city.launcher, cli.main\n"
        f"city.launcher.service_program = lambda name: [sys.executable, {str(SMALL)!r}, name, {mode!r}]\n"
        "cli.main.main()\n"
    )
    return [sys.executable, "-c", program]


def citycard(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*CITYCARD, *(str(argument) for argument in arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    program = (
        "import sys, cli.main\n"
        "cli.main.build()\n"
        "heavy = {'grpc', 'numpy', 'psycopg', 'sqlalchemy', 'cryptography', 'psutil', 'asyncio', 'nats'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    shown = citycard("--help").stdout
    for command in ("up", "down", "status", "serve", "migrate", "dead-letters", "certificate", "revoke", "staff-token"):
        assert f" {command} " in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up", "--only", "card,bank"], "no service 'bank'"),
        (["serve", "bank"], "no service 'bank'"),
        (["up", "--clock", "2018-09-01"], "no zone"),
        (["up", "--clock", "noon"], "is not a time"),
        (["certificate", "terminal", "020100000123"], "not the name of a caller"),
        (["certificate", "king", "demo"], "not the name of a caller"),
    ],
)
def test_a_misused_command_says_why_and_ends_with_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = citycard(*arguments, "--root", tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert not LocalServers(tmp_path).running()


def test_a_certificate_is_written_once_and_named_for_buf_curl(tmp_path: Path) -> None:
    first = citycard("certificate", "participant", "metro-1", "--root", tmp_path)
    assert first.returncode == 0
    options = first.stdout.split()
    assert options[::2] == ["--cacert", "--cert", "--key"]
    assert all(Path(file).is_file() for file in options[1::2])
    assert Path(options[5]).stat().st_mode & 0o077 == 0
    key = Path(options[5]).read_bytes()
    assert citycard("certificate", "participant", "metro-1", "--root", tmp_path).stdout == first.stdout
    assert Path(options[5]).read_bytes() == key
    other = citycard("certificate", "terminal", "metro-1/020100000123", "--root", tmp_path).stdout
    assert not set(other.split()[3::2]) & set(options[3::2])


def test_status_of_a_root_where_nothing_runs_says_so(tmp_path: Path) -> None:
    done = citycard("status", "--root", tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("down") == 8


def test_up_with_a_failing_service_says_why_ends_with_1_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [*citycard_with("no-migration"), "up", "--root", str(tmp_path), "--only", "card"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "the migration of card ended with exit status 3" in done.stderr
    assert not LocalServers(tmp_path).running()
    LocalServers(tmp_path).destroy()


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm", "down"])
def test_up_runs_until_it_is_stopped_and_leaves_nothing(tmp_path: Path, how: str) -> None:
    output = tmp_path / "output"
    with output.open("w") as file:
        up = subprocess.Popen(
            [*citycard_with("good"), "up", "--root", str(tmp_path / "root"), "--only", "card"],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while "all services are ready" not in output.read_text():
            assert up.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.1)
        state = PlatformState(tmp_path / "root")
        card = state.service("card")
        assert card is not None
        shown = citycard("status", "--root", tmp_path / "root").stdout
        assert str(card.pid) in shown
        if how == "down":
            assert citycard("down", "--root", tmp_path / "root").returncode == 0
        else:
            up.send_signal(signal.SIGINT if how == "ctrl-c" else signal.SIGTERM)
        assert up.wait(timeout=30) == 0, output.read_text()
        assert gone_within([card], 5)
        assert not LocalServers(tmp_path / "root").running()
        # The log of the service is in the one view.
        assert "card serve clock=0" in output.read_text()
    finally:
        up.kill()
        up.wait()
        LocalServers(tmp_path / "root").destroy()
