"""What the service promises in its protos."""

from citycard.blacklist.v1 import blacklist_pb2, error_reason_pb2

from libs.cardlist import Action
from libs.errors import DomainError
from libs.records import blacklist_file
from services.blacklist.domain import errors
from services.blacklist.domain.entry import ListMode, ListReason


def test_every_refusal_is_in_the_contract_and_nothing_more() -> None:
    raised = {one.reason for one in vars(errors).values() if isinstance(one, type) and issubclass(one, DomainError)}
    promised = {name.removeprefix("ERROR_REASON_") for name in dict(error_reason_pb2.ErrorReason.items())}
    assert raised - {""} == promised - {"UNSPECIFIED"}


def test_reasons_and_modes_have_the_numbers_of_contract_and_file() -> None:
    for ours, theirs, prefix in (
        (ListReason, blacklist_pb2.ListReason, "LIST_REASON_"),
        (ListMode, blacklist_pb2.ListMode, "LIST_MODE_"),
    ):
        assert {f"{prefix}{one.name}": one.value for one in ours} | {f"{prefix}UNSPECIFIED": 0} == dict(theirs.items())
    assert [one.value for one in ListReason] == [one.value for one in blacklist_file.ListReason]
    assert [one.value for one in ListMode][:2] == [one.value for one in blacklist_file.Mode]
    # One number means one thing in service, file and terminal.
    assert all(Action[one.name] == one for one in ListMode)
