"""What surrounds every call, in this order: trace, metrics, log, authenticate and authorise, validate, map errors.

One interceptor carries all of them: each of the four call shapes is wrapped once, and the order can be read in one
place. Errors are mapped innermost of the first three, so that they see the status that the caller sees.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
from opentelemetry import trace
from opentelemetry.context import attach
from opentelemetry.trace import SpanKind

from libs.runtime import telemetry
from libs.runtime.admission import OPEN_SERVICES, Admission
from libs.runtime.identity import CURRENT_CALL, Call, Context, current_call
from libs.runtime.logging import get_logger
from libs.runtime.refusals import Answer, answer_to, answer_to_deadline, answer_to_defect, refusal_of
from libs.runtime.validation import check, checked, decoded

log = get_logger("citycard.rpc")

Behaviour = Callable[[Any, Any], Any]
# Generic for the type checker only; the class itself takes no parameters.
MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class CallChain(grpc.aio.ServerInterceptor):
    """The interceptor of the chassis.

    Args:
        service: Name of the service that answers, the first place to look for a reason's text.
        admission: Who is let in.
    """

    def __init__(self, service: str, admission: Admission) -> None:
        self._service = service
        self._admission = admission
        # Looked up once: the look costs more than the span.
        self._tracer = telemetry.tracer()
        self._calls = telemetry.counter(telemetry.RPC_SERVER_CALLS, "Calls answered, by method and status")
        self._refusals = telemetry.counter(telemetry.RPC_SERVER_REFUSALS, "Calls refused, by method and reason")
        self._duration = telemetry.histogram(telemetry.RPC_SERVER_DURATION, "Time from first byte to status, by method")

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[MethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> MethodHandler:
        """Wrap the handler of one call; an unknown method keeps its UNIMPLEMENTED."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = str(handler_call_details.method).lstrip("/")
        metadata = {str(k): v for k, v in handler_call_details.invocation_metadata or () if isinstance(v, str)}
        make: Callable[..., MethodHandler]
        behaviour: Any
        if handler.request_streaming and handler.response_streaming:
            make, behaviour = grpc.stream_stream_rpc_method_handler, handler.stream_stream
        elif handler.request_streaming:
            make, behaviour = grpc.stream_unary_rpc_method_handler, handler.stream_unary
        elif handler.response_streaming:
            make, behaviour = grpc.unary_stream_rpc_method_handler, handler.unary_stream
        else:
            make, behaviour = grpc.unary_unary_rpc_method_handler, handler.unary_unary
        surround = self._streaming if handler.response_streaming else self._single
        wrapped = surround(behaviour, method, metadata, handler.request_streaming)
        return make(wrapped, decoded(handler.request_deserializer), handler.response_serializer)

    def _single(self, behaviour: Behaviour, method: str, metadata: dict[str, str], streamed: bool) -> Behaviour:
        async def answer(request: Any, context: Context) -> Any:
            async with self._around(method, metadata, context):
                with self._admission.admitted(current_call(), metadata, context, streams=streamed):
                    return await behaviour(_checked(request, streamed), context)

        return answer

    def _streaming(self, behaviour: Behaviour, method: str, metadata: dict[str, str], streamed: bool) -> Behaviour:
        async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
            async with self._around(method, metadata, context):
                with self._admission.admitted(current_call(), metadata, context, streams=True):
                    result = behaviour(_checked(request, streamed), context)
                    if hasattr(result, "__aiter__"):
                        async for message in result:
                            yield message
                    else:
                        # The other style of grpc.aio: a coroutine that calls context.write itself.
                        await result

        return answer

    @asynccontextmanager
    async def _around(self, method: str, metadata: dict[str, str], context: Context) -> AsyncIterator[None]:
        call = Call(method)
        CURRENT_CALL.set(call)
        began = time.perf_counter()
        span = self._tracer.start_span(method, telemetry.remote_context(metadata), SpanKind.SERVER)
        # Attached and never detached: the task of this call ends with it, and a generator may be closed elsewhere.
        attach(trace.set_span_in_context(span))
        call.trace_id = f"{span.get_span_context().trace_id:032x}"
        try:
            yield
        except grpc.aio.AbortError:
            # A servicer that aborted by itself; only health and reflection do.
            call.status = "ABORTED_BY_SERVICER"
            raise
        except Exception as error:
            answer = self._answer(error, call, context)
            call.status, call.reason = answer.code.name, answer.reason
            await context.abort(answer.code, answer.status.message, answer.trailers)
        except BaseException:
            if call.ended_by is None:
                call.status = grpc.StatusCode.CANCELLED.name
                raise
            # We cancelled it ourselves: the caller shall read why.
            answer = answer_to(call.ended_by, self._service)
            call.status, call.reason = answer.code.name, answer.reason
            await context.abort(answer.code, answer.status.message, answer.trailers)
        finally:
            self._tell(call, span, time.perf_counter() - began)

    def _answer(self, error: Exception, call: Call, context: Context) -> Answer:
        refusal = refusal_of(error)
        if refusal is not None:
            if refusal is not error:
                log.warning("rpc.dependency_unavailable", method=call.method, error=repr(error)[:500])
            return answer_to(refusal, self._service)
        if isinstance(error, TimeoutError):
            return answer_to_deadline()
        if isinstance(error, NotImplementedError) and context.code() == grpc.StatusCode.UNIMPLEMENTED:
            # The generated base class answers for a method that the service does not have yet.
            bare = answer_to_defect(call.trace_id)
            bare.status.ClearField("details")
            bare.status.code, bare.status.message = grpc.StatusCode.UNIMPLEMENTED.value[0], "Method not implemented"
            return Answer(grpc.StatusCode.UNIMPLEMENTED, "", bare.status)
        log.error("rpc.defect", method=call.method, exc_info=error)
        return answer_to_defect(call.trace_id)

    def _tell(self, call: Call, span: trace.Span, seconds: float) -> None:
        if call.method.startswith(OPEN_SERVICES):
            span.end()
            return
        self._calls.add(1, {"method": call.method, "status": call.status})
        self._duration.record(seconds, {"method": call.method})
        if call.reason:
            self._refusals.add(1, {"method": call.method, "reason": call.reason})
            span.set_attribute("citycard.reason", call.reason)
        span.set_attribute("rpc.grpc.status", call.status)
        log.info(
            "rpc.answered",
            method=call.method,
            status=call.status,
            caller=call.identity.uri if call.identity else None,
            duration_ms=round(seconds * 1000, 2),
            **({"staff": call.staff.id} if call.staff else {}),
            **({"reason": call.reason} if call.reason else {}),
        )
        span.end()


def _checked(request: Any, streamed: bool) -> Any:
    if streamed:
        return checked(request)
    check(request)
    return request
