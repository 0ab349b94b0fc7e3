"""The fleet's day: connect, send in waves with everything that goes wrong, close, collect again, certify, compare."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from datetime import time as day_time
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import grpc
import numpy as np
import psutil
from citycard.blacklist.v1 import blacklist_pb2, blacklist_service_pb2
from citycard.blacklist.v1.blacklist_service_pb2_grpc import BlacklistServiceStub
from citycard.common.v1.types_pb2 import Date
from citycard.terminal_gw.v1 import collection_service_pb2, device_pb2, session_service_pb2
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service
from citycard.terminal_gw.v1.collection_service_pb2_grpc import CollectionServiceStub
from citycard.terminal_gw.v1.parameters_service_pb2_grpc import ParameterServiceStub
from citycard.terminal_gw.v1.session_service_pb2_grpc import SessionServiceStub
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from city.demo.platform import DemoPlatform
from city.fleet.check import compare, signing_key
from city.fleet.lines import Sender, SharedLists, fetch_list
from city.fleet.plan import DAY, WAVES, FleetDay, make_fleet_day
from city.fleet.terminals import ConnectedTerminal, Seen, gently, held_rows, obey, sign_in_of
from city.simulation.operators import OPERATORS
from edge.collector.visit import Centre
from libs.clock import CITY_TZ, SystemClock
from libs.records.numbers import make_jt_number
from libs.runtime.client import open_channel, services_of_stub
from libs.runtime.refusals import error_info

SERVICES: Final = ("blacklist", "terminal_gw")
_STUBS: Final = (TerminalGatewayServiceStub, SessionServiceStub, ParameterServiceStub, CollectionServiceStub)
_AT: Final = day_time(21, 50)
_SENDING_AT_ONCE: Final = 24
_CONNECTING_AT_ONCE: Final = 64
_ENTRIES: Final = 6
_SETTLE_S: Final = 90.0
_MIB: Final = 1 << 20
GATEWAY_MIB_MAX: Final = 400
# A thousand terminals' lines with their certificates take most of it.
_FLEET_MIB_MAX: Final = 600


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for.

    Attributes:
        root: Folder of the city.
        seed: Of the day.
        terminals: How many.
        records: Of all of them.
    """

    root: Path
    seed: int
    terminals: int
    records: int


@dataclass(slots=True)
class Outcome:
    """What the day came to.

    Attributes:
        complete: Certificates that say complete.
        holes: Certificates that list holes.
        wrong: What differs from what was injected, one line each; empty is the good answer.
        told_s: From a loss report until a connected terminal was told of the list's new version, sorted.
        delays_s: The same, until it had the version in force.
        carried_s: The same, of terminals that a collector serves.
        storm_s: How long it took until all connected terminals had signed in.
        upload_s: How long the waves took.
        peak_mib: Most memory of each service, and of the fleet, in MiB.
        seen: What happened in the field.
        seconds: In all.
    """

    complete: int = 0
    holes: int = 0
    wrong: list[str] = field(default_factory=list)
    told_s: list[float] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)
    carried_s: list[float] = field(default_factory=list)
    storm_s: float = 0.0
    upload_s: float = 0.0
    peak_mib: dict[str, float] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)
    seconds: float = 0.0


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """The value below which a share of them lies; 0 of none."""
    if not sorted_values:
        return 0.0
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


Say = Callable[[str, str], None]


async def run(options: Options, say: Say) -> Outcome:
    """Live the day.

    Raises:
        StartFailed, ProgramMissing, AioRpcError, DomainError: The city does not do what it must.
    """
    began = time.monotonic()
    day = await asyncio.to_thread(make_fleet_day, options.seed, options.terminals, options.records)
    fleet = day.fleet
    say(
        f"{len(fleet)} 台终端，{len(day.records):,} 条记录，种子 {options.seed}",
        f"{len(fleet)} terminals, {len(day.records):,} records, seed {options.seed}; "
        f"{int(fleet.own_line.sum())} with a line of their own",
    )
    platform = DemoPlatform(options.root, clock=datetime.combine(DAY, _AT, CITY_TZ), only=SERVICES)
    outcome = Outcome()
    async with platform, _watched(platform, outcome):
        await _Day(day, platform, outcome, say).live()
    outcome.seconds = time.monotonic() - began
    return outcome


