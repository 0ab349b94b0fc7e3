"""The demo in order: a city from nothing, one card's life, one day, its settlement, its proof."""

import asyncio
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import grpc

from city.demo import registration, story
from city.demo.collection import Watchers, deliver, open_collector
from city.demo.platform import Callers, DemoPlatform
from city.demo.screen import Bars, Screen
from city.demo.settlement import Settlement, close_windows
from city.environment import PlatformState
from city.launcher import DRAIN_TIMEOUT_S, AlreadyRunning
from city.names import SERVICES
from city.processes import stop_process
from city.prove import AUDITOR, Proof, prove
from city.servers import LocalServers
from city.simulation.operators import OPERATORS
from city.simulation.plan import DayPlan
from city.simulation.play import PlayedDay, play
from city.simulation.recorded import read_day
from city.simulation.synthetic import make_day
from libs.clock import FixedClock

# Says that a folder is a demo's, and may be emptied by the next demo.
_MARK = "this-is-a-demo"
_POLL_S = 0.1
_MIB = 2**20


class RootInUseError(RuntimeError):
    """The folder holds something that no demo has put there."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of a demo.

    Attributes:
        root: Its folder; emptied at the start when it is that of an earlier demo.
        seed: Of the synthetic city and of the cards' random numbers.
        record_count: Taps of the synthetic day.
        data: A day of real records in place of the synthetic one.
        keep: Leave the city running.
    """

    root: Path
    seed: int
    record_count: int
    data: Path | None
    keep: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a demo came to."""

    settlement: Settlement
    proof: Proof


async def run(options: Options, screen: Screen) -> Outcome:
    """Run the demo.

    Raises:
        RootInUseError, AlreadyRunning: The folder is not free.
        DataUnusableError: The file of real records is not one.
        StartFailed, NotInTimeError, AioRpcError, DomainError: The city does not do what it must.
    """
    began = time.monotonic()
    main = asyncio.current_task()
    assert main is not None, "a demo runs inside asyncio.run"
    # Like Ctrl-C: what was started is stopped, whoever asks.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main.cancel)
    plan = read_day(options.data) if options.data else make_day(options.seed, options.record_count)
    clear_root(options.root)
    screen.heading("城市启动", "the city starts")
    screen.note(f"{plan.title_zh} / {plan.title_en}: {len(plan.cards):,} cards, {len(plan.terminals):,} terminals")
    platform = DemoPlatform(
        options.root,
        clock=plan.collected_at,
        narrate=lambda service, what: None,
    )
    with _player() as (executor, counter):
        played = asyncio.get_running_loop().run_in_executor(executor, _play_counted, plan, options.seed)
        async with _opened(platform, options.keep) as opened, Callers(platform) as callers:
            with screen.bars() as bars:
                await _found_city(plan, platform, callers, bars, opened, counter)
                while not played.done():
                    bars.show("虚拟刷卡 taps made", counter.value, len(plan.taps))
                    await asyncio.sleep(_POLL_S)
                bars.show("虚拟刷卡 taps made", len(plan.taps), len(plan.taps))

            screen.heading("一张卡的一生", "one card's life")
            await story.live(platform, callers, screen.say)

            screen.heading("城市的一天", "the city's day")
            outcome = await _settle_day(plan, await played, platform, callers, screen)
            if options.keep:
                platform.leave_running()
                _tell_where(platform, options.root, outcome.settlement, screen)
            memory = sum(platform.memory().values()) / _MIB
    screen.note(f"{time.monotonic() - began:.0f} s in all, {memory:,.0f} MiB of services and servers")
    return outcome


async def _found_city(
    plan: DayPlan, platform: DemoPlatform, callers: Callers, bars: Bars, opened: "asyncio.Future[None]", counter: Any
) -> None:
    """Wait for the services, register everything, and wait until clearing has heard of it."""
    while not opened.done():
        bars.show("服务就绪 services ready", platform.ready_count(), len(SERVICES))
        bars.show("虚拟刷卡 taps made", counter.value, len(plan.taps))
        await asyncio.sleep(_POLL_S)
    await opened
    bars.show("服务就绪 services ready", platform.ready_count(), len(SERVICES))
    await registration.register_day(
        callers,
        plan,
        registration.RegistrationWatchers(
            terminals=lambda done: bars.show("登记终端 terminals", done, len(plan.terminals)),
            cards=lambda done: bars.show("发卡 cards issued", done, len(plan.cards)),
            known=lambda done: bars.show("清算已知卡 known to clearing", done, len(plan.cards)),
        ),
    )


async def _settle_day(
    plan: DayPlan, played: PlayedDay, platform: DemoPlatform, callers: Callers, screen: Screen
) -> Outcome:
    """Collect, judge, fold, close and prove."""
    operators = [OPERATORS[place] for place in plan.operators]
    # The collectors' clocks stand at the hour at which they come: the same day gives the same files.
    clock = FixedClock(plan.collected_at)
    collectors = {operator: open_collector(platform, callers, operator, clock) for operator in operators}
    records = {OPERATORS[place]: played.records_of(place) for place in plan.operators}
    total = sum(map(len, records.values()))
    total_fen = int(plan.taps["amount_fen"].sum())
    with screen.bars() as bars:
        watchers = Watchers(
            uploaded=lambda done: bars.show("已上传 records uploaded", done, total),
            judged=lambda done: bars.show("已判定 records judged", done, total),
            folded=lambda done: bars.show("已入账(分) fen folded", done, total_fen),
        )
        for watcher in (watchers.uploaded, watchers.judged, watchers.folded):
            watcher(0)
        await deliver(callers, collectors, records, watchers)
    settlement = await close_windows(callers, operators, plan.settlement_date)
    screen.heading("清算结果", "who owes whom")
    screen.settlement(settlement)
    screen.heading("证明", "the proof")
    proof = await prove_platform(platform)
    screen.proof(proof)
    return Outcome(settlement, proof)


async def prove_platform(platform: DemoPlatform) -> Proof:
    """The proof of an open platform."""
    channels = {service: platform.channel(service, AUDITOR) for service in SERVICES}
    try:
        return await prove(lambda service: channels[service])
    finally:
        for channel in channels.values():
            await channel.close()


def clear_root(root: Path) -> None:
    """Stop and remove the city of an earlier demo, and mark the folder as a demo's.

    Raises:
        RootInUseError: The folder holds something else.
        AlreadyRunning: Somebody runs the city there now.
    """
    state = PlatformState(root)
    launcher = state.launcher()
    if launcher is not None:
        raise AlreadyRunning(
            f"process {launcher.pid} runs the city under {root}; `citycard down --root {root}` stops it"
        )
    if root.exists() and any(root.iterdir()) and not (root / _MARK).exists():
        raise RootInUseError(f"{root} holds something that is not a demo's; give another --root")
    if root.exists():
        for service in reversed(SERVICES):
            mark = state.service(service)
            if mark is not None:
                stop_process(mark, signal.SIGTERM, DRAIN_TIMEOUT_S)
        LocalServers(root).destroy()
        shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    (root / _MARK).touch()


@asynccontextmanager
async def _opened(platform: DemoPlatform, keep: bool) -> "AsyncIterator[asyncio.Future[None]]":
    """Opens the platform in the background and closes it at the end, unless all went well and it shall be kept."""
    opening = asyncio.ensure_future(platform.open())
    try:
        yield opening
    except BaseException:
        keep = False
        raise
    finally:
        if not opening.done():
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        if not keep:
            await platform.close()


_counter: Any = None


def _remember(counter: Any) -> None:
    global _counter
    _counter = counter
    # Ctrl-C reaches the whole group; who stops this process is its parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _play_counted(plan: DayPlan, seed: int) -> PlayedDay:
    return play(plan, seed, _count)


def _count(taps: int) -> None:
    _counter.value = taps


@contextmanager
def _player() -> Iterator[tuple[Executor, Any]]:
    """A process of its own for the virtual cards: the services start meanwhile, on the other core."""
    # spawn: a fork would take a half-open gRPC with it.
    context = get_context("spawn")
    counter = context.Value("q", 0, lock=False)
    with ProcessPoolExecutor(1, mp_context=context, initializer=_remember, initargs=(counter,)) as executor:
        try:
            yield executor, counter
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


def _tell_where(platform: DemoPlatform, root: Path, settlement: Settlement, screen: Screen) -> None:
    """Addresses, and one line to try."""
    screen.heading("城市仍在运行", "the city keeps running")
    for service in SERVICES:
        screen.note(f"{service:<12} {platform.address(service)}")
    operator, _ = settlement.statements[0]
    certificate = platform.tls(f"participant/{operator.slug}")
    name = f"{operator.participant}/statements/{settlement.settlement_date:%Y%m%d}"
    screen.console.print(
        f".venv/bin/buf curl --protocol grpc --cacert {_shown(certificate.ca)} --cert {_shown(certificate.cert)} "
        f'--key {_shown(certificate.key)} -d \'{{"name": "{name}"}}\' '
        f"https://{platform.address('clearing')}/citycard.clearing.v1.ClearingService/GetStatement",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    shown = _shown(root)
    screen.note(
        f".venv/bin/citycard prove --root {shown} proves it again; .venv/bin/citycard down --root {shown} stops it"
    )


def _shown(path: Path) -> str:
    """A path as somebody types it who stands here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def failure_text(error: BaseException) -> str:
    """A failed demo in one line."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}"
