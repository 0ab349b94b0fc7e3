"""A visit to a terminal, from the centre's side: say who it is, do what the centre wants, take its records.

The same visit is made by a terminal over its own line and by a collector for terminals that have none; only the
carrier differs. Whatever is refused or breaks off is told and left for the next visit; nothing is lost by it.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

import grpc
from citycard.common.v1.types_pb2 import Date
from citycard.terminal_gw.v1 import (
    collection_service_pb2,
    command_pb2,
    device_pb2,
    parameters_service_pb2,
    session_service_pb2,
)
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service
from google.protobuf.timestamp_pb2 import Timestamp

from edge.terminal.blacklist import FullListNeeded
from edge.terminal.visited import DayRegister, Status, Visited
from libs.clock import Clock
from libs.errors import DataLost, DomainError
from libs.records.crc32c import crc32c
from libs.records.otr import read_records
from libs.runtime.refusals import error_info

if TYPE_CHECKING:
    # Exist for the type checker only; at run time a channel decides what a stub is.
    from citycard.terminal_gw.v1.collection_service_pb2_grpc import CollectionServiceAsyncStub
    from citycard.terminal_gw.v1.parameters_service_pb2_grpc import ParameterServiceAsyncStub
    from citycard.terminal_gw.v1.session_service_pb2_grpc import SessionServiceAsyncStub
    from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceAsyncStub

_MODES: Final = {
    device_pb2.SERVICE_MODE_EMERGENCY: "emergency",
    device_pb2.SERVICE_MODE_TRAIN_FAULT: "train_fault",
    device_pb2.SERVICE_MODE_TIME_FREE: "time_free",
    device_pb2.SERVICE_MODE_DATE_FREE: "date_free",
    device_pb2.SERVICE_MODE_FARE_FREE: "fare_free",
    device_pb2.SERVICE_MODE_ENTRY_FREE: "entry_free",
    device_pb2.SERVICE_MODE_EXIT_FREE: "exit_free",
}


class PackDamaged(DataLost):
    """A pack did not come as it was published; it is fetched again at the next visit. Fact: `pack`."""

    reason = "PACK_DAMAGED"


@dataclass(frozen=True, slots=True)
class Centre:
    """The gateway's services over one channel.

    Attributes:
        gateway: Sign-in, lists, uploads.
        sessions: Answers to commands.
        parameters: Packs.
        collection: Registers.
    """

    gateway: "TerminalGatewayServiceAsyncStub"
    sessions: "SessionServiceAsyncStub"
    parameters: "ParameterServiceAsyncStub"
    collection: "CollectionServiceAsyncStub"

    @classmethod
    def over(cls, channel: grpc.aio.Channel) -> Self:
        """Stubs over a channel."""
        from citycard.terminal_gw.v1.collection_service_pb2_grpc import CollectionServiceStub
        from citycard.terminal_gw.v1.parameters_service_pb2_grpc import ParameterServiceStub
        from citycard.terminal_gw.v1.session_service_pb2_grpc import SessionServiceStub
        from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub

        return cls(
            TerminalGatewayServiceStub(channel),
            SessionServiceStub(channel),
            ParameterServiceStub(channel),
            CollectionServiceStub(channel),
        )


@dataclass(slots=True)
class Visit:
    """What a visit did.

    Attributes:
        status: What the terminal said.
        done: What was done, in order, for people and logs.
        refused: What was refused or broke off, with its reason.
        again: Serial ranges that the centre wants again.
        contiguous: Up to here the centre misses nothing.
    """

    status: Status
    done: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    again: list[tuple[int, int]] = field(default_factory=list)
    contiguous: int = 0


class Visitor:
    """Makes visits.

    Args:
        centre: The gateway, as a terminal or as a collector.
        clock: Of the visitor.
    """

    def __init__(self, centre: Centre, clock: Clock) -> None:
        self._centre = centre
        self._clock = clock
        # A collector carries one list to many terminals: by the version that they have, the newer one and its file.
        self._lists: dict[int, tuple[int, bytes]] = {}

    async def visit(self, terminal: Visited) -> Visit:
        """Sign in for a terminal and do what the answer says, in its order. Records are taken by whoever calls.

        Raises:
            AioRpcError: The sign-in itself failed: nothing was done.
        """
        status = await terminal.status()
        asked_at = self._clock.now()
        answer = await self._centre.gateway.SignIn(_sign_in(status))
        heard_at = self._clock.now()
        visit = Visit(status, contiguous=answer.device_seq_contiguous)
        # The centre's clock at any later moment, from the middle of asking and hearing.
        ahead = answer.centre_time.ToDatetime(heard_at.tzinfo) - (asked_at + (heard_at - asked_at) / 2)
        if not answer.to_do and answer.clock_action in (
            service.CLOCK_ACTION_SET,
            service.CLOCK_ACTION_SET_AND_ALARM,
        ):
            await self._try(visit, "set_clock", lambda: terminal.set_clock(self._clock.now() + ahead))
        for to_do in answer.to_do:
            await self._do(visit, terminal, to_do, ahead)
        if answer.blacklist_version > status.blacklist_version and not any(
            one.WhichOneof("kind") == "fetch_blacklist" for one in answer.to_do
        ):
            await self._try(visit, "blacklist", lambda: self._carry_list(terminal, status.blacklist_version))
        return visit

    async def report_registers(self, terminal: Visited) -> int:
        """Hand over the registers of all closed days; known ones are counted, not changed. Returns how many are new."""
        registers = list(await terminal.registers())
        if not registers:
            return 0
        status = await terminal.status()
        request = collection_service_pb2.ReportRegistersRequest(terminal=f"terminals/{status.terminal_number}")
        request.registers.extend(register_pb(one, status.device_number) for one in registers)
        return int((await self._centre.collection.ReportRegisters(request)).kept_count)

    async def _do(self, visit: Visit, terminal: Visited, to_do: command_pb2.ToDo, ahead: timedelta) -> None:
        match to_do.WhichOneof("kind"):
            case "out_of_service":
                await self._try(visit, "lock", lambda: terminal.lock(to_do.out_of_service.reason))
            case "set_clock":
                await self._try(visit, "set_clock", lambda: terminal.set_clock(self._clock.now() + ahead))
            case "fetch_blacklist":
                have = visit.status.blacklist_version
                await self._try(visit, "blacklist", lambda: self._carry_list(terminal, have))
            case "fetch_pack":
                await self._try(visit, "pack", lambda: self._carry_pack(terminal, visit, to_do.fetch_pack.pack))
            case "recollect_records":
                visit.again += [(one.first, one.last) for one in to_do.recollect_records.device_seqs]
            case "report_registers":
                await self._try(visit, "registers", lambda: self.report_registers(terminal))
            case "command":
                await self._command(visit, terminal, to_do.command, ahead)
            case other:
                visit.refused.append(f"{other}: not known to this program")

    async def _command(self, visit: Visit, terminal: Visited, command: command_pb2.Command, ahead: timedelta) -> None:
        before = len(visit.refused)
        kind = command.body.WhichOneof("kind") or "nothing"
        match kind:
            case "set_mode":
                mode = command.body.set_mode.mode
                if mode == device_pb2.SERVICE_MODE_NORMAL:
                    await self._try(visit, kind, lambda: _all_modes_off(terminal))
                elif mode == device_pb2.SERVICE_MODE_CLOSED:
                    await self._try(visit, kind, lambda: terminal.lock("SERVICE_CLOSED"))
                else:
                    await self._try(visit, kind, lambda: terminal.set_mode(_MODES[mode], on=True))
            case "lock_terminal":
                why = command.body.lock_terminal.reason or "LOCKED"
                await self._try(visit, kind, lambda: terminal.lock(why))
            case "unlock_terminal":
                await self._try(visit, kind, lambda: terminal.lock(""))
            case "synchronise_clock":
                await self._try(visit, kind, lambda: terminal.set_clock(self._clock.now() + ahead))
            case "fetch_blacklist":
                have = visit.status.blacklist_version
                await self._try(visit, kind, lambda: self._carry_list(terminal, have))
            case "fetch_pack":
                pack = command.body.fetch_pack.pack
                await self._try(visit, kind, lambda: self._carry_pack(terminal, visit, pack))
            case "recollect_records":
                visit.again += [(one.first, one.last) for one in command.body.recollect_records.device_seqs]
            case "report_registers":
                await self._try(visit, kind, lambda: self.report_registers(terminal))
            case "report_status" | "notice":
                visit.done.append(kind)
            case _:
                visit.refused.append(f"{kind}: this terminal cannot")
        failed = visit.refused[before:]
        answer = command_pb2.CommandAnswer(
            command=command.name,
            state=command_pb2.COMMAND_STATE_FAILED if failed else command_pb2.COMMAND_STATE_DONE,
            detail="; ".join(failed)[:500],
        )
        if kind == "recollect_records":
            # What the ring has overwritten will never come: the centre shall know, and stop asking.
            answer.void_device_seqs.extend(await _gone(terminal, visit.again, visit.status))
        request = session_service_pb2.AnswerCommandRequest(answer=answer)
        await self._try(visit, f"answer {kind}", lambda: self._centre.sessions.AnswerCommand(request))

    async def _carry_list(self, terminal: Visited, base_version: int) -> None:
        _, content = await self._list(base_version)
        if not content:
            return
        try:
            await terminal.load_list(content)
        except FullListNeeded:
            await terminal.load_list((await self._list(0))[1])

    async def _list(self, base_version: int) -> tuple[int, bytes]:
        if base_version not in self._lists:
            version, parts = base_version, []
            request = service.DownloadBlacklistRequest(base_version=base_version)
            async for part in self._centre.gateway.DownloadBlacklist(request):
                version = part.version
                parts.append(part.data)
            self._lists[base_version] = version, b"".join(parts)
        return self._lists[base_version]

    def forget_lists(self) -> None:
        """Ask anew for lists at the next visit: a collector does so at the start of a round."""
        self._lists.clear()

    async def _carry_pack(self, terminal: Visited, visit: Visit, name: str) -> None:
        pack = await self._centre.parameters.GetPack(parameters_service_pb2.GetPackRequest(name=name))
        content = bytearray()
        request = parameters_service_pb2.DownloadPackRequest(name=name, offset=0)
        async for part in self._centre.parameters.DownloadPack(request):
            if part.offset != len(content) or crc32c(part.data) != part.crc32c:
                raise PackDamaged(pack=name)
            content += part.data
        if hashlib.sha256(content).digest() != pack.sha256:
            raise PackDamaged(pack=name)
        report = device_pb2.PackReport(kind=pack.kind, version=pack.version, outcome=device_pb2.PACK_OUTCOME_LOADED)
        try:
            await terminal.put_pack(bytes(content))
        except DomainError as error:
            report.outcome, report.detail = device_pb2.PACK_OUTCOME_FAILED, str(error)[:200]
            raise
        finally:
            told = parameters_service_pb2.ReportPacksRequest(
                terminal=f"terminals/{visit.status.terminal_number}", packs=[report]
            )
            await self._centre.parameters.ReportPacks(told)

    async def _try(self, visit: Visit, what: str, act: Callable[[], Awaitable[object]]) -> None:
        try:
            await act()
        except DomainError as error:
            visit.refused.append(f"{what}: {error}")
        except grpc.aio.AioRpcError as error:
            visit.refused.append(f"{what}: {error_info(error).reason or error.code().name}")
        else:
            visit.done.append(what)


def register_pb(one: DayRegister, device_number: int) -> device_pb2.AuditRegister:
    """A day's register as the contract has it."""
    made = device_pb2.AuditRegister(
        business_date=_date_pb(one.business_date),
        device_number=device_number,
        device_seq_first=one.device_seq_first,
        device_seq_last=one.device_seq_last,
        record_count=one.record_count,
        total_fen=one.total_fen,
        running_count=one.device_seq_last,
        running_total_fen=one.running_total_fen,
        day_closed=True,
    )
    made.close_time.FromDatetime(one.closed_at)
    return made


