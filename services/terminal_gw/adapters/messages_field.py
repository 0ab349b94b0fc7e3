"""Devices, commands, sign-ins as protobuf messages, and back."""

from collections.abc import AsyncIterator, Iterable
from datetime import date, datetime, timedelta
from typing import TypeVar

from citycard.common.v1 import types_pb2
from citycard.terminal_gw.v1 import command_pb2, device_pb2, session_service_pb2
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service_pb
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from libs.errors import RequestMalformed
from services.terminal_gw.adapters.bodies import recollect_to_pb
from services.terminal_gw.adapters.messages import moment, write
from services.terminal_gw.application.sign_in import SignInAnswer
from services.terminal_gw.domain.clock import ClockThresholds
from services.terminal_gw.domain.completeness import Register
from services.terminal_gw.domain.device import (
    Command,
    CommandAnswer,
    CommandState,
    DeviceEvent,
    DeviceSerials,
    FetchBlacklist,
    FetchPack,
    FetchWorkKeys,
    Introduction,
    OutOfService,
    PackOutcome,
    PackReport,
    Pairing,
    Recollect,
    Repair,
    ReportDay,
    SetClock,
    TerminalState,
    ToDo,
    WorkKey,
    command_of_name,
)
from services.terminal_gw.domain.serials import SERIAL_MAX, Ranges, merged

M = TypeVar("M")


async def readable(messages: AsyncIterator[M]) -> AsyncIterator[M]:
    """The messages of a stream.

    Raises:
        RequestMalformed: Bytes came that are no message.
    """
    while True:
        try:
            yield await anext(messages)
        except StopAsyncIteration:
            return
        except DecodeError:
            raise RequestMalformed(field="message", description="the bytes are no message") from None


def printable(said: str) -> str:
    """What a caller calls something, without the characters that a database or a log would choke on."""
    return "".join(character for character in said if character.isprintable())


def maybe(timestamp: Timestamp, present: bool) -> datetime | None:
    """A timestamp that may be unset."""
    return moment(timestamp) if present else None


def date_to_pb(day: date) -> types_pb2.Date:
    """A day for the wire."""
    return types_pb2.Date(year=day.year, month=day.month, day=day.day)


def date_of_pb(message: types_pb2.Date, field: str = "business_date") -> date:
    """Read a day.

    Raises:
        RequestMalformed: There is no such day.
    """
    try:
        return date(message.year, message.month, message.day)
    except ValueError:
        raise RequestMalformed(field=field, description="there is no such day") from None


def day_of_text(text: str) -> date:
    """Read `YYYYMMDD`.

    Raises:
        RequestMalformed: There is no such day.
    """
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise RequestMalformed(field="name", description="there is no such day") from None


def ranges_of_pb(ranges: Iterable[device_pb2.SerialRange], field: str) -> Ranges:
    """Read ranges, in order and joined.

    Raises:
        RequestMalformed: One ends before it begins.
    """
    pairs = [(one.first, one.last) for one in ranges]
    if any(not 1 <= first <= last <= SERIAL_MAX for first, last in pairs):
        raise RequestMalformed(field=field, description="a range ends before it begins")
    return merged(pairs)


def introduction_of_pb(request: service_pb.SignInRequest) -> Introduction:
    """What the caller of a sign-in says.

    Raises:
        RequestMalformed: It does not say what its clock shows.
    """
    if not request.HasField("clock_time"):
        raise RequestMalformed(field="clock_time", description="say what the clock shows")
    return Introduction(
        request.terminal_number,
        request.psam_number,
        moment(request.clock_time),
        request.blacklist_version,
        printable(request.program_version),
        request.device_number if request.HasField("device_number") else None,
        tuple(pack_report_of_pb(one) for one in request.packs),
        serials_of_pb(request.serials) if request.HasField("serials") else None,
        tuple(request.work_key_check_values),
    )


