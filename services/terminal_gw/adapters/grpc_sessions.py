"""The gRPC face of sessions, commands and devices."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import grpc
from citycard.terminal_gw.v1 import command_pb2
from citycard.terminal_gw.v1 import session_service_pb2 as session_pb
from citycard.terminal_gw.v1.session_service_pb2_grpc import SessionServiceServicer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.message import DecodeError

from libs.clock import Clock
from libs.errors import DomainError, RequestMalformed
from libs.runtime.identity import Context, Identity, caller
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.terminal_gw.adapters import messages_field as field
from services.terminal_gw.adapters.bodies import packed
from services.terminal_gw.adapters.messages import moment, write
from services.terminal_gw.application.acknowledge_lists import BLACKLIST, InForce, ListWords
from services.terminal_gw.application.commands import (
    AnswerCommand,
    BatchIssueCommands,
    CancelCommand,
    ListCommands,
    Order,
)
from services.terminal_gw.application.devices import Devices
from services.terminal_gw.application.keep_reports import KeepReports
from services.terminal_gw.application.ports_field import Beat
from services.terminal_gw.application.sessions import News, Outgoing, Pulse, SessionHub, Stored, TerminalSession
from services.terminal_gw.application.sign_in import SignIn
from services.terminal_gw.application.trust import Trust
from services.terminal_gw.domain.device import command_of_name
from services.terminal_gw.domain.errors import MessageTooLarge, SessionOrder, SessionSilent, SlowReader

_NEVER_BEFORE = 2**62


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What a session may take.

    Attributes:
        heartbeat_s: Told to terminals; silence of three ends the session.
        message_bytes_max: Largest message of a terminal.
        write_timeout_s: A terminal that does not read for so long is dropped.
        upload_bytes_max: Told at sign-in.
        chunk_bytes_max: Told at sign-in.
    """

    heartbeat_s: int
    message_bytes_max: int
    write_timeout_s: float
    upload_bytes_max: int
    chunk_bytes_max: int


@dataclass(frozen=True, slots=True)
class SessionUseCases:
    """What the methods call."""

    sign_in: SignIn
    hub: SessionHub
    keep: KeepReports
    lists: ListWords
    trust: Trust
    devices: Devices
    issue: BatchIssueCommands
    answer: AnswerCommand
    cancel: CancelCommand
    list_commands: ListCommands


@lru_cache(maxsize=8192)
def _fingerprint_of(certificate: bytes) -> bytes:
    try:
        return hashlib.sha256(x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)).digest()
    except ValueError:
        return b""


def fingerprint(context: Context) -> bytes:
    """SHA-256 of the certificate (DER) of the connection."""
    return _fingerprint_of(next(iter(context.auth_context().get("x509_pem_cert", ())), b""))


def trusted(context: Context, trust: Trust) -> Identity:
    """Who makes this call, if its certificate still holds.

    Raises:
        CertificateRevoked: It does not.
    """
    identity = caller(context)
    trust.check(identity.uri, fingerprint(context))
    return identity


