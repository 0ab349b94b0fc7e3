"""The reasons that clearing gives are those that its contract lists, and no others."""

from citycard.clearing.v1 import error_reason_pb2

from libs.errors import DomainError
from services.clearing.domain import errors, errors_settlement


def test_every_refusal_is_listed_and_every_listed_reason_is_given() -> None:
    given = {
        one.reason
        for module in (errors, errors_settlement)
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, DomainError) and one.__module__ == module.__name__
    }
    listed = {name.removeprefix("ERROR_REASON_") for name in list(error_reason_pb2.ErrorReason.keys())} - {
        "UNSPECIFIED"
    }
    assert given == listed
