"""The rules of the schema (`buf.validate`), applied to every request message before a use case sees it."""

from collections.abc import AsyncIterator
from typing import Any

import protovalidate
from google.protobuf import message_factory
from google.protobuf.message import Message

from libs.runtime.contract import ContractIncomplete, service_descriptor
from libs.runtime.refusals import FieldViolation, Malformed

_validator = protovalidate.Validator()


def check(message: Message) -> None:
    """Let a message pass that keeps all rules of its schema.

    Raises:
        Malformed: Naming every broken field, `items[2].request_id`.
    """
    violations = _validator.collect_violations(message)
    if violations:
        raise Malformed([_field_violation(violation.proto) for violation in violations])


async def checked(messages: AsyncIterator[Message]) -> AsyncIterator[Message]:
    """The same stream, each message checked as it comes.

    Raises:
        Malformed: At the first message that breaks a rule.
    """
    async for message in messages:
        check(message)
        yield message


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