def _date_pb(day: date) -> Date:
    return Date(year=day.year, month=day.month, day=day.day)


def _sign_in(status: Status) -> service.SignInRequest:
    serials = device_pb2.DeviceSerials(
        device_seq_last=status.last_seq,
        terminal_seq_last=status.terminal_seq_last,
        unsent_count=status.unsent_count,
        free_count=status.free_count,
    )
    _stamp(serials.oldest_unsent_time, status.oldest_unsent)
    _stamp(serials.last_record_time, status.last_record)
    request = service.SignInRequest(
        terminal_number=status.terminal_number,
        psam_number=status.psam_number,
        blacklist_version=status.blacklist_version,
        program_version=status.program_version,
        device_number=status.device_number,
        serials=serials,
    )
    if status.pack_version:
        request.packs.append(
            device_pb2.PackReport(
                kind=device_pb2.PACK_KIND_FARES,
                version=status.pack_version,
                outcome=device_pb2.PACK_OUTCOME_IN_FORCE,
            )
        )
    request.clock_time.FromDatetime(status.clock)
    return request


def _stamp(field_: Timestamp, at: datetime | None) -> None:
    if at is not None:
        field_.FromDatetime(at)


async def _all_modes_off(terminal: Visited) -> None:
    for word in _MODES.values():
        await terminal.set_mode(word, on=False)


async def _gone(terminal: Visited, ranges: list[tuple[int, int]], status: Status) -> list[device_pb2.SerialRange]:
    """Serials of some ranges that the terminal does not have any more."""
    gone: list[device_pb2.SerialRange] = []
    for first, last in ranges:
        have = set(read_records(await terminal.records(first, last))["device_seq"].tolist())
        for seq in range(first, min(last, status.last_seq) + 1):
            if seq in have:
                continue
            if gone and gone[-1].last == seq - 1:
                gone[-1].last = seq
            else:
                gone.append(device_pb2.SerialRange(first=seq, last=seq))
    return gone[:1000]
