"""A service that exists for tests only: `citycard.echo.v1`, with every call shape, rules, reasons and an event.

Its contract is built here and not in `protos/`, because `protos/` is what partners read.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar

import grpc
from buf.validate import validate_pb2
from citycard.common.v1 import method_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from libs.errors import NotFound, Refusal
from libs.runtime.identity import Context, Role, staff
from libs.runtime.settings import ServiceSettings
from libs.runtime.staff import StaffRole

PACKAGE = "citycard.echo.v1"
SERVICE = f"{PACKAGE}.EchoService"
# A second service whose method declares no role: no server may start with it.
SILENT_SERVICE = f"{PACKAGE}.SilentService"
_FIELD = descriptor_pb2.FieldDescriptorProto
_METHODS = {
    "Echo": (False, False),
    "Collect": (True, False),
    "Count": (False, True),
    "Talk": (True, True),
    "Approve": (False, False),
}
_ROLES = (Role.PARTICIPANT, Role.ADMINISTRATOR, Role.SERVICE)
TIMEOUT_MS = 3000


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="citycard/echo/v1/echo_service.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=["buf/validate/validate.proto", "citycard/common/v1/method.proto"],
    )
    request = file.message_type.add(name="EchoRequest")
    text = request.field.add(name="text", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    text.options.Extensions[validate_pb2.field].string.max_len = 20
    request_id = request.field.add(name="request_id", number=2, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    rules = request_id.options.Extensions[validate_pb2.field]
    rules.string.uuid = True
    rules.ignore = validate_pb2.IGNORE_IF_ZERO_VALUE
    nested = request.field.add(name="parts", number=3, type=_FIELD.TYPE_MESSAGE, label=_FIELD.LABEL_REPEATED)
    nested.type_name = f".{PACKAGE}.EchoRequest"
    for name in ("EchoResponse", "Said"):
        message = file.message_type.add(name=name)
        message.field.add(name="text", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
        message.field.add(name="count", number=2, type=_FIELD.TYPE_INT64, label=_FIELD.LABEL_OPTIONAL)
    reasons = file.enum_type.add(name="ErrorReason")
    reasons.value.add(name="ERROR_REASON_UNSPECIFIED", number=0)
    closed = reasons.value.add(name="ERROR_REASON_EAR_CLOSED", number=1)
    closed.options.Extensions[method_pb2.text].zh = "耳朵 {ear} 已关闭"
    closed.options.Extensions[method_pb2.text].en = "The ear {ear} is closed."
    service = file.service.add(name="EchoService")
    for name, (client_streaming, server_streaming) in _METHODS.items():
        method = service.method.add(
            name=name,
            input_type=f".{PACKAGE}.EchoRequest",
            output_type=f".{PACKAGE}.EchoResponse",
            client_streaming=client_streaming,
            server_streaming=server_streaming,
        )
        declared = method.options.Extensions[method_pb2.rules]
        declared.roles.extend(role.number for role in _ROLES)
        declared.timeout_ms = 0 if server_streaming else TIMEOUT_MS
        if name == "Approve":
            declared.roles.append(Role.OUTLET.number)
            declared.staff_roles.extend((StaffRole.SUPERVISOR.number, StaffRole.CHECKER.number))
        if name == "Echo":
            method.options.idempotency_level = descriptor_pb2.MethodOptions.IDEMPOTENT
    silent = file.service.add(name="SilentService")
    silent.method.add(name="Hush", input_type=f".{PACKAGE}.EchoRequest", output_type=f".{PACKAGE}.EchoResponse")
    return file


_pool = descriptor_pool.Default()
_pool.AddSerializedFile(_file().SerializeToString())
EchoRequest: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.EchoRequest"))
EchoResponse: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.EchoResponse"))
Said: Any = message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.Said"))


class EchoSettings(ServiceSettings):
    """Settings of the test service."""

    service: ClassVar[str] = "echo"


class EarClosed(Refusal):
    """A reason of the test service's own."""

    reason = "EAR_CLOSED"


class EarUnknown(NotFound):
    """A reason that the test service forgot to declare in its enum."""

    reason = "EAR_UNKNOWN"


Answering = Callable[[Any, Context], Awaitable[Any]]


async def _same(request: Any, context: Context) -> Any:
    return EchoResponse(text=request.text)


class EchoApi:
    """Answers `Echo` with what a test hands in; the streaming methods count and repeat."""

    def __init__(self, answer: Answering = _same) -> None:
        self._answer = answer

    async def echo(self, request: Any, context: Context) -> Any:
        """Unary."""
        return await self._answer(request, context)

    async def collect(self, requests: AsyncIterator[Any], context: Context) -> Any:
        """How many requests came, and their texts joined."""
        texts = [request.text async for request in requests]
        return EchoResponse(text="".join(texts), count=len(texts))

    async def count(self, request: Any, context: Context) -> AsyncIterator[Any]:
        """One response per letter, in the style of an asynchronous generator; `!` refuses."""
        for number, letter in enumerate(request.text):
            if letter == "!":
                raise EarClosed(ear="left")
            yield EchoResponse(text=letter, count=number)

    async def talk(self, requests: AsyncIterator[Any], context: Context) -> None:
        """One response per request, in the style of a coroutine that writes."""
        async for request in requests:
            await context.write(EchoResponse(text=request.text.upper()))

    async def approve(self, request: Any, context: Context) -> Any:
        """Says which person approved; asks for a supervisor or a checker."""
        return EchoResponse(text=staff(context).id)

    def register(self, server: grpc.aio.Server) -> None:
        """Add all methods to a server."""
        shapes: dict[str, Any] = {
            "Echo": grpc.unary_unary_rpc_method_handler(self.echo, *_codecs()),
            "Collect": grpc.stream_unary_rpc_method_handler(self.collect, *_codecs()),
            "Count": grpc.unary_stream_rpc_method_handler(self.count, *_codecs()),
            "Approve": grpc.unary_unary_rpc_method_handler(self.approve, *_codecs()),
            "Talk": grpc.stream_stream_rpc_method_handler(self.talk, *_codecs()),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, shapes),))


def _codecs() -> tuple[Any, Any]:
    return EchoRequest.FromString, EchoResponse.SerializeToString


class EchoStub:
    """The client side, for a channel of either kind."""

    def __init__(self, channel: Any) -> None:
        codecs = EchoRequest.SerializeToString, EchoResponse.FromString
        self.Echo = channel.unary_unary(f"/{SERVICE}/Echo", *codecs)
        self.Collect = channel.stream_unary(f"/{SERVICE}/Collect", *codecs)
        self.Count = channel.unary_stream(f"/{SERVICE}/Count", *codecs)
        self.Approve = channel.unary_unary(f"/{SERVICE}/Approve", *codecs)
        self.Talk = channel.stream_stream(f"/{SERVICE}/Talk", *codecs)
