"""Errors and statuses: the only place that turns one into the other, on both sides of the line."""

import re
import sys
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # ships without types

from libs.errors import (
    AlreadyExists,
    Conflict,
    DataLost,
    DependencyUnavailable,
    DomainError,
    Forbidden,
    InvalidInput,
    LimitReached,
    NotFound,
    Refusal,
    RequestMalformed,
    Unauthenticated,
    Unavailable,
)
from libs.runtime.contract import reason_text

_STATUS_OF_KIND: tuple[tuple[type[DomainError], grpc.StatusCode], ...] = (
    (Refusal, grpc.StatusCode.FAILED_PRECONDITION),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (Conflict, grpc.StatusCode.ABORTED),
    (InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (Forbidden, grpc.StatusCode.PERMISSION_DENIED),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (LimitReached, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (DataLost, grpc.StatusCode.DATA_LOSS),
)
DETAILS_KEY = "grpc-status-details-bin"
_COMMON_DOMAIN = "citycard.common.v1"
# A status travels in trailers, and trailers are limited to 8 KiB by default.
_FACT_CHARS_MAX = 200
_VIOLATIONS_MAX = 20
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field that breaks a rule of the schema: its path, and the rule in words."""

    field: str
    description: str


class Malformed(RequestMalformed):
    """A request that the schema refuses, with every broken field."""

    def __init__(self, violations: list[FieldViolation]) -> None:
        self.violations = violations
        super().__init__(field=violations[0].field, description=violations[0].description)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status ready to be sent: code, reason for logs and metrics, and the rich form."""

    code: grpc.StatusCode
    reason: str
    status: status_pb2.Status

    @property
    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """The trailing metadata that carries the rich form."""
        return ((DETAILS_KEY, self.status.SerializeToString()),)


def status_code(error: DomainError) -> grpc.StatusCode:
    """The status of an error's kind.

    Raises:
        TypeError: The error is of no kind: a class that derives from DomainError itself.
    """
    for kind, code in _STATUS_OF_KIND:
        if isinstance(error, kind):
            return code
    raise TypeError(f"{type(error).__name__} is of no kind; derive it from one of libs.errors")


def answer_to(error: DomainError, service: str) -> Answer:
    """Turn a domain error into the status that callers see.

    Args:
        error: What was raised.
        service: The service that answers; its `ErrorReason` enum is asked first unless the error names another.
    """
    facts = {name: value[:_FACT_CHARS_MAX] for name, value in error.facts.items()}
    details: list[Any] = []
    if isinstance(error, RequestMalformed):
        violations = error.violations if isinstance(error, Malformed) else _violations_of_facts(facts)
        details = [_bad_request(violations)] if violations else []
    return _answer(status_code(error), error.service or service, error.reason, facts, details)


def answer_to_defect(trace_id: str) -> Answer:
    """The answer to what we did not foresee: nothing of it but the trace that leads to the log."""
    return _answer(grpc.StatusCode.INTERNAL, "common", "INTERNAL", {"trace_id": trace_id})


def answer_to_deadline() -> Answer:
    """The answer when the work took longer than the caller waits."""
    return _answer(grpc.StatusCode.DEADLINE_EXCEEDED, "common", "DEADLINE_EXCEEDED", {})


def _answer(
    code: grpc.StatusCode, service: str, reason: str, facts: dict[str, str], details: list[Any] | None = None
) -> Answer:
    text = reason_text(service, reason)
    domain = text.domain if text else f"citycard.{service}.v1"
    english = _fill(text.en, facts) if text and text.en else f"{reason} {facts}" if facts else reason
    packed: list[Any] = [error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=facts)]
    if text and text.zh:
        packed.append(error_details_pb2.LocalizedMessage(locale="zh-CN", message=_fill(text.zh, facts)))
    status = status_pb2.Status(code=code.value[0], message=english)
    for detail in packed + (details or []):
        holder = AnyMessage()
        holder.Pack(detail)
        status.details.append(holder)
    return Answer(code, reason, status)


def _fill(template: str, facts: dict[str, str]) -> str:
    # Not str.format: a fact or a template must never reach into objects.
    return _PLACE.sub(lambda place: facts.get(place.group(1), "?"), template)


def _violations_of_facts(facts: dict[str, str]) -> list[FieldViolation]:
    return [FieldViolation(facts["field"], facts.get("description", ""))] if "field" in facts else []


def _bad_request(violations: list[FieldViolation]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=violation.field[:_FACT_CHARS_MAX], description=violation.description[:_FACT_CHARS_MAX]
            )
            for violation in violations[:_VIOLATIONS_MAX]
        ]
    )