def serials_of_pb(message: device_pb2.DeviceSerials) -> DeviceSerials:
    """What a device holds."""
    return DeviceSerials(
        message.device_seq_last,
        message.terminal_seq_last,
        message.unsent_count,
        maybe(message.oldest_unsent_time, message.HasField("oldest_unsent_time")),
        message.free_count,
        maybe(message.last_record_time, message.HasField("last_record_time")),
    )


def serials_to_pb(serials: DeviceSerials) -> device_pb2.DeviceSerials:
    """The same for the wire."""
    message = device_pb2.DeviceSerials(
        device_seq_last=serials.device_seq_last,
        terminal_seq_last=serials.terminal_seq_last,
        unsent_count=serials.unsent_count,
        free_count=serials.free_count,
    )
    write(message.oldest_unsent_time, serials.oldest_unsent_time)
    write(message.last_record_time, serials.last_record_time)
    return message


def pack_report_of_pb(message: device_pb2.PackReport) -> PackReport:
    """What a device says of a pack; unset counts as in force."""
    return PackReport(
        message.kind,
        message.version,
        PackOutcome(message.outcome or PackOutcome.IN_FORCE),
        maybe(message.since, message.HasField("since")),
        printable(message.detail),
    )


def pack_report_to_pb(report: PackReport) -> device_pb2.PackReport:
    """The same for the wire."""
    message = device_pb2.PackReport(
        kind=device_pb2.PackKind.ValueType(report.kind),
        version=report.version,
        outcome=device_pb2.PackOutcome.ValueType(report.outcome),
        detail=report.detail,
    )
    write(message.since, report.since)
    return message


def register_of_pb(message: device_pb2.AuditRegister) -> Register:
    """Registers of a device.

    Raises:
        RequestMalformed: There is no such day.
    """
    return Register(
        date_of_pb(message.business_date),
        message.device_number,
        message.device_seq_first,
        message.device_seq_last,
        message.record_count,
        message.total_fen,
        message.running_count,
        message.running_total_fen,
        message.shift_number,
        message.staff_number,
        maybe(message.close_time, message.HasField("close_time")),
        message.day_closed,
    )


def event_of_pb(message: session_service_pb2.DeviceEvent) -> DeviceEvent:
    """An event: what is asked about becomes columns, the whole is kept as it came."""
    mode = message.mode.mode if message.WhichOneof("change") == "mode" else None
    return DeviceEvent(message.event_seq, message.code, message.severity, mode, message.SerializeToString())


def answer_of_pb(message: command_pb2.CommandAnswer) -> CommandAnswer:
    """What a terminal says of a command.

    Raises:
        CommandUnknown: Not the name of one.
        RequestMalformed: A range ends before it begins.
    """
    terminal, number = command_of_name(message.command)
    return CommandAnswer(
        terminal,
        number,
        CommandState(message.state),
        printable(message.detail),
        ranges_of_pb(message.void_device_seqs, "void_device_seqs"),
        ranges_of_pb(message.void_terminal_seqs, "void_terminal_seqs"),
    )


def command_to_pb(command: Command) -> command_pb2.Command:
    """A command for the wire."""
    message = command_pb2.Command(
        name=command.name,
        body=command_pb2.CommandBody.FromString(command.body),
        state=command_pb2.CommandState.ValueType(command.state),
        detail=command.detail,
        issuer=command.issuer,
    )
    write(message.issue_time, command.issue_time)
    write(message.expire_time, command.expire_time)
    write(message.send_time, command.send_time)
    write(message.answer_time, command.answer_time)
    return message


