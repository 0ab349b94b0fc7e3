"""How we say no: one base class, a kind for every status, the reasons that all services share.

A kind decides the status code, a concrete class names the public reason, the keyword facts are every varying part.
Nothing here knows gRPC: the domain imports this module. `libs.runtime.refusals` turns an error into a status.
"""

from typing import ClassVar


class DomainError(Exception):
    """Something that is refused, with a reason that is public for ever and facts that vary.

    Attributes:
        reason: Name in the service's `ErrorReason` enum without its prefix, such as `CARD_CLOSED`.
        service: Whose enum that is; empty means the service that answers, `common` the reasons shared by all.
        facts: The varying parts as text; they fill `{fact}` in the message and travel as ErrorInfo metadata.
    """

    reason: ClassVar[str] = ""
    service: ClassVar[str] = ""

    def __init__(self, **facts: object) -> None:
        if not self.reason:
            raise TypeError(f"{type(self).__name__} names no reason: raise a concrete error")
        self.facts: dict[str, str] = {name: str(value) for name, value in facts.items()}
        super().__init__(self.reason)

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.reason} ({facts})" if facts else self.reason

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle by positional arguments; ours has none, and a process pool must not lose the facts.
        return (_rebuild, (type(self), self.facts))


def _rebuild(kind: type[DomainError], facts: dict[str, str]) -> DomainError:
    return kind(**facts)


class Refusal(DomainError):
    """The state of things forbids it (FAILED_PRECONDITION)."""


class NotFound(DomainError):
    """There is no such thing (NOT_FOUND)."""


class AlreadyExists(DomainError):
    """There is one already (ALREADY_EXISTS)."""


class Conflict(DomainError):
    """Somebody else changed it meanwhile; read again and retry (ABORTED)."""


class InvalidInput(DomainError):
    """The request makes no sense whatever the state (INVALID_ARGUMENT)."""


class Forbidden(DomainError):
    """The caller is known and may not (PERMISSION_DENIED)."""


class Unauthenticated(DomainError):
    """The caller is not known (UNAUTHENTICATED)."""


class LimitReached(DomainError):
    """A limit is used up (RESOURCE_EXHAUSTED).

    It is a kind and, raised itself, the common reason: `raise LimitReached(limit="page_size")`.
    """

    reason = "LIMIT_REACHED"


class Unavailable(DomainError):
    """Try again later, the same request may succeed (UNAVAILABLE)."""


class DataLost(DomainError):
    """Stored data is gone or does not match its digest (DATA_LOSS)."""


class RequestMalformed(InvalidInput):
    """A field breaks a rule. Facts `field` and `description` become the field violation of the answer."""

    reason = "REQUEST_MALFORMED"
    service = "common"


class CallerUnknown(Unauthenticated):
    """The caller's certificate names nobody we know how to address."""

    reason = "CALLER_UNKNOWN"
    service = "common"


class RoleNotAllowed(Forbidden):
    """The caller's role may not call this method. Facts: `role`, `method`."""

    reason = "ROLE_NOT_ALLOWED"
    service = "common"


class CertificateRevoked(Unauthenticated):
    """The caller's certificate was taken back. Fact: `serial`, hexadecimal."""

    reason = "CERTIFICATE_REVOKED"
    service = "common"


class CertificateExpired(Unauthenticated):
    """The caller's certificate has ended since the connection began. Facts: `serial`, `not_after`."""

    reason = "CERTIFICATE_EXPIRED"
    service = "common"


class StaffTokenInvalid(Unauthenticated):
    """The staff token proves nobody. Fact: `why`."""

    reason = "STAFF_TOKEN_INVALID"
    service = "common"


class StaffTokenRequired(Forbidden):
    """The method asks for a person, and no staff token came with the call. Fact: `method`."""

    reason = "STAFF_TOKEN_REQUIRED"
    service = "common"


class StaffRoleNotAllowed(Forbidden):
    """The person's roles do not allow this method, or not at this outlet. Facts: `staff`, `roles`, `method`."""

    reason = "STAFF_ROLE_NOT_ALLOWED"
    service = "common"


class SamePerson(Forbidden):
    """Two persons are needed, and the second is the first. Fact: `staff`."""

    reason = "SAME_PERSON"
    service = "common"


class NotYours(Forbidden):
    """The thing belongs to another participant. No facts: whose it is, is not the caller's business."""

    reason = "NOT_YOURS"
    service = "common"


class RequestIdReused(AlreadyExists):
    """The request id was used before with other content. Fact: `request_id`."""

    reason = "REQUEST_ID_REUSED"
    service = "common"


class DependencyUnavailable(Unavailable):
    """A part that this call needs does not answer. Fact: `dependency`."""

    reason = "DEPENDENCY_UNAVAILABLE"
    service = "common"


class PageTokenInvalid(InvalidInput):
    """The page token is not one that this list gave."""

    reason = "PAGE_TOKEN_INVALID"
    service = "common"
