"""One JSON line per thing that happened, with the trace it belongs to; console rendering for people."""

import logging
import re
import sys
from typing import Any

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, WrappedLogger

get_logger = structlog.get_logger

# Local variables of a stack hold session keys and holders' names; both of structlog's defaults would print them.
_WITHOUT_LOCALS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
# A card number is 16 to 20 digits. Whoever logs one uses `masked`; this catches those inside foreign error texts.
_LONG_NUMBER = re.compile(r"(?<![0-9A-Za-z])[0-9]{12,16}([0-9]{4})(?![0-9A-Za-z])")


def masked(number: str) -> str:
    """A card or account number fit for a log: its scheme and last four digits, `jt-…0424`.

    It is for people who compare two lines, not a pseudonym: never a key in data.
    """
    scheme, dash, digits = number.rpartition("-")
    return f"{scheme}{dash}…{digits[-4:]}" if len(digits) > 4 else f"{scheme}{dash}…"


def _mask_numbers(logger: WrappedLogger, name: str, line: str) -> str:
    return _LONG_NUMBER.sub(r"…\1", line)


def _add_trace(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event


def configure_logging(service: str, *, log_format: str = "json", log_level: str = "info") -> None:
    """Set up structlog and the standard library's logging to write to standard error.

    Args:
        service: Bound to every line.
        log_format: `json` or `console`.
        log_level: Least level written; libraries stay at warning.
    """
    level = logging.getLevelNamesMapping()[log_level.upper()]

    def add_service(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        event.setdefault("service", service)
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        add_service,
        _add_trace,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "json":
        renderer: list[Any] = [
            structlog.processors.ExceptionRenderer(_WITHOUT_LOCALS),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        plain = structlog.dev.plain_traceback
        renderer = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    renderer.append(_mask_numbers)
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING))
