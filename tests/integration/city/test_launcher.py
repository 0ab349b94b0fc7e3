"""The launcher: starts in order, sees a fall, starts again, leaves nothing behind, never two on one root."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from city import launcher
from city.environment import PlatformState
from city.launcher import AlreadyRunning, Platform
from city.names import UnknownService
from city.processes import ProcessMark, StartFailed

SMALL = Path(__file__).parent / "small_service.py"


def program(**modes: str) -> launcher.Program:
    """The small program for every service; `card="falls"` gives one another mode."""

    def command(service: str) -> Sequence[str]:
        return [sys.executable, str(SMALL), service, modes.get(service, "good")]

    return command


class Told:
    """What the launcher told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, service: str, what: str) -> None:
        self.lines.append((service, what))

    async def until(self, service: str, words: str, count: int = 1) -> None:
        async with asyncio.timeout(30):
            while sum(service == who and words in what for who, what in self.lines) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def check(channel: grpc.aio.Channel) -> int:
    async with channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)).status)


def all_marks(platform: Platform) -> list[ProcessMark]:
    pids = [line.pid for line in platform.servers.status()]
    marks = [ProcessMark.of(pid) for pid in pids if pid is not None]
    marks += [mark for service in platform.services if (mark := platform.state.service(service)) is not None]
    return marks


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def platform(tmp_path: Path, told: Told) -> AsyncIterator[Platform]:
    opened = Platform(tmp_path, only=["card", "account"], narrate=told, program=program())
    try:
        async with opened:
            yield opened
    finally:
        opened.servers.destroy()