@asynccontextmanager
async def _watched(platform: DemoPlatform, outcome: Outcome) -> AsyncIterator[None]:
    """Keeps the highest memory of every service and of this process."""
    own = psutil.Process(os.getpid())

    async def watch() -> None:
        while True:
            found = await asyncio.to_thread(platform.memory)
            for name, used in {**found, "fleet": own.memory_info().rss}.items():
                outcome.peak_mib[name] = max(outcome.peak_mib.get(name, 0.0), used / _MIB)
            await asyncio.sleep(1.0)

    task = asyncio.create_task(watch(), name="watch memory")
    try:
        yield
    finally:
        await gently(task)


class _Day:
    """The parts of the day, in their order."""

    def __init__(self, day: FleetDay, platform: DemoPlatform, outcome: Outcome, say: Say) -> None:
        self._day = day
        self._platform = platform
        self._clock = SystemClock()
        self._outcome = outcome
        self._say = say
        self._seen = outcome.seen
        self._lists = SharedLists()
        self._channels: list[grpc.aio.Channel] = []
        self._connected: list[ConnectedTerminal] = []
        self._collectors: dict[int, tuple[Centre, Sender]] = {}
        self._carried_version: dict[int, int] = {}
        self._sessions: list[asyncio.Task[None]] = []
        # Row of every entry's version: when it was asked for.
        self._asked_at: dict[int, float] = {}

    async def live(self) -> None:
        """The whole day; what it came to is in the outcome."""
        try:
            self._administrator = self._centre("administrator/demo")
            # The city's clock began to run while the services started.
            centre = await self._administrator.gateway.GetClock(service.GetClockRequest())
            self._clock = SystemClock(centre.centre_time.ToDatetime(UTC) - datetime.now(UTC))
            await self._register()
            await self._connect()
            await self._send()
            await self._close()
            await self._collect_again()
            await self._certify()
        finally:
            for terminal in self._connected:
                terminal.stop()
            await gently(*self._sessions)
            for channel in self._channels:
                await channel.close()

    def _centre(self, caller: str) -> Centre:
        services = [one for stub in _STUBS for one in services_of_stub(stub)]
        channel = open_channel(self._platform.address("terminal_gw"), self._platform.tls(caller), services)
        self._channels.append(channel)
        return Centre.over(channel)

    def _key(self, caller: str) -> ec.EllipticCurvePrivateKey:
        key = load_pem_private_key(self._platform.tls(caller).key.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "development certificates have P-256 keys"
        return key

    async def _register(self) -> None:
        fleet = self._day.fleet
        for place, operator in enumerate(OPERATORS):
            rows = np.flatnonzero(fleet.operators == place).tolist()
            request = service.BatchRegisterTerminalsRequest(
                request_id=str(uuid4()),
                participant=operator.participant,
                terminals=[
                    service.TerminalSpec(
                        terminal_number=fleet.number(row),
                        psam_number=fleet.psam_number(row),
                        operator_number=operator.number,
                        device_number=fleet.device_number(row),
                        industry_code=f"{operator.industry_code:04X}",
                    )
                    for row in rows
                ],
            )
            await self._administrator.gateway.BatchRegisterTerminals(request)

    async def _connect(self) -> None:
        """Everybody who has a line comes at once: the storm of the morning."""
        fleet = self._day.fleet
        own = np.flatnonzero(fleet.own_line).tolist()
        callers = {row: f"terminal/{OPERATORS[fleet.operators[row]].slug}/{fleet.number(row)}" for row in own}
        # Certificates are the installer's work of another day.
        await asyncio.to_thread(lambda: [self._platform.tls(caller) for caller in callers.values()])
        block = 900_000 // max(1, len(fleet))
        for place in sorted(set(fleet.operators[~fleet.own_line].tolist())):
            caller = f"collector/{OPERATORS[place].slug}/depot-1"
            centre = self._centre(caller)
            self._collectors[place] = centre, Sender.over(centre, self._key(caller), place, 1, collector=True)
        began = time.monotonic()
        for row, caller in callers.items():
            centre = self._centre(caller)
            first = 50_000 + row * block
            sender = Sender.over(centre, self._key(caller), int(fleet.operators[row]), first, collector=False)
            self._connected.append(
                ConnectedTerminal(self._day, row, centre, sender, self._clock, self._lists, self._seen)
            )
        self._sessions = [
            asyncio.create_task(one.stay_connected(), name=f"session of {one.name}") for one in self._connected
        ]
        async with asyncio.timeout(_SETTLE_S):
            for one in self._connected:
                await one.welcomed.wait()
        self._outcome.storm_s = time.monotonic() - began
        self._say(
            f"{len(own)} 台终端全部签到，{self._outcome.storm_s:.1f} 秒",
            f"all {len(own)} connected terminals signed in after {self._outcome.storm_s:.1f} s",
        )

    async def _send(self) -> None:
        began = time.monotonic()
        for wave in range(WAVES):
            losses = asyncio.create_task(self._report_losses(), name="loss reports") if wave in (1, 2) else None
            await _at_most(_SENDING_AT_ONCE, [_bound(one.send_wave, wave) for one in self._connected])
            await asyncio.gather(*(self._round(place, wave) for place in self._collectors))
            if losses is not None:
                await losses
            self._say(f"第 {wave + 1} 批已上传", f"wave {wave + 1} is at the gateway")
        self._outcome.upload_s = time.monotonic() - began

    async def _report_losses(self) -> None:
        """Cards are reported lost while everybody sends."""
        stub: Any = BlacklistServiceStub(self._blacklist_channel())
        for _ in range(_ENTRIES // 2):
            number = make_jt_number("5840", 20_000_000_000 + len(self._asked_at))
            request = blacklist_service_pb2.AddEntryRequest(
                request_id=str(uuid4()),
                name=f"entries/{number}.1",
                reason=blacklist_pb2.LIST_REASON_LOST,
                mode=blacklist_pb2.LIST_MODE_REFUSE,
            )
            asked_at = time.monotonic()
            entry = await stub.AddEntry(request)
            self._asked_at[entry.added_version] = asked_at
            await asyncio.sleep(2.0)

    def _blacklist_channel(self) -> grpc.aio.Channel:
        channel = self._platform.channel("blacklist")
        self._channels.append(channel)
        return channel

    async def _round(self, place: int, wave: int) -> None:
        """A collector goes from terminal to terminal, then uploads what it found in one file."""
        day, fleet = self._day, self._day.fleet
        centre, sender = self._collectors[place]
        rows = np.flatnonzero((fleet.operators == place) & ~fleet.own_line).tolist()
        for row in rows:
            answer = await centre.gateway.SignIn(sign_in_of(day, row, self._clock, self._carried_version.get(row, 0)))
            self._seen.counts["visits by collectors"] += 1
            have = self._carried_version.get(row, 0)
            if answer.blacklist_version > have:
                self._carried_version[row] = await fetch_list(centre, self._lists, have)
                self._seen.reached(self._seen.carried_at, have, self._carried_version[row])
            await self._do(answer, centre, sender)
        held = held_rows(day)
        chosen = np.zeros(len(day.records), np.bool_)
        for row in rows:
            part = day.of(row)
            chosen[part] = (day.wave[part] == wave) & (held[part] == 0)
        if chosen.any():
            content, name = sender.pack(day.records[chosen], self._clock.now())
            if wave == 1:
                sender.line.break_after = 1
                self._seen.counts["uploads cut in the middle"] += 1
            await sender.uploader.send(content, name)

    async def _do(self, answer: service.SignInResponse, centre: Centre, sender: Sender) -> None:
        for one in answer.to_do:
            if one.WhichOneof("kind") == "command":
                done = await obey(self._day, one.command, sender, self._clock, self._seen)
                await centre.sessions.AnswerCommand(session_service_pb2.AnswerCommandRequest(answer=done))

    async def _close(self) -> None:
        """Every terminal closes its day: its registers say how many records there are and what they come to."""
        day, fleet = self._day, self._day.fleet
        counts, totals = day.registers()
        lasts = np.diff(day.starts)
        callers = {one.terminal: one for one in self._connected}

        async def report(row: int) -> None:
            place = int(fleet.operators[row])
            centre = callers[row].sender_centre if row in callers else self._collectors[place][0]
            register = device_pb2.AuditRegister(
                business_date=_DATE,
                device_number=fleet.device_number(row),
                device_seq_first=1,
                device_seq_last=int(lasts[row]),
                record_count=int(counts[row]),
                total_fen=int(totals[row]),
                running_count=int(counts[row]),
                running_total_fen=int(totals[row]),
                day_closed=True,
            )
            register.close_time.FromDatetime(day.closed_at)
            request = collection_service_pb2.ReportRegistersRequest(
                terminal=f"terminals/{fleet.number(row)}", registers=[register]
            )
            await centre.collection.ReportRegisters(request)
            if fleet.file_twice[row]:
                await centre.collection.ReportRegisters(request)

        await _at_most(_SENDING_AT_ONCE, [_bound(report, row) for row in range(len(fleet))])
        self._say("各终端已日结", "every terminal has closed its day")

    async def _collect_again(self) -> None:
        """The gateway asks for what is missing; what comes late comes, what is void is declared, what is lost stays."""
        collection = self._administrator.collection
        asked = await collection.RecollectGaps(collection_service_pb2.RecollectGapsRequest())
        self._say(
            f"中心发出 {asked.command_count + asked.open_count} 条补采命令",
            f"the centre asks {asked.command_count + asked.open_count} terminals for records again",
        )
        deadline = time.monotonic() + _SETTLE_S
        expected = {number: sorted(holes) for number, holes in self._day.expected_holes().items()}
        while time.monotonic() < deadline:
            for place, (centre, sender) in self._collectors.items():
                await self._visit_for_commands(place, centre, sender)
            if await self._missing() == expected:
                return
            await asyncio.sleep(1.0)

    async def _visit_for_commands(self, place: int, centre: Centre, sender: Sender) -> None:
        fleet = self._day.fleet
        with_holes = set(self._day.holes["terminal"].tolist())
        for row in np.flatnonzero((fleet.operators == place) & ~fleet.own_line).tolist():
            if row in with_holes:
                request = sign_in_of(self._day, row, self._clock, self._carried_version.get(row, 0))
                await self._do(await centre.gateway.SignIn(request), centre, sender)

    async def _missing(self) -> dict[str, list[tuple[int, int]]]:
        """What the gateway misses, by terminal number."""
        found: dict[str, list[tuple[int, int]]] = {}
        token = ""
        while True:
            request = collection_service_pb2.ListGapReportsRequest(page_size=1000, page_token=token)
            page = await self._administrator.collection.ListGapReports(request)
            for one in page.reports:
                if one.missing_device_seqs:
                    found[one.terminal.removeprefix("terminals/")] = [
                        (hole.first, hole.last) for hole in one.missing_device_seqs
                    ]
            token = page.next_page_token
            if not token:
                return found

    async def _certify(self) -> None:
        collection = self._administrator.collection
        issue = collection_service_pb2.BatchIssueCompletenessCertificatesRequest(business_date=_DATE)
        await collection.BatchIssueCompletenessCertificates(issue)
        certificates: dict[str, collection_service_pb2.CompletenessCertificate] = {}
        token = ""
        while True:
            page = await collection.ListCompletenessCertificates(
                collection_service_pb2.ListCompletenessCertificatesRequest(
                    business_date=_DATE, page_size=1000, page_token=token
                )
            )
            certificates |= {one.terminal.removeprefix("terminals/"): one for one in page.certificates}
            token = page.next_page_token
            if not token:
                break
        tls = self._platform.tls("service/terminal_gw")
        found = compare(self._day, certificates, signing_key(tls.cert.read_bytes()))
        outcome, seen = self._outcome, self._seen
        outcome.complete, outcome.holes = found.complete, found.holes
        outcome.wrong += found.wrong
        proof = await self._administrator.gateway.Prove(service.ProveRequest())
        self._outcome.wrong += [f"proof: {one.invariant} {one.first_broken}" for one in proof.lines if one.broken_count]
        for version, asked_at in self._asked_at.items():
            loaded = seen.loaded_at.get(version, [])
            outcome.told_s += [at - asked_at for at in seen.told_at.get(version, [])]
            outcome.delays_s += [at - asked_at for at in loaded]
            outcome.carried_s += [at - asked_at for at in seen.carried_at.get(version, [])]
            if len(loaded) < len(self._connected):
                missing = len(self._connected) - len(loaded)
                outcome.wrong.append(f"list version {version} never reached {missing} connected terminals")
        for delays in (outcome.told_s, outcome.delays_s, outcome.carried_s):
            delays.sort()
        twice = self._seen.counts["FILES STORED TWICE"]
        if twice:
            outcome.wrong.append(f"{twice} files were stored twice")
        gateway = self._outcome.peak_mib.get("terminal_gw", 0.0)
        if gateway > GATEWAY_MIB_MAX:
            self._outcome.wrong.append(f"the gateway took {gateway:.0f} MiB")
        own = self._outcome.peak_mib.get("fleet", 0.0)
        if own > _FLEET_MIB_MAX * max(1.0, len(self._day.fleet) / 1000):
            self._outcome.wrong.append(f"the fleet took {own:.0f} MiB")


_DATE: Final = Date(year=DAY.year, month=DAY.month, day=DAY.day)


def _bound(act: Callable[[int], Awaitable[None]], value: int) -> Callable[[], Awaitable[None]]:
    return lambda: act(value)


async def _at_most(count: int, acts: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Do many things, some at once."""
    turn = asyncio.Semaphore(count)

    async def one(act: Callable[[], Awaitable[None]]) -> None:
        async with turn:
            await act()

    await asyncio.gather(*(one(act) for act in acts))


def failure_text(error: BaseException) -> str:
    """A failed day in one line."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error_info(error).reason or error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}"
