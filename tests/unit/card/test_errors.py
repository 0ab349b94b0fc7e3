"""Every refusal is public, and every public reason can be given."""

from citycard.card.v1 import error_reason_pb2

from libs.errors import AlreadyExists, DomainError, InvalidInput, NotFound, Refusal
from libs.runtime.refusals import status_code
from services.card.domain import errors


def _refusals() -> list[type[DomainError]]:
    kinds = {DomainError, Refusal, NotFound, AlreadyExists, InvalidInput}
    found = [thing for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, DomainError)]
    return [thing for thing in found if thing not in kinds]


def test_reasons_equal_the_enum_both_ways() -> None:
    values = error_reason_pb2.ErrorReason.DESCRIPTOR.values
    public = {value.name.removeprefix("ERROR_REASON_") for value in values} - {"UNSPECIFIED"}
    assert sorted(refusal.reason for refusal in _refusals()) == sorted(public)


def test_the_status_is_the_one_that_the_contract_names() -> None:
    comments = {
        "CARD_UNKNOWN": "NOT_FOUND",
        "PRODUCT_UNKNOWN": "NOT_FOUND",
        "LOAD_UNKNOWN": "NOT_FOUND",
        "CARD_EXISTS": "ALREADY_EXISTS",
        "CARD_NUMBER_INVALID": "INVALID_ARGUMENT",
        "PRODUCT_RULES_CONTRADICT": "INVALID_ARGUMENT",
    }
    for refusal in _refusals():
        assert status_code(refusal()).name == comments.get(refusal.reason, "FAILED_PRECONDITION")