async def test_a_running_platform_answers_callers_with_a_certificate_and_no_others(platform: Platform) -> None:
    serving = health_pb2.HealthCheckResponse.SERVING
    assert await check(platform.channel("card")) == serving
    assert await check(platform.channel("account", as_="terminal/metro-1/020100000123")) == serving
    for stranger in (
        grpc.aio.insecure_channel(platform.address("card")),
        grpc.aio.secure_channel(
            platform.address("card"), grpc.ssl_channel_credentials(platform.certificates.authority_file.read_bytes())
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await check(stranger)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_migrations_come_before_services_and_logs_are_kept(platform: Platform, told: Told) -> None:
    whats = [what.split()[0] for _, what in told.lines]
    assert whats == ["schema", "schema", "ready", "ready"]
    assert platform.log("card").read_text() == "card serve clock=0\n"
    assert (platform.root / "log" / "card.migrate.log").read_text() == "card migrate clock=0\n"


async def test_memory_is_told_for_every_process(platform: Platform) -> None:
    memory = platform.memory()
    assert set(memory) == {"card", "account", "postgres", "nats", "redis"}
    assert all(1_000_000 < size < 1_000_000_000 for size in memory.values())


async def test_one_that_falls_is_started_again_on_its_address(platform: Platform, told: Told) -> None:
    mark = platform.state.service("card")
    assert mark is not None
    os.kill(mark.pid, signal.SIGKILL)
    await told.until("card", "ended with signal SIGKILL; starting it again in 1 s")
    assert not platform.all_ready()
    await told.until("card", "ready on", count=2)
    assert platform.all_ready()
    assert await check(platform.channel("card")) == health_pb2.HealthCheckResponse.SERVING
    assert ("account", "stopped") not in told.lines


async def test_a_restart_launches_the_service_once_whoever_else_finds_it_down(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []
    spawn = launcher.spawn

    def counted(command: Sequence[str], *rest: Any) -> "subprocess.Popen[bytes]":
        launched.append(str(command))
        return spawn(command, *rest)

    monkeypatch.setattr(launcher, "spawn", counted)
    environment = Platform.environment

    def slow(self: Platform, service: str) -> dict[str, str]:
        # Long enough for the watcher to look several times.
        time.sleep(0.6)
        return environment(self, service)

    monkeypatch.setattr(Platform, "environment", slow)
    await platform.stop("card")
    await platform.start("card")
    await asyncio.sleep(0.3)
    assert len(launched) == 1


async def test_one_that_a_test_kills_stays_down_until_it_is_started(platform: Platform, told: Told) -> None:
    await platform.kill("card")
    await asyncio.sleep(3 * launcher._WATCH_S)
    assert platform.state.service("card") is None
    assert not any("again" in what for _, what in told.lines)
    await platform.start("card")
    assert await check(platform.channel("card")) == health_pb2.HealthCheckResponse.SERVING


async def test_leaving_drains_the_services_and_ends_every_process(tmp_path: Path) -> None:
    platform = Platform(tmp_path, only=["card", "account"], program=program())
    async with platform:
        marks = all_marks(platform)
        assert len(marks) == 5
    assert not any(mark.alive() for mark in marks)
    assert platform.log("card").read_text().endswith("card drained\n")
    assert platform.state.launcher() is None
    platform.servers.destroy()


async def test_a_service_that_keeps_falling_fails_the_start_and_leaves_nothing(tmp_path: Path) -> None:
    platform = Platform(tmp_path, only=["card", "account"], program=program(account="falls"))
    with pytest.raises(StartFailed, match="account ended with exit status 4"):
        await platform.open()
    marks = all_marks(platform)
    await platform.close()
    assert marks
    assert not any(mark.alive() for mark in marks)
    platform.servers.destroy()


async def test_a_failed_migration_is_told_with_its_log_and_no_service_is_started(tmp_path: Path, told: Told) -> None:
    platform = Platform(tmp_path, only=["card"], narrate=told, program=program(card="no-migration"))
    with pytest.raises(StartFailed, match=r"migration of card ended with exit status 3:\ncard migrate"):
        async with platform:
            pass
    assert not any("ready" in what for _, what in told.lines)
    assert not platform.servers.running()
    platform.servers.destroy()


async def test_pauses_between_starts_grow_while_a_service_keeps_falling(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "BACKOFF_FIRST_S", 0.5)
    modes = {"card": "good"}
    platform = Platform(tmp_path, only=["card"], narrate=told, program=lambda name: program(**modes)(name))
    try:
        async with platform:
            modes["card"] = "falls"
            mark = platform.state.service("card")
            assert mark is not None
            os.kill(mark.pid, signal.SIGKILL)
            for pause in ("in 0 s", "in 1 s", "in 2 s"):
                await told.until("card", pause)
            modes["card"] = "good"
            await told.until("card", "ready on", count=2)
    finally:
        platform.servers.destroy()


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


async def test_a_second_launcher_on_one_root_is_refused_and_harms_nothing(
    tmp_path: Path, other: subprocess.Popen[bytes]
) -> None:
    state = PlatformState(tmp_path)
    assert state.claim(ProcessMark.of(other.pid)) is None
    with pytest.raises(AlreadyRunning, match=str(other.pid)):
        async with Platform(tmp_path, program=program()):
            pass
    assert state.launcher() == ProcessMark.of(other.pid)


async def test_services_that_a_killed_launcher_left_are_replaced(tmp_path: Path, told: Told) -> None:
    first = Platform(tmp_path, only=["card"], program=program())
    await first.open()
    left = first.state.service("card")
    assert left is not None
    # As after kill -9 of the launcher: nobody watches, nothing is stopped.
    assert first._watcher is not None
    first._watcher.cancel()
    second = Platform(tmp_path, only=["card"], narrate=told, program=program())
    try:
        async with second:
            now = second.state.service("card")
            assert now is not None
            assert now != left
            assert not left.alive()
            assert any("left running" in what for _, what in told.lines)
    finally:
        second.servers.destroy()


async def test_the_city_lives_on_the_day_that_it_is_told(tmp_path: Path) -> None:
    moment = datetime(2018, 9, 1, 4, 0, tzinfo=UTC)
    platform = Platform(tmp_path, clock=moment, only=["card"], program=program())
    try:
        async with platform:
            environment = platform.environment("card")
            offset = timedelta(seconds=int(environment["CITYCARD_CLOCK_OFFSET_S"]))
            assert abs(datetime.now(UTC) + offset - moment) < timedelta(minutes=1)
            assert environment["CITYCARD_DEPLOYMENT"] == "test"
            before = environment["CITYCARD_CLOCK_OFFSET_S"]
            await platform.kill("card")
            await platform.start("card")
            # A restart must not set the city's clock back.
            assert f"clock={before}" in platform.log("card").read_text().splitlines()[-1]
    finally:
        platform.servers.destroy()


def test_a_clock_without_a_zone_and_an_unknown_service_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zone"):
        Platform(tmp_path, clock=datetime(2018, 9, 1))  # noqa: DTZ001
    with pytest.raises(UnknownService, match="bank"):
        Platform(tmp_path, only=["card", "bank"])


async def test_every_service_gets_its_own_doors_and_the_addresses_of_all(platform: Platform) -> None:
    card, account = platform.environment("card"), platform.environment("account")
    assert card["CITYCARD_SERVICE_ADDRESSES"] == account["CITYCARD_SERVICE_ADDRESSES"]
    own = ["DATABASE_URL", "NATS_URL", "TLS_KEY_FILE", "LISTEN_ADDRESS", "HEALTH_ADDRESS"]
    assert not {card[f"CITYCARD_{name}"] for name in own} & {account[f"CITYCARD_{name}"] for name in own}
    connections = psutil.net_connections("tcp")
    listening = {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}
    for service in ("card", "account"):
        assert int(platform.address(service).rpartition(":")[2]) in listening
