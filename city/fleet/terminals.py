"""The fleet at its lines: sessions that break and come back, uploads that are cut, lists that are fetched and told.

A terminal is one small object here; its records are rows of the day's columns.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
import numpy as np
from citycard.terminal_gw.v1 import (
    command_pb2,
    device_pb2,
    session_service_pb2,
)
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service

from city.fleet.lines import Sender, SharedLists, fetch_list
from city.fleet.plan import LATE, OLD_PROGRAM, VOID, FleetDay
from edge.collector.visit import Centre
from libs.clock import Clock
from libs.runtime.refusals import error_info

PROGRAM: Final = "terminal 0.2"
_HEARTBEAT_S: Final = 20.0
_AGAIN_S: Final = 0.5


@dataclass(slots=True)
class Seen:
    """What happened in the field, counted; and when each list version reached whom.

    Attributes:
        counts: By a fixed name.
        told_at: By list version, the monotonic times at which connected terminals were told of it.
        loaded_at: The same, at which they had it in force.
        carried_at: The same of terminals that a collector carried it to.
    """

    counts: Counter[str] = field(default_factory=Counter)
    told_at: dict[int, list[float]] = field(default_factory=dict)
    loaded_at: dict[int, list[float]] = field(default_factory=dict)
    carried_at: dict[int, list[float]] = field(default_factory=dict)

    @staticmethod
    def reached(times: dict[int, list[float]], have: int, version: int) -> None:
        """Note that a terminal went from one version to another now: it has every version between them as well."""
        now = time.monotonic()
        for one in range(have + 1, version + 1):
            times.setdefault(one, []).append(now)


class ConnectedTerminal:
    """A terminal with a line of its own.

    Args:
        day: The fleet's day.
        terminal: Its row.
        centre: Its line.
        sender: For its files.
        clock: The city's.
        lists: Shared by all.
        seen: Where it counts.
    """

    def __init__(
        self, day: FleetDay, terminal: int, centre: Centre, sender: Sender, clock: Clock, lists: SharedLists, seen: Seen
    ) -> None:
        self._day = day
        self._centre = centre
        self._clock = clock
        self._lists = lists
        self._seen = seen
        self.terminal = terminal
        self.sender = sender
        self.list_version = 0
        self._told = 0
        self._fetching: asyncio.Task[None] | None = None
        self.welcomed = asyncio.Event()
        self._call: Any = None
        self._stopped = False
        self._wave_sent = -1
        self._done: set[str] = set()

    @property
    def name(self) -> str:
        """`terminals/…`."""
        return f"terminals/{self._day.fleet.number(self.terminal)}"

    @property
    def sender_centre(self) -> Centre:
        """Its line."""
        return self._centre

    async def stay_connected(self) -> None:
        """Hold a session until `stop`; one that breaks is opened again."""
        while not self._stopped:
            try:
                await self._session()
            except grpc.aio.AioRpcError as error:
                reason = error_info(error).reason or error.code().name
                self._seen.counts[f"session ended: {reason}"] += 1
            if not self._stopped:
                await asyncio.sleep(_AGAIN_S)

    def break_line(self) -> None:
        """The line breaks."""
        if self._call is not None:
            self._call.cancel()

    def stop(self) -> None:
        """Go home."""
        self._stopped = True
        if self._fetching is not None:
            self._fetching.cancel()
        self.break_line()

    async def send_wave(self, wave: int) -> None:
        """Send what the wave has, with what goes wrong in it.

        Raises:
            UploadRefused, UploadUnfinished: What nobody planned.
        """
        day, fleet = self._day, self._day.fleet
        rows = day.of(self.terminal)
        chosen = (day.wave[rows] == wave) & (_HELD.of(day)[rows] == 0)
        records = day.records[rows][chosen]
        self._wave_sent = wave
        if not len(records):
            return
        content, name = self.sender.pack(records, self._clock.now())
        if fleet.line_breaks[self.terminal]:
            self.sender.line.break_after = 1
            self._seen.counts["uploads cut in the middle"] += 1
        await self.sender.uploader.send(content, name)
        if fleet.battery_wave[self.terminal] == wave or (fleet.file_twice[self.terminal] and wave == 1):
            # Switched off before the receipt was written down, or simply sent twice.
            again = await self.sender.uploader.send(content, name)
            self._seen.counts["files sent twice" if again.already_stored else "FILES STORED TWICE"] += 1
        if fleet.records_twice[self.terminal] and wave == 2:
            content, name = self.sender.pack(records, self._clock.now())
            await self.sender.uploader.send(content, name)
            self._seen.counts["records sent twice"] += len(records)
        if fleet.line_breaks[self.terminal]:
            self.break_line()

    async def _session(self) -> None:
        outgoing: asyncio.Queue[session_service_pb2.SessionRequest] = asyncio.Queue()
        hello = session_service_pb2.Hello(sign_in=sign_in_of(self._day, self.terminal, self._clock, self.list_version))
        outgoing.put_nowait(session_service_pb2.SessionRequest(hello=hello))

        async def said() -> AsyncIterator[session_service_pb2.SessionRequest]:
            while True:
                try:
                    yield await asyncio.wait_for(outgoing.get(), _HEARTBEAT_S)
                except TimeoutError:
                    yield session_service_pb2.SessionRequest(heartbeat=self._heartbeat())

        self._call = self._centre.sessions.Session(said())
        try:
            async for response in self._call:
                await self._hear(response, outgoing)
        except asyncio.CancelledError:
            # The line was broken on purpose; a task that is cancelled itself goes on below.
            if asyncio.current_task() is not None and asyncio.current_task().cancelling():  # type: ignore[union-attr]  # asked above
                raise
            self._seen.counts["sessions broken"] += 1
        finally:
            self._call = None

    async def _hear(
        self,
        response: session_service_pb2.SessionResponse,
        outgoing: "asyncio.Queue[session_service_pb2.SessionRequest]",
    ) -> None:
        match response.WhichOneof("kind"):
            case "welcome":
                answer = response.welcome.sign_in
                self._seen.counts[
                    f"clock: {service.ClockAction.Name(answer.clock_action).removeprefix('CLOCK_ACTION_').lower()}"
                ] += 1
                self.welcomed.set()
                self._told = max(self._told, answer.blacklist_version)
                if answer.blacklist_version > self.list_version:
                    await self._fetch_list(outgoing)
                for one in answer.to_do:
                    if one.WhichOneof("kind") == "command":
                        await self._obey(one.command, outgoing)
            case "blacklist":
                self._seen.reached(self._seen.told_at, self._told, response.blacklist.version)
                self._told = max(self._told, response.blacklist.version)
                # Beside the session: the next news must not wait for this list.
                if self._fetching is None or self._fetching.done():
                    self._fetching = asyncio.create_task(self._catch_up(outgoing), name=f"list of {self.name}")
            case "command":
                await self._obey(response.command, outgoing)

    async def _catch_up(self, outgoing: "asyncio.Queue[session_service_pb2.SessionRequest]") -> None:
        """Fetch lists until the newest one that was told of is in force."""
        while self.list_version < self._told and not self._stopped:
            before = self.list_version
            await self._fetch_list(outgoing)
            if self.list_version == before:
                # The gateway may still be behind its own news, or the line broke.
                await asyncio.sleep(_AGAIN_S)

    async def _fetch_list(self, outgoing: "asyncio.Queue[session_service_pb2.SessionRequest]") -> None:
        try:
            version = await fetch_list(self._centre, self._lists, self.list_version)
        except grpc.aio.AioRpcError as error:
            # The next news, or the next session, brings it.
            self._seen.counts[f"list not fetched: {error_info(error).reason or error.code().name}"] += 1
            return
        # A session that was opened anew may have fetched it as well meanwhile.
        if version <= self.list_version:
            return
        self._seen.reached(self._seen.loaded_at, self.list_version, version)
        self.list_version = version
        outgoing.put_nowait(session_service_pb2.SessionRequest(heartbeat=self._heartbeat()))

    async def _obey(
        self, command: command_pb2.Command, outgoing: "asyncio.Queue[session_service_pb2.SessionRequest]"
    ) -> None:
        # A command comes again until its answer is heard; it is done once.
        answer = await obey(self._day, command, self.sender, self._clock, self._seen, once=self._done)
        outgoing.put_nowait(session_service_pb2.SessionRequest(answer=answer))

    def _heartbeat(self) -> session_service_pb2.Heartbeat:
        made = session_service_pb2.Heartbeat(mode=device_pb2.SERVICE_MODE_NORMAL, blacklist_version=self.list_version)
        made.clock_time.FromDatetime(clock_of(self._day, self.terminal, self._clock))
        return made


class _HeldRows:
    """Which rows are held back, computed once for each day."""

    def __init__(self) -> None:
        self._day: FleetDay | None = None
        self._held: Any = None

    def of(self, day: FleetDay) -> Any:
        """(records,) of `FleetDay.held_back`."""
        if self._day is not day:
            self._day, self._held = day, day.held_back()
        return self._held


_HELD = _HeldRows()


def held_rows(day: FleetDay) -> Any:
    """(records,) of `FleetDay.held_back`, computed once."""
    return _HELD.of(day)


async def obey(
    day: FleetDay,
    command: command_pb2.Command,
    sender: Sender,
    clock: Clock,
    seen: Seen,
    once: set[str] | None = None,
) -> command_pb2.CommandAnswer:
    """Do a command: records that are wanted again are sent, void ones declared, lost ones confessed."""
    answer = command_pb2.CommandAnswer(command=command.name, state=command_pb2.COMMAND_STATE_DONE)
    kind = command.body.WhichOneof("kind") or "nothing"
    seen.counts[f"command: {kind}"] += 1
    if kind != "recollect_records":
        return answer
    terminal = int(np.flatnonzero(day.fleet.numbers == int(command.name.split("/")[1]))[0])
    rows = day.of(terminal)
    wanted = np.zeros(rows.stop - rows.start, np.bool_)
    for one in command.body.recollect_records.device_seqs:
        wanted[one.first - 1 : one.last] = True
    held = held_rows(day)[rows]
    records = day.records[rows][wanted & ((held == 0) | (held == 1 + LATE))]
    if len(records) and (once is None or command.name not in once):
        content, name = sender.pack(records, clock.now())
        await sender.uploader.send(content, name)
        seen.counts["records collected again"] += len(records)
    if once is not None:
        once.add(command.name)
    answer.void_device_seqs.extend(
        device_pb2.SerialRange(first=first, last=last)
        for at, first, last, hole in day.holes.tolist()
        if at == terminal and hole == VOID and wanted[first - 1 : last].any()
    )
    if (wanted & (held == 1)).any():
        answer.state = command_pb2.COMMAND_STATE_FAILED
        answer.detail = "records lost"
    return answer


def sign_in_of(day: FleetDay, terminal: int, clock: Clock, list_version: int) -> service.SignInRequest:
    """What a terminal says at its sign-in; an old program says who it is, and no more."""
    fleet = day.fleet
    request = service.SignInRequest(
        terminal_number=fleet.number(terminal),
        psam_number=fleet.psam_number(terminal),
        blacklist_version=list_version,
        program_version=OLD_PROGRAM if fleet.old_program[terminal] else PROGRAM,
    )
    request.clock_time.FromDatetime(clock_of(day, terminal, clock))
    if not fleet.old_program[terminal]:
        request.device_number = fleet.device_number(terminal)
    return request


def clock_of(day: FleetDay, terminal: int, clock: Clock) -> datetime:
    """What a terminal's own clock shows."""
    return (clock.now() + timedelta(seconds=int(day.fleet.clock_ahead_s[terminal]))).astimezone(UTC)


async def gently(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until they are over."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


Narrate = Callable[[str, str], None]
