"""The adapter: `BankAdapterService` over mutual TLS, for the platform's account service alone."""

import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NoReturn

import grpc
from citycard.account.v1 import bank_service_pb2
from citycard.account.v1.bank_service_pb2_grpc import BankServiceStub
from citycard.common.v1.types_pb2 import Date
from citycard.participant.v1 import bank_adapter_service_pb2 as pb
from citycard.participant.v1.bank_adapter_service_pb2_grpc import (
    BankAdapterServiceServicer,
    add_BankAdapterServiceServicer_to_server,
)
from google.protobuf.timestamp_pb2 import Timestamp

from examples.participants.bank.books import DECLINED, HELD, Books, Operation, OtherContent
from examples.participants.bank.faults import Faults

# Who may call us: the name in the certificate of the platform's account service.
PLATFORM = b"citycard://service/account"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DIRECTIONS = {pb.BANK_DIRECTION_DEBIT: "DEBIT", pb.BANK_DIRECTION_CREDIT: "CREDIT"}
_CHUNK = 256 * 1024
_HANG_S_MAX = 30.0
Context = grpc.ServicerContext


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: whom we trust, who we are, and our key."""

    ca: Path
    cert: Path
    key: Path


class Adapter(BankAdapterServiceServicer):
    """The servicer.

    Args:
        books: The bank's.
        faults: How it misbehaves.
        late_s: How late a late answer is, seconds.
        tell: Tells the platform about an operation by ourselves.
    """

    def __init__(self, books: Books, faults: Faults, late_s: float, tell: Callable[[pb.BankOperation], None]) -> None:
        self._books = books
        self._faults = faults
        self._late_s = late_s
        self._tell = tell

    def AuthoriseOperation(self, request: pb.AuthoriseOperationRequest, context: Context) -> pb.BankOperation:
        """Hold or promise."""
        _admit(context)
        direction = _DIRECTIONS.get(request.direction)
        if direction is None or request.amount_fen <= 0 or not 0 < len(request.account_token) <= 200:
            _refuse(context, "direction, amount or account is none")
        wanted = Operation(
            _name(request.operation_id, context),
            direction=direction,
            account_token=request.account_token,
            amount_fen=request.amount_fen,
            business_date=_day(request.business_date, context),
            expire_time=_text(request.expire_time) if request.HasField("expire_time") else "",
        )
        return self._answer(lambda: self._books.authorise(wanted), context)

    def CaptureOperation(self, request: pb.CaptureOperationRequest, context: Context) -> pb.BankOperation:
        """Book."""
        _admit(context)
        name = _name(request.operation_id, context)
        return self._answer(lambda: self._books.capture(name, request.amount_fen), context)

    def ReverseOperation(self, request: pb.ReverseOperationRequest, context: Context) -> pb.BankOperation:
        """Undo."""
        _admit(context)
        name = _name(request.operation_id, context)
        return self._answer(lambda: self._books.reverse(name), context)

    def GetOperation(self, request: pb.GetOperationRequest, context: Context) -> pb.BankOperation:
        """Tell."""
        _admit(context)
        name = _name(request.operation_id, context)
        return self._answer(lambda: self._books.get(name), context)

    def ReadDailyFile(self, request: pb.ReadDailyFileRequest, context: Context) -> Iterator[pb.ReadDailyFileResponse]:
        """The daily file."""
        _admit(context)
        content = self._books.daily_file(_day(request.business_date, context))
        for start in range(0, len(content), _CHUNK):
            yield pb.ReadDailyFileResponse(chunk=content[start : start + _CHUNK])

    def _answer(self, work: Callable[[], Operation], context: Context) -> pb.BankOperation:
        fault = self._faults.draw()
        if fault == "away":
            context.abort(grpc.StatusCode.UNAVAILABLE, "closed for the moment")
        if fault == "lost":
            _hang(context)
        try:
            done = work()
        except OtherContent:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, "the operation exists with other content")
        if fault == "never":
            _hang(context)
        if fault == "late":
            time.sleep(self._late_s)
        answer = _operation(done)
        if fault == "twice":
            for _ in range(2):
                self._tell(answer)
        if fault == "contradict":
            answer = _operation(self._lie(done))
        return answer

    def _lie(self, done: Operation) -> Operation:
        if self._faults.random.random() < 0.5:
            return replace(done, amount_fen=done.amount_fen + 1)
        return replace(done, state={HELD: DECLINED, DECLINED: HELD}.get(done.state, HELD))


class Teller:
    """Tells the platform about operations, each in a thread of its own, until it has heard.

    Args:
        platform: `host:port` of its account service; without it nothing is told.
        tls: The bank's files.
    """

    def __init__(self, platform: str, tls: Tls) -> None:
        channel = grpc.secure_channel(platform, _client_credentials(tls)) if platform else None
        self._stub: Any = BankServiceStub(channel) if channel else None

    def __call__(self, answer: pb.BankOperation) -> None:
        """Tell, and return at once."""
        if self._stub is not None:
            request = bank_service_pb2.ReportBankAnswerRequest(request_id=str(uuid.uuid4()), operation=answer)
            threading.Thread(target=self._deliver, args=(request,), daemon=True).start()

    def _deliver(self, request: bank_service_pb2.ReportBankAnswerRequest) -> None:
        for attempt in range(10):
            try:
                self._stub.ReportBankAnswer(request, timeout=5)
                return
            except grpc.RpcError as error:
                code: Any = getattr(error, "code", lambda: None)()
                if code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    sys.stderr.write(
                        f"bank: the platform refuses to hear of {request.operation.operation_id}: {code}\n"
                    )
                    return
                time.sleep(0.2 * 2**attempt)


def serve(adapter: Adapter, tls: Tls, listen: str) -> tuple[grpc.Server, int]:
    """Start a server; returns it with its port.

    Raises:
        RuntimeError: The port is taken.
    """
    server = grpc.server(ThreadPoolExecutor(max_workers=32), options=[("grpc.so_reuseport", 0)])
    add_BankAdapterServiceServicer_to_server(adapter, server)
    credentials = grpc.ssl_server_credentials(
        [(tls.key.read_bytes(), tls.cert.read_bytes())],
        root_certificates=tls.ca.read_bytes(),
        require_client_auth=True,
    )
    port = server.add_secure_port(listen, credentials)
    server.start()
    return server, port


def _client_credentials(tls: Tls) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(tls.ca.read_bytes(), tls.key.read_bytes(), tls.cert.read_bytes())


def _admit(context: Context) -> None:
    # A certificate of the same authority is not enough: other partners have one too.
    if PLATFORM not in context.auth_context().get("x509_subject_alternative_name", ()):
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "only the platform's account service may call")


def _refuse(context: Context, why: str) -> NoReturn:
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, why)
    raise AssertionError("abort raises")


def _name(operation_id: str, context: Context) -> str:
    if _UUID.fullmatch(operation_id.lower()) is None:
        _refuse(context, "operation_id is no UUID")
    return operation_id.lower()


def _day(message: Date, context: Context) -> str:
    try:
        return date(message.year, message.month, message.day).isoformat()
    except ValueError:
        _refuse(context, "business_date is no day")


def _text(moment: Timestamp) -> str:
    return moment.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _hang(context: Context) -> NoReturn:
    end = time.monotonic() + _HANG_S_MAX
    while context.is_active() and time.monotonic() < end:
        time.sleep(0.05)
    context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "never answered")
    raise AssertionError("abort raises")


def _operation(done: Operation) -> pb.BankOperation:
    answer = pb.BankOperation(
        operation_id=done.operation_id,
        state=pb.BankOperationState.Value(f"BANK_OPERATION_STATE_{done.state}"),
        direction=pb.BankDirection.Value(f"BANK_DIRECTION_{done.direction}")
        if done.direction
        else pb.BANK_DIRECTION_UNSPECIFIED,
        amount_fen=done.amount_fen,
        reference=done.reference,
        refusal=done.refusal if done.state == DECLINED else "",
    )
    if done.update_time:
        answer.update_time.FromDatetime(datetime.fromisoformat(done.update_time).astimezone(UTC))
    return answer