def to_do_to_pb(item: ToDo) -> command_pb2.ToDo:
    """One thing to do."""
    match item:
        case OutOfService(reason):
            return command_pb2.ToDo(out_of_service=command_pb2.OutOfService(reason=reason))
        case SetClock(to_time):
            message = command_pb2.ToDo()
            write(message.set_clock.to_time, to_time)
            return message
        case FetchWorkKeys():
            return command_pb2.ToDo(fetch_work_keys=command_pb2.FetchWorkKeys())
        case FetchPack(pack):
            return command_pb2.ToDo(fetch_pack=command_pb2.FetchPack(pack=pack))
        case FetchBlacklist(version):
            return command_pb2.ToDo(fetch_blacklist=command_pb2.FetchBlacklist(version=version))
        case Recollect(device_seqs):
            return command_pb2.ToDo(recollect_records=recollect_to_pb(device_seqs))
        case ReportDay(day):
            return command_pb2.ToDo(report_registers=command_pb2.ReportRegisters(business_date=date_to_pb(day)))
        case Command():
            return command_pb2.ToDo(command=command_to_pb(item))


def sign_in_to_pb(
    answer: SignInAnswer, rules: ClockThresholds, upload_bytes_max: int, chunk_bytes_max: int
) -> service_pb.SignInResponse:
    """The answer to a sign-in."""
    millisecond = timedelta(milliseconds=1)
    message = service_pb.SignInResponse(
        clock_ahead_ms=answer.clock.ahead_ms,
        clock_action=service_pb.ClockAction.ValueType(answer.clock.action),
        blacklist_version=answer.blacklist_version,
        upload_bytes_max=upload_bytes_max,
        chunk_bytes_max=chunk_bytes_max,
        clock_rules=device_pb2.ClockRules(
            period_s=int(rules.period.total_seconds()),
            ignore_ms=rules.set_above // millisecond,
            warn_ms=rules.alarm_above // millisecond,
            stop_ms=rules.stop_above // millisecond if rules.stop_above is not None else 0,
        ),
        to_do=[to_do_to_pb(one) for one in answer.to_do],
        business_date=date_to_pb(answer.business_date),
        device_seq_contiguous=answer.device_seq_contiguous,
    )
    write(message.centre_time, answer.centre_time)
    return message


def state_to_pb(state: TerminalState) -> session_service_pb2.TerminalState:
    """What a terminal last said."""
    message = session_service_pb2.TerminalState(
        terminal=f"terminals/{state.terminal_number}",
        participant=f"participants/{state.participant}",
        collection_point=state.collection_point,
        group=state.group,
        device_kind=device_pb2.DeviceKind.ValueType(state.device_kind),
        connected=state.connected,
        clock_ahead_ms=state.clock_ahead_ms,
        mode=device_pb2.ServiceMode.ValueType(state.mode),
        blacklist_version=state.blacklist_version,
        program_version=state.program_version,
        serials=serials_to_pb(state.serials),
        packs=[pack_report_to_pb(one) for one in state.packs],
    )
    write(message.contact_time, state.contact_time)
    return message


def pairing_to_pb(pairing: Pairing) -> session_service_pb2.Pairing:
    """A pairing."""
    message = session_service_pb2.Pairing(device_number=pairing.device_number)
    write(message.valid_from, pairing.valid_from)
    write(message.valid_until, pairing.valid_until)
    return message


def work_key_to_pb(key: WorkKey) -> device_pb2.WorkKey:
    """A wrapped work key."""
    message = device_pb2.WorkKey(
        use=device_pb2.WorkKeyUse.ValueType(key.use),
        business_date=date_to_pb(key.business_date),
        wrapped=key.wrapped,
        check_value=key.check_value,
        key_label=key.key_label,
        mac=key.mac,
    )
    write(message.expire_time, key.expire_time)
    return message


def repair_to_pb(repair: Repair) -> session_service_pb2.Repair:
    """A repair slip."""
    message = session_service_pb2.Repair(
        name=f"terminals/{repair.terminal_number}/repairs/{repair.number}",
        fault=repair.fault,
        opener=repair.opener,
        remedy=repair.remedy,
    )
    write(message.open_time, repair.open_time)
    write(message.close_time, repair.close_time)
    return message


def event_to_pb(event: DeviceEvent) -> session_service_pb2.DeviceEvent:
    """An event as it came."""
    return session_service_pb2.DeviceEvent.FromString(event.body)
