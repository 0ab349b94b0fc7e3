"""The local servers: found again, killed, restarted, two roots at once, nothing left behind."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from city.processes import ProcessMark
from city.servers import LocalServers

NAMES = ["postgres", "nats", "redis"]


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[LocalServers]:
    """Servers that a test may kill."""
    local = LocalServers(tmp_path / "root")
    try:
        local.start()
        yield local
    finally:
        local.destroy()


def processes_of(servers: LocalServers) -> list[ProcessMark]:
    family = []
    for line in servers.status():
        assert line.pid is not None
        process = psutil.Process(line.pid)
        family += [ProcessMark.of(member.pid) for member in [process, *process.children(recursive=True)]]
    return family


def test_a_second_object_finds_the_servers_running_and_starts_none(own_servers: LocalServers) -> None:
    again = LocalServers(own_servers.root)
    assert again.start() == []
    assert again.nats_url() == own_servers.nats_url()
    assert [line.pid for line in again.status()] == [line.pid for line in own_servers.status()]


def test_leaving_the_context_stops_what_it_started_and_leaves_what_it_found(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with LocalServers(root) as first:
        with LocalServers(root):
            pass
        assert first.running()
        marks = processes_of(first)
    assert not any(mark.alive() for mark in marks)
    first.destroy()


def test_a_destroyed_root_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    root = tmp_path / "root"
    local = LocalServers(root)
    local.start()
    marks, data = processes_of(local), local.postgres.data
    assert len(marks) > len(NAMES)
    local.destroy()
    assert not any(mark.alive() for mark in marks)
    assert not root.exists()
    assert not data.exists()


def test_the_state_file_with_the_passwords_is_for_its_owner_only(own_servers: LocalServers) -> None:
    for name in ("servers.json", "servers/nats/nats.conf", "servers/redis/redis.conf"):
        assert (own_servers.root / name).stat().st_mode & 0o077 == 0, name


@pytest.mark.parametrize("name", NAMES)
def test_one_that_was_killed_comes_back_on_its_port_when_started_again(own_servers: LocalServers, name: str) -> None:
    before = {line.name: line for line in own_servers.status()}
    pid = before[name].pid
    assert pid is not None
    # By the number, as a stranger would: the object learns of it only when it looks.
    os.kill(pid, signal.SIGKILL)
    assert LocalServers(own_servers.root).start() == [name]
    after = {line.name: line for line in own_servers.status()}
    assert after[name].port == before[name].port
    assert after[name].pid != pid
    assert [after[other].pid for other in NAMES if other != name] == [
        before[other].pid for other in NAMES if other != name
    ]


def test_committed_rows_survive_a_kill_while_a_session_is_open(own_servers: LocalServers) -> None:
    urls = own_servers.fresh_database("card")
    with psycopg.connect(urls.owner) as connection:
        connection.execute("CREATE TABLE kept (number int)")
        connection.execute("INSERT INTO kept VALUES (7)")
        connection.commit()
        connection.execute("INSERT INTO kept VALUES (8)")
        own_servers.kill("postgres")
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
    own_servers.restart("postgres")
    with psycopg.connect(urls.owner) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]


def test_a_port_that_a_stranger_took_meanwhile_is_given_up(own_servers: LocalServers) -> None:
    port = own_servers.redis.port
    own_servers.kill("redis")
    with socket.create_server(("127.0.0.1", port)):
        own_servers.restart("redis")
        assert own_servers.redis.port != port
        assert own_servers.redis.answers()


def test_clients_find_a_killed_server_on_its_port_again_and_again(own_servers: LocalServers) -> None:
    port = own_servers.nats.port
    for _ in range(10):
        # An open connection keeps the port busy for a moment after the kill.
        with socket.create_connection(("127.0.0.1", port)):
            own_servers.kill("nats")
            own_servers.restart("nats")
        assert own_servers.nats.port == port


def test_what_redis_held_is_gone_after_a_kill(own_servers: LocalServers) -> None:
    with redis.Redis.from_url(own_servers.redis_url()) as cache:
        cache.set("key", "value")
        own_servers.kill("redis")
        own_servers.restart("redis")
        assert cache.get("key") is None


def test_a_state_file_that_names_a_stranger_s_process_does_it_no_harm(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        # The number was given out again after a reboot: same pid, another birth.
        stale = {"pid": stranger.pid, "born_at": ProcessMark.of(stranger.pid).born_at - 3600}
        (root / "servers.json").write_text(json.dumps({"redis": {**stale, "port": 1}}))
        local = LocalServers(root)
        try:
            assert local.start() == NAMES
            local.stop()
        finally:
            local.destroy()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_half_written_state_file_is_no_reason_not_to_start(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "servers.json").write_text('{"redis": {"po')
    local = LocalServers(root)
    try:
        assert local.start() == NAMES
    finally:
        local.destroy()


def test_two_roots_run_side_by_side_and_know_nothing_of_each_other(own_servers: LocalServers, tmp_path: Path) -> None:
    other = LocalServers(tmp_path / "other")
    try:
        assert other.start() == NAMES
        ports = {line.port for line in own_servers.status()} | {line.port for line in other.status()}
        assert len(ports) == 2 * len(NAMES)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(
                own_servers.postgres.superuser_url().replace(
                    f":{own_servers.postgres.port}/", f":{other.postgres.port}/"
                )
            )
    finally:
        other.destroy()
    assert own_servers.running()


def test_a_lost_state_file_is_said_at_once_and_the_data_is_kept(tmp_path: Path) -> None:
    from city.processes import StartFailed

    local = LocalServers(tmp_path / "root")
    local.start()
    local.stop()
    state = local.root / "servers.json"
    saved = state.read_text()
    state.unlink()
    try:
        with pytest.raises(StartFailed, match="state file"):
            LocalServers(local.root).start()
        state.write_text(saved)
        assert LocalServers(local.root).start() == NAMES
    finally:
        local.destroy()


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests ran as an ordinary user already")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux to become another user")
def test_an_ordinary_user_can_start_and_stop_them() -> None:
    # It may read what root reads, for the interpreter may lie below /root; in all else it is an ordinary user.
    become = ["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=+dac_read_search"]
    program = (
        "import os, sys; from pathlib import Path; from city.servers import LocalServers\n"
        "with LocalServers(Path(sys.argv[1])) as servers:\n"
        "    name = servers.ensure_database('card').name\n"
        "    print(name, all(line.pid for line in servers.status()), os.geteuid() != 0)\n"
    )
    with tempfile.TemporaryDirectory(prefix="citycard-user-") as folder:
        shutil.chown(folder, "nobody")
        done = subprocess.run(
            ["setpriv", *become, "--ambient-caps=+dac_read_search", sys.executable, "-c", program, f"{folder}/root"],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.stdout == "citycard_card True True\n", done.stderr
