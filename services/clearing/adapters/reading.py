"""How the gRPC adapters read names, days and scopes of requests."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

from citycard.common.v1 import types_pb2

from libs.errors import RequestMalformed
from libs.runtime.identity import Identity, Role

_PART = 64 * 1024


def bare(name: str) -> str:
    """The last part of a resource name: `calendars/city` is `city`."""
    return name.rpartition("/")[2]


def day_of(field: str, value: types_pb2.Date) -> date:
    """A day of a request.

    Raises:
        RequestMalformed: There is no such day in the calendar.
    """
    try:
        return date(value.year, value.month, value.day)
    except ValueError:
        raise RequestMalformed(field=field, description="must be a day of the calendar") from None


def dated(name: str) -> tuple[str, date]:
    """Participant and day of `participants/{participant}/<collection>/{YYYYMMDD}`.

    Raises:
        RequestMalformed: The digits are no day of the calendar.
    """
    _, participant, _, digits = name.split("/")[:4]
    try:
        return participant, datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise RequestMalformed(field="name", description="must name a day YYYYMMDD of the calendar") from None


def scope(identity: Identity, asked: str) -> str | None:
    """The participant that a list is narrowed to; None for all.

    Raises:
        NotYours: A participant asks for another's rows.
    """
    wanted = asked.removeprefix("participants/")
    if identity.kind in (Role.PARTICIPANT, Role.COLLECTOR) and not wanted:
        return identity.participant
    if wanted:
        identity.must_own(wanted)
    return wanted or None


def file_parts(content: bytes) -> Iterator[bytes]:
    """A file in pieces of 64 KiB, as calls stream it."""
    for start in range(0, len(content), _PART):
        yield content[start : start + _PART]
