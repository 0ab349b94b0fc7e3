"""Who calls, and what it may own."""

import pytest
from citycard.common.v1 import method_pb2

from libs.errors import CallerUnknown, NotYours
from libs.runtime.identity import Identity, Role, caller, identity_of_peer
from libs.testkit.calls import calling


class Peer:
    """A context that only knows the certificate of the connection."""

    def __init__(self, *names: bytes) -> None:
        self._names = names

    def auth_context(self) -> dict[str, tuple[bytes, ...]]:
        return {"x509_subject_alternative_name": self._names} if self._names else {}


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "citycard://",
        "citycard://service",
        "citycard://service/",
        "citycard://service/card/x",
        "citycard://terminal/123",
        "citycard://terminal//123",
        "citycard://king/arthur",
        "citycard://SERVICE/card",
        "https://service/card",
        "citycard://participant/me/../you",
        "citycard://participant/a b",
        "citycard://participant/" + "a" * 65,
        "citycard://administrator/wang\n",
    ],
)
def test_a_name_that_is_not_ours_is_refused(uri: str) -> None:
    with pytest.raises(CallerUnknown):
        Identity.parse(uri)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("citycard://service/clearing", Identity(Role.SERVICE, "clearing", None)),
        ("citycard://participant/metro", Identity(Role.PARTICIPANT, "metro", "metro")),
        ("citycard://terminal/metro/020100000123", Identity(Role.TERMINAL, "020100000123", "metro")),
        ("citycard://collector/bus/depot-7", Identity(Role.COLLECTOR, "depot-7", "bus")),
        ("citycard://outlet/12", Identity(Role.OUTLET, "12", None)),
        ("citycard://administrator/wang.li", Identity(Role.ADMINISTRATOR, "wang.li", None)),
        ("citycard://auditor/zhao", Identity(Role.AUDITOR, "zhao", None)),
    ],
)
def test_each_kind_of_name_is_read_and_written_back(uri: str, expected: Identity) -> None:
    assert Identity.parse(uri) == expected
    assert expected.uri == uri


def test_every_role_of_the_contract_has_a_kind() -> None:
    numbers = {value.number for value in method_pb2.Role.DESCRIPTOR.values} - {method_pb2.ROLE_UNSPECIFIED}
    assert {role.number for role in Role} == numbers


@pytest.mark.parametrize("who", ["citycard://participant/bus", "citycard://terminal/bus/1", "citycard://outlet/metro"])
def test_strangers_do_not_own(who: str) -> None:
    with pytest.raises(NotYours):
        Identity.parse(who).must_own("metro")


@pytest.mark.parametrize(
    "who",
    [
        "citycard://participant/metro",
        "citycard://terminal/metro/1",
        "citycard://service/card",
        "citycard://administrator/a",
        "citycard://auditor/a",
    ],
)
def test_owners_services_and_staff_pass(who: str) -> None:
    Identity.parse(who).must_own("metro")


def test_a_certificate_must_name_exactly_one_party() -> None:
    one, other = b"citycard://participant/metro", b"citycard://participant/bus"
    assert identity_of_peer(Peer(b"localhost", one, b"127.0.0.1")).id == "metro"  # type: ignore[arg-type]  # a fake
    for names in ((), (b"localhost",), (one, other), (b"\xff",)):
        with pytest.raises(CallerUnknown):
            identity_of_peer(Peer(*names))  # type: ignore[arg-type]  # a fake


def test_outside_of_a_call_there_is_no_caller() -> None:
    with pytest.raises(LookupError):
        caller(Peer())  # type: ignore[arg-type]  # a fake
    with calling("citycard://outlet/12"):
        assert caller(Peer()).id == "12"  # type: ignore[arg-type]  # a fake
