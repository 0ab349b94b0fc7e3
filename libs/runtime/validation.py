"""The rules of the schema (`buf.validate`), applied to every request message before a use case sees it."""

import datetime
from collections.abc import AsyncIterator, Callable
from typing import Any

import protovalidate
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from libs.runtime.contract import ContractIncomplete, service_descriptor
from libs.runtime.refusals import FieldViolation, Malformed

_validator = protovalidate.Validator()


class Undecodable:
    """Stands for a request whose bytes are no message of its type; refused where rules are checked."""


def decoded(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """The deserializer of a method, but bytes that it cannot read become a refusal instead of an internal error."""
    if deserialize is None:
        return None

    def read(content: bytes) -> Any:
        try:
            return deserialize(content)
        except DecodeError:
            return Undecodable()

    return read


def check(message: Message | Undecodable) -> None:
    """Let a message pass that keeps all rules of its schema.

    Raises:
        Malformed: Naming every broken field, `items[2].request_id`; none when the bytes are no message at all.
    """
    if isinstance(message, Undecodable):
        raise Malformed([FieldViolation("", "the bytes are no message of this type")])
    violations = [_field_violation(violation.proto) for violation in _validator.collect_violations(message)]
    violations += _meaningless(message, "")
    if violations:
        raise Malformed(violations)


async def checked(messages: AsyncIterator[Message]) -> AsyncIterator[Message]:
    """The same stream, each message checked as it comes.

    Raises:
        Malformed: At the first message that breaks a rule.
    """
    async for message in messages:
        check(message)
        yield message


def _meaningless(message: Message, path: str) -> list[FieldViolation]:
    """What every field must keep though no rule says it: moments and days are in the calendar, text has no NUL."""
    found: list[FieldViolation] = []
    for field, value in message.ListFields():
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING and field.type == FieldDescriptor.TYPE_STRING:
            texts = value if field.is_repeated else (value,)
            found += [FieldViolation(path + field.name, "holds the character NUL") for text in texts if "\0" in text]
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            parts = value if field.is_repeated else (value,)
            for number, part in enumerate(parts):
                place = f"{path}{field.name}[{number}]" if field.is_repeated else path + field.name
                look = _LOOK.get(field.message_type.full_name)
                if look is None:
                    found += _meaningless(part, place + ".")
                elif why := look(part):
                    found.append(FieldViolation(place, why))
    return found


def _look_at_timestamp(value: Any) -> str:
    whole = _SECONDS_MIN <= value.seconds <= _SECONDS_MAX and 0 <= value.nanos < 10**9
    return "" if whole else "is no moment of the years 1 to 9999"


def _look_at_duration(value: Any) -> str:
    same_sign = value.seconds * value.nanos >= 0
    whole = abs(value.seconds) <= _DURATION_S_MAX and abs(value.nanos) < 10**9 and same_sign
    return "" if whole else "is no length of time"


def _look_at_date(value: Any) -> str:
    try:
        datetime.date(value.year, value.month, value.day)
    except (ValueError, OverflowError):
        return "is no day of the calendar"
    return ""


# google/protobuf/timestamp.proto: from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z; a day less at each end, because a
# moment is also looked at in the city's own time.
_SECONDS_MIN, _SECONDS_MAX = -62_135_596_800 + 86_400, 253_402_300_799 - 86_400
# google/protobuf/duration.proto.
_DURATION_S_MAX = 315_576_000_000
_LOOK: dict[str, Callable[[Any], str]] = {
    "google.protobuf.Timestamp": _look_at_timestamp,
    "google.protobuf.Duration": _look_at_duration,
    "google.type.Date": _look_at_date,
    "citycard.common.v1.Date": _look_at_date,
}


def compile_rules(service_names: tuple[str, ...]) -> None:
    """Compile the rules of every request, so that a mistaken rule stops the start and not the first caller.

    Raises:
        ContractIncomplete: A rule that cannot be compiled.
    """
    for service_name in service_names:
        for method in service_descriptor(service_name).methods:
            try:
                _validator.collect_violations(message_factory.GetMessageClass(method.input_type)())
            except protovalidate.CompilationError as error:
                raise ContractIncomplete(f"rules of {method.input_type.full_name}: {error}") from error


def _field_violation(violation: Any) -> FieldViolation:
    path = ""
    for element in violation.field.elements if violation.field else ():
        path += ("." if path else "") + element.field_name
        if element.subscript is not None:
            path += f"[{element.subscript.value!r}]"
    return FieldViolation(path, violation.message or violation.rule_id)