class SessionApi(SessionServiceServicer):
    """Translates; decides nothing."""

    def __init__(self, use_cases: SessionUseCases, clock: Clock, limits: SessionLimits) -> None:
        self._do = use_cases
        self._clock = clock
        self._limits = limits

    # The generated base class declares an iterator; grpc.aio also takes a coroutine that writes by itself, and only so
    # can a write that does not come to an end be given up.
    async def Session(  # type: ignore[override]
        self, request_iterator: AsyncIterator[session_pb.SessionRequest], context: Context
    ) -> None:
        """The line of one connected terminal."""
        leave = self._do.hub.take_place()
        # The place is held until the call is really over: a peer that never hangs up keeps what it took.
        context.add_done_callback(lambda _: leave())  # type: ignore[arg-type]  # any callable; the stub wants its own
        identity = trusted(context, self._do.trust)
        first = await self._read(request_iterator, identity.id)
        if first is None or first.WhichOneof("kind") != "hello":
            raise SessionOrder(expected="hello", found=first.WhichOneof("kind") if first else "end")
        said = field.introduction_of_pb(first.hello.sign_in)
        session = TerminalSession(identity.id, uuid.uuid4().hex, identity.uri, fingerprint(context))
        answer = await self._do.sign_in(identity, said, session.id)
        self._do.hub.enter(session)
        reader: asyncio.Task[None] | None = None
        try:
            welcome = session_pb.Welcome(
                session_id=session.id,
                sign_in=field.sign_in_to_pb(
                    answer, self._do.sign_in.thresholds, self._limits.upload_bytes_max, self._limits.chunk_bytes_max
                ),
                heartbeat_s=self._limits.heartbeat_s,
                event_seq_stored=answer.event_seq,
            )
            await self._write(context, session, session_pb.SessionResponse(welcome=welcome))
            reader = asyncio.create_task(self._listen(request_iterator, session, answer.participant))
            while (message := await session.next()) is not None:
                await self._write(context, session, _response(message))
        except SlowReader:
            raise
        except DomainError as reason:
            closing = session_pb.SessionResponse(closing=session_pb.Closing(reason=reason.reason))
            with suppress(SlowReader, grpc.RpcError, asyncio.InvalidStateError):
                await self._write(context, session, closing, 1.0)
            raise
        finally:
            self._do.hub.leave(session)
            self._do.keep.closed(session.id)
            if reader is not None:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)

    async def _write(
        self,
        context: Context,
        session: TerminalSession,
        message: session_pb.SessionResponse,
        timeout_s: float | None = None,
    ) -> None:
        try:
            await asyncio.wait_for(context.write(message), timeout_s or self._limits.write_timeout_s)
        except TimeoutError:
            raise SlowReader(terminal=session.terminal_number) from None

    async def _read(
        self, messages: AsyncIterator[session_pb.SessionRequest], terminal_number: str
    ) -> session_pb.SessionRequest | None:
        try:
            async with asyncio.timeout(3 * self._limits.heartbeat_s):
                message = await anext(messages, None)
        except TimeoutError:
            raise SessionSilent(terminal=terminal_number) from None
        except DecodeError:
            raise RequestMalformed(field="message", description="the bytes are no message") from None
        if message is not None and message.ByteSize() > self._limits.message_bytes_max:
            raise MessageTooLarge(size_bytes=message.ByteSize(), limit_bytes=self._limits.message_bytes_max)
        return message

    async def _listen(
        self, messages: AsyncIterator[session_pb.SessionRequest], session: TerminalSession, participant: str
    ) -> None:
        """Take what the terminal says until it hangs up or breaks a rule."""
        try:
            while (message := await self._read(messages, session.terminal_number)) is not None:
                await self._take(message, session, participant)
            session.end()
        except DomainError as refusal:
            session.end(refusal)
        except grpc.RpcError:
            # The line broke: nobody is left to be told.
            session.end()
        except Exception as defect:
            # Ours: the call answers INTERNAL with a trace id, and the session does not hang without a reader.
            session.end(defect)

    async def _take(self, message: session_pb.SessionRequest, session: TerminalSession, participant: str) -> None:
        keep, number = self._do.keep, session.terminal_number
        match message.WhichOneof("kind"):
            case "heartbeat":
                await keep.beat(self._beat(message.heartbeat, number))
                in_force = InForce(number, BLACKLIST, message.heartbeat.blacklist_version)
                self._do.lists.note(session.caller, [in_force])
                session.tell(Pulse(self._clock.now()))
            case "events":
                await keep.events(session, [field.event_of_pb(one) for one in message.events.events])
                for event in message.events.events:
                    if event.WhichOneof("change") == "shift" and event.shift.HasField("register"):
                        await keep.register(participant, number, field.register_of_pb(event.shift.register))
            case "answer":
                answer = field.answer_of_pb(message.answer)
                if answer.terminal_number != number:
                    raise SessionOrder(expected=f"terminals/{number}/commands", found=message.answer.command)
                await keep.answer(answer)
            case "packs":
                await keep.packs(number, [field.pack_report_of_pb(one) for one in message.packs.packs])
            case other:
                raise SessionOrder(expected="heartbeat, events, answer or packs", found=other)

    def _beat(self, message: session_pb.Heartbeat, number: str) -> Beat:
        now = self._clock.now()
        ahead_ms = None
        if message.HasField("clock_time"):
            ahead_ms = self._do.sign_in.thresholds.decide(moment(message.clock_time), now)[0]
        serials = field.serials_of_pb(message.serials) if message.HasField("serials") else None
        return Beat(number, now, ahead_ms, message.mode, message.blacklist_version, serials)

    async def AnswerCommand(self, request: session_pb.AnswerCommandRequest, context: Context) -> command_pb2.Command:
        """See the contract, as for all methods here."""
        identity = trusted(context, self._do.trust)
        return field.command_to_pb(await self._do.answer(identity, field.answer_of_pb(request.answer)))

    async def SignOut(self, request: session_pb.SignOutRequest, context: Context) -> session_pb.SignOutResponse:
        """Go out of service in good order."""
        serials = field.serials_of_pb(request.serials) if request.HasField("serials") else None
        identity = trusted(context, self._do.trust)
        response = session_pb.SignOutResponse()
        write(response.centre_time, await self._do.devices.sign_out(identity, request.terminal_number, serials))
        return response

    async def GetWorkKeys(
        self, request: session_pb.GetWorkKeysRequest, context: Context
    ) -> session_pb.GetWorkKeysResponse:
        """The work keys of the day."""
        identity = trusted(context, self._do.trust)
        keys = await self._do.devices.work_keys(identity, request.terminal_number, request.psam_number)
        return session_pb.GetWorkKeysResponse(keys=map(field.work_key_to_pb, keys))

    async def BatchIssueCommands(
        self, request: session_pb.BatchIssueCommandsRequest, context: Context
    ) -> session_pb.BatchIssueCommandsResponse:
        """One command to many terminals."""
        kind, body = packed(request.body)
        numbers = tuple(name.removeprefix("terminals/") for name in request.terminals)
        order = Order(numbers, request.group, request.collection_point, kind, body, request.timeout_s)
        issued = await self._do.issue(caller(context), order, request_key(request, context))
        return session_pb.BatchIssueCommandsResponse(
            command_count=issued.command_count, first_number=issued.first_number
        )

    async def CancelCommand(self, request: session_pb.CancelCommandRequest, context: Context) -> command_pb2.Command:
        """Take a command back."""
        return field.command_to_pb(await self._do.cancel(caller(context), *command_of_name(request.name)))

    async def ListCommands(
        self, request: session_pb.ListCommandsRequest, context: Context
    ) -> session_pb.ListCommandsResponse:
        """A page of commands."""
        name = f"ListCommands?terminal={request.terminal}&open_only={request.open_only}"
        size = page_size(request.page_size)
        commands = await self._do.list_commands(
            caller(context).participant,
            request.terminal.removeprefix("terminals/"),
            _before(name, request.page_token),
            size,
            open_only=request.open_only,
        )
        token = page_token(name, (commands[-1].number,)) if len(commands) == size else ""
        return session_pb.ListCommandsResponse(commands=map(field.command_to_pb, commands), next_page_token=token)

    async def ListTerminalStates(
        self, request: session_pb.ListTerminalStatesRequest, context: Context
    ) -> session_pb.ListTerminalStatesResponse:
        """A page of states."""
        name = f"ListTerminalStates?participant={request.participant}&point={request.collection_point}"
        key = page_key(name, request.page_token, (str,))
        asked = request.participant.removeprefix("participants/") or None
        if asked is not None and not caller(context).may_see(asked):
            return session_pb.ListTerminalStatesResponse()
        size = page_size(request.page_size)
        states = await self._do.devices.states(
            asked or caller(context).participant, request.collection_point, str(key[0]) if key else "", size
        )
        token = page_token(name, (states[-1].terminal_number,)) if len(states) == size else ""
        return session_pb.ListTerminalStatesResponse(states=map(field.state_to_pb, states), next_page_token=token)

    async def ListDeviceEvents(
        self, request: session_pb.ListDeviceEventsRequest, context: Context
    ) -> session_pb.ListDeviceEventsResponse:
        """A page of events."""
        name = f"ListDeviceEvents?terminal={request.terminal}"
        key = page_key(name, request.page_token, (int,))
        size = page_size(request.page_size)
        number = request.terminal.removeprefix("terminals/")
        after = int(key[0] or 0) if key else 0
        events = await self._do.devices.events(number, caller(context).may_see, after, size)
        token = page_token(name, (events[-1].event_seq,)) if len(events) == size else ""
        return session_pb.ListDeviceEventsResponse(events=map(field.event_to_pb, events), next_page_token=token)

    async def PairDevice(
        self, request: session_pb.PairDeviceRequest, context: Context
    ) -> session_pb.PairDeviceResponse:
        """Which machine a PSAM sits in."""
        period = (
            field.maybe(request.valid_from, request.HasField("valid_from")),
            field.maybe(request.valid_until, request.HasField("valid_until")),
        )
        number = request.terminal.removeprefix("terminals/")
        pairings = await self._do.devices.pair(
            caller(context), number, request.device_number, period, request_key(request, context)
        )
        return session_pb.PairDeviceResponse(pairings=map(field.pairing_to_pb, pairings))

    async def BatchAssignTerminals(
        self, request: session_pb.BatchAssignTerminalsRequest, context: Context
    ) -> session_pb.BatchAssignTerminalsResponse:
        """Where terminals stand."""
        count = await self._do.devices.assign(
            caller(context),
            [name.removeprefix("terminals/") for name in request.terminals],
            request.device_kind if request.HasField("device_kind") else None,
            request.group if request.HasField("group") else None,
            request.collection_point if request.HasField("collection_point") else None,
        )
        return session_pb.BatchAssignTerminalsResponse(terminal_count=count)

    async def RevokeCertificate(
        self, request: session_pb.RevokeCertificateRequest, context: Context
    ) -> session_pb.RevokedCertificate:
        """Trust a certificate no longer."""
        revoked = await self._do.trust.revoke(
            request.fingerprint, request.subject, field.printable(request.reason), caller(context).uri
        )
        response = session_pb.RevokedCertificate(
            fingerprint=request.fingerprint, reason=revoked.reason, subject=request.subject
        )
        write(response.revoke_time, revoked.revoke_time)
        return response

    async def OpenRepair(self, request: session_pb.OpenRepairRequest, context: Context) -> session_pb.Repair:
        """Open a repair slip."""
        number = request.terminal.removeprefix("terminals/")
        fault = field.printable(request.fault)
        return field.repair_to_pb(
            await self._do.devices.open_repair(caller(context), number, fault, request_key(request, context))
        )

    async def CloseRepair(self, request: session_pb.CloseRepairRequest, context: Context) -> session_pb.Repair:
        """Close a repair slip."""
        _, terminal, _, number = request.name.split("/")
        remedy = field.printable(request.remedy)
        return field.repair_to_pb(await self._do.devices.close_repair(caller(context), terminal, int(number), remedy))

    async def ListRepairs(
        self, request: session_pb.ListRepairsRequest, context: Context
    ) -> session_pb.ListRepairsResponse:
        """A page of repair slips."""
        name = f"ListRepairs?open_only={request.open_only}"
        size = page_size(request.page_size)
        repairs = await self._do.devices.repairs(
            caller(context).participant, _before(name, request.page_token), size, open_only=request.open_only
        )
        token = page_token(name, (repairs[-1].number,)) if len(repairs) == size else ""
        return session_pb.ListRepairsResponse(repairs=map(field.repair_to_pb, repairs), next_page_token=token)


def _before(name: str, token: str) -> int:
    key = page_key(name, token, (int,))
    return int(key[0] or 0) if key else _NEVER_BEFORE


def _response(message: Outgoing) -> session_pb.SessionResponse:
    match message:
        case Pulse(centre_time):
            response = session_pb.SessionResponse(pulse=session_pb.Pulse())
            write(response.pulse.centre_time, centre_time)
            return response
        case Stored(event_seq):
            return session_pb.SessionResponse(stored=session_pb.EventsStored(event_seq=event_seq))
        case News(version):
            return session_pb.SessionResponse(blacklist=session_pb.BlacklistNews(version=version))
        case command:
            return session_pb.SessionResponse(command=field.command_to_pb(command))
