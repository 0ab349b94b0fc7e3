"""Who calls: the name in the caller's certificate, and what it may own."""

import enum
import re
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import grpc
from citycard.common.v1 import method_pb2

from libs.errors import CallerUnknown, DomainError, NotYours, StaffTokenRequired
from libs.runtime.staff import Staff

# What a servicer method is handed beside the request.
Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class Role(enum.StrEnum):
    """The kinds of callers, the first floor of authorisation; each is a value of `citycard.common.v1.Role`."""

    SERVICE = "service"
    PARTICIPANT = "participant"
    TERMINAL = "terminal"
    COLLECTOR = "collector"
    OUTLET = "outlet"
    ADMINISTRATOR = "administrator"
    AUDITOR = "auditor"

    @property
    def number(self) -> "method_pb2.Role.ValueType":
        """The value of this role in the contract's enum."""
        return method_pb2.Role.Value(f"ROLE_{self.name}")


# Two names in the path: whose it is, and which. All others have one.
_OWNED = frozenset({Role.TERMINAL, Role.COLLECTOR})
# These see everybody's rows; what they may do to them, the roles of each method say.
_UNBOUND = frozenset({Role.SERVICE, Role.ADMINISTRATOR, Role.AUDITOR})
_SCHEME = "citycard://"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller, as its certificate proves it.

    Attributes:
        kind: Its role.
        id: Its name within the role: service, participant, terminal number, collector, outlet or person.
        participant: Whom it belongs to; a participant belongs to itself; None for service, outlet and staff.
    """

    kind: Role
    id: str
    participant: str | None = None

    @classmethod
    def parse(cls, uri: str) -> "Identity":
        """Read a URI name such as `citycard://terminal/metro/020100000123`.

        Raises:
            CallerUnknown: Not a name of ours: other scheme, unknown kind, wrong count or form of parts.
        """
        kind_name, *names = uri.removeprefix(_SCHEME).split("/")
        if not uri.startswith(_SCHEME) or kind_name not in set(Role):
            raise CallerUnknown
        kind = Role(kind_name)
        if len(names) != (2 if kind in _OWNED else 1) or not all(_NAME.fullmatch(name) for name in names):
            raise CallerUnknown
        if kind is Role.PARTICIPANT:
            return cls(kind, names[0], names[0])
        return cls(kind, names[-1], names[0] if kind in _OWNED else None)

    @property
    def uri(self) -> str:
        """The name as it stands in the certificate."""
        owner = f"{self.participant}/" if self.kind in _OWNED else ""
        return f"{_SCHEME}{self.kind}/{owner}{self.id}"

    def __str__(self) -> str:
        return self.uri

    def may_see(self, participant: str) -> bool:
        """Whether rows of this participant are open to the caller; lists filter by it instead of refusing."""
        return self.kind in _UNBOUND or self.participant == participant

    def must_own(self, participant: str) -> None:
        """Let pass services, staff, and whoever belongs to this participant.

        Raises:
            NotYours: The caller belongs to another participant, or to none.
        """
        if not self.may_see(participant):
            raise NotYours


@dataclass(slots=True, eq=False)
class Call:
    """What the chassis knows of the call that is being answered.

    Attributes:
        method: Full name without the leading slash, `citycard.card.v1.CardService/ReportLoss`.
        identity: The caller; None until authenticated, and for ever on the plaintext health port.
        trace_id: 32 hexadecimal digits, in logs and in the answer to a defect.
        status: How it ended, by status name; OK until refused.
        reason: The public reason when refused.
        staff: The person who came with the caller; None without a staff token.
        ended_by: Why the chassis itself cancelled the call.
    """

    method: str
    identity: Identity | None = None
    trace_id: str = ""
    status: str = "OK"
    reason: str = ""
    staff: Staff | None = None
    ended_by: DomainError | None = None


# One RPC is one task, and a task has one context: no reset is ever needed.
CURRENT_CALL: ContextVar[Call | None] = ContextVar("citycard_call", default=None)


def current_call() -> Call:
    """The call being answered in this task.

    Raises:
        LookupError: No call is being answered here: a background loop, or a test that did not say who calls
            (`libs.testkit.calls.calling`).
    """
    call = CURRENT_CALL.get()
    if call is None:
        raise LookupError("no call is being answered in this task")
    return call


def caller(context: Context) -> Identity:
    """Who makes this call, as the chassis proved it.

    Raises:
        CallerUnknown: The method was reached without authentication.
        LookupError: Outside of a call.
    """
    identity = current_call().identity
    if identity is None:
        raise CallerUnknown
    return identity


def staff(context: Context) -> Staff:
    """The person who came with this call, as a staff token proved it.

    Raises:
        StaffTokenRequired: There was none.
        LookupError: Outside of a call.
    """
    call = current_call()
    if call.staff is None:
        raise StaffTokenRequired(method=call.method)
    return call.staff


@lru_cache(maxsize=4096)
def _identity_of_names(names: tuple[bytes, ...]) -> Identity:
    uris = [name.decode("utf-8", "replace") for name in names if name.startswith(_SCHEME.encode())]
    # Two names of ours in one certificate would let the holder choose who it is.
    if len(uris) != 1:
        raise CallerUnknown
    return Identity.parse(uris[0])


def identity_of_peer(context: Context) -> Identity:
    """Read the caller's name from the certificate of the connection.

    Raises:
        CallerUnknown: No certificate, or none or several names of ours in it.
    """
    return _identity_of_names(tuple(context.auth_context().get("x509_subject_alternative_name", ())))
