"""Reading the contract: the rules declared beside each method, the texts beside each reason."""

import importlib
import pkgutil
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

from citycard.common.v1 import method_pb2, types_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from libs.runtime.identity import Role
from libs.runtime.staff import StaffRole

# The reasons shared by all live in this file; naming it here keeps it in the descriptor pool.
COMMON_REASONS = types_pb2.ErrorReason.DESCRIPTOR.full_name
_ROLE_BY_NUMBER = {role.number: role for role in Role}
_STAFF_ROLE_BY_NUMBER = {role.number: role for role in StaffRole}
_REPEATABLE = (MethodOptions.IDEMPOTENT, MethodOptions.NO_SIDE_EFFECTS)


class ContractIncomplete(Exception):
    """A method lacks what every method must declare. It is found at start, not at the first call."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a method declares.

    Attributes:
        roles: Who may call it; never empty for a method of ours.
        timeout_ms: How long a caller waits, in milliseconds; 0 is no limit.
        repeatable: Whether a call without an answer may be sent again as it is.
        staff_roles: What the person beside the caller must be; empty when no person is asked for.
    """

    roles: frozenset[Role]
    timeout_ms: int
    repeatable: bool
    staff_roles: frozenset[StaffRole] = frozenset()


def service_descriptor(full_name: str) -> ServiceDescriptor:
    """The descriptor of a service whose generated module is loaded.

    Raises:
        KeyError: No loaded module has it.
    """
    return descriptor_pool.Default().FindServiceByName(full_name)


def services_offered() -> list[ServiceDescriptor]:
    """Every gRPC service of the contract, by full name; loads all generated modules."""
    import citycard

    found: dict[str, ServiceDescriptor] = {}
    for module in pkgutil.walk_packages(citycard.__path__, "citycard."):
        if module.name.endswith("_pb2"):
            found |= {one.full_name: one for one in _services_in(importlib.import_module(module.name))}
    return [found[name] for name in sorted(found)]


def _services_in(module: ModuleType) -> list[ServiceDescriptor]:
    return list(module.DESCRIPTOR.services_by_name.values())


def rules_of(method: MethodDescriptor) -> Rules:
    """The rules declared beside a method; no role at all when it declares none."""
    options = method.GetOptions()
    declared = options.Extensions[method_pb2.rules]
    return Rules(
        roles=frozenset(_ROLE_BY_NUMBER[number] for number in declared.roles if number in _ROLE_BY_NUMBER),
        timeout_ms=declared.timeout_ms,
        repeatable=options.idempotency_level in _REPEATABLE,
        staff_roles=frozenset(
            _STAFF_ROLE_BY_NUMBER[number] for number in declared.staff_roles if number in _STAFF_ROLE_BY_NUMBER
        ),
    )


@lru_cache(maxsize=2048)
def rules_by_name(method: str) -> Rules | None:
    """The rules of `package.Service/Method`; None when no loaded module has the method."""
    service, _, name = method.partition("/")
    try:
        return rules_of(service_descriptor(service).methods_by_name[name])
    except KeyError:
        return None


def required_rules(service_names: tuple[str, ...]) -> dict[str, Rules]:
    """The rules of every method of the services that a server offers, by full method name.

    Raises:
        ContractIncomplete: Naming all methods that nobody may call, or a service that is not loaded.
    """
    rules: dict[str, Rules] = {}
    for service_name in service_names:
        try:
            service = service_descriptor(service_name)
        except KeyError:
            raise ContractIncomplete(f"{service_name} is not a service of any loaded module") from None
        rules |= {f"{service_name}/{method.name}": rules_of(method) for method in service.methods}
    silent = sorted(method for method, declared in rules.items() if not declared.roles)
    if silent:
        raise ContractIncomplete("no (citycard.common.v1.rules).roles declared for " + ", ".join(silent))
    return rules


@dataclass(frozen=True, slots=True)
class ReasonText:
    """What people are told for one reason.

    Attributes:
        domain: Package of the enum that declares it, `citycard.card.v1`: the ErrorInfo domain.
        zh: Chinese template.
        en: English template.
    """

    domain: str
    zh: str
    en: str


@lru_cache(maxsize=1024)
def reason_text(service: str, reason: str) -> ReasonText | None:
    """The text of a reason, looked for among the service's own and then among the common ones; None when undeclared."""
    for enum_name in (f"citycard.{service}.v1.ErrorReason", COMMON_REASONS):
        try:
            values = descriptor_pool.Default().FindEnumTypeByName(enum_name).values_by_name
        except KeyError:
            continue
        value = values.get(f"ERROR_REASON_{reason}")
        if value is not None:
            text = value.GetOptions().Extensions[method_pb2.text]
            return ReasonText(enum_name.rpartition(".")[0], text.zh, text.en)
    return None