def dependency_of(error: BaseException) -> str | None:
    """Which part does not answer, when that is what the error says: `database`, `events`, `cache`, `service`.

    Lock and statement timeouts, deadlocks and lost connections of the database count: the same request may succeed a
    moment later. Looked up by loaded module, so that a process without Redis does not import Redis.
    """
    if isinstance(error, grpc.RpcError):
        unreachable = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
        code = getattr(error, "code", None)
        return "service" if callable(code) and code() in unreachable else None
    for dependency, module_name, names in _CONNECTION_ERRORS:
        module = sys.modules.get(module_name)
        if module and isinstance(error, tuple(getattr(module, name) for name in names)):
            return dependency
    return None


# What each client library raises when its server is away or overloaded.
_CONNECTION_ERRORS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("database", "sqlalchemy.exc", ("OperationalError", "InterfaceError", "TimeoutError", "DisconnectionError")),
    ("database", "psycopg", ("OperationalError", "InterfaceError")),
    (
        "events",
        "nats.errors",
        (
            "ConnectionClosedError",
            "ConnectionReconnectingError",
            "DrainTimeoutError",
            "FlushTimeoutError",
            "NoRespondersError",
            "NoServersError",
            "OutboundBufferLimitError",
            "StaleConnectionError",
            "TimeoutError",
            "UnexpectedEOF",
        ),
    ),
    ("events", "nats.js.errors", ("ServiceUnavailableError", "NoStreamResponseError")),
    ("cache", "redis.exceptions", ("ConnectionError", "TimeoutError", "BusyLoadingError")),
)


def refusal_of(error: BaseException) -> DomainError | None:
    """The domain error behind an exception: itself, or that a dependency is away; None for a defect."""
    if isinstance(error, DomainError):
        return error
    dependency = dependency_of(error)
    return DependencyUnavailable(dependency=dependency) if dependency else None


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """What a refused call says, read by the caller.

    Attributes:
        code: Status.
        reason: Public reason, `CARD_CLOSED`; empty when the answer did not come from one of our services.
        domain: Package of the enum that declares the reason.
        facts: The varying parts.
        message_zh: Chinese sentence for clerks and holders; may be empty.
        message_en: English sentence.
        violations: Broken fields of a malformed request.
    """

    code: grpc.StatusCode
    reason: str
    domain: str
    facts: dict[str, str]
    message_zh: str
    message_en: str
    violations: list[FieldViolation] = field(default_factory=list)


def error_info(error: grpc.RpcError) -> ErrorDetail:
    """Read the rich status of a failed call, of the asynchronous or the synchronous client.

    A failure that carries none (connection refused, an older peer) gives its code and text, and an empty reason.
    """
    call: Any = error
    code = call.code() if hasattr(call, "code") else grpc.StatusCode.UNKNOWN
    message = (call.details() if hasattr(call, "details") else None) or ""
    reason, domain, zh = "", "", ""
    facts: dict[str, str] = {}
    violations: list[FieldViolation] = []
    for holder in _rich_status(call).details:
        info, local, bad = error_details_pb2.ErrorInfo(), error_details_pb2.LocalizedMessage(), None
        if holder.Unpack(info):
            reason, domain, facts = info.reason, info.domain, dict(info.metadata)
        elif holder.Unpack(local):
            zh = local.message
        else:
            bad = error_details_pb2.BadRequest()
            if holder.Unpack(bad):
                violations = [FieldViolation(one.field, one.description) for one in bad.field_violations]
    return ErrorDetail(code, reason, domain, facts, zh, message, violations)


def _rich_status(call: Any) -> status_pb2.Status:
    metadata = call.trailing_metadata() if hasattr(call, "trailing_metadata") else None
    for key, value in metadata or ():
        if key == DETAILS_KEY:
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()
