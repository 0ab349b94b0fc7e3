"""Every method of every service, called as every role: docs/reference/access.md is the list of who is let in.

The page is generated from the protos and reviewed as text, so a role that slips into a proto is a change of a page; the
test holds the running call chain against it. Behind the chain stands a servicer built from the descriptors that counts
what reaches it.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import grpc
import pytest
from citycard.account.v1 import account_service_pb2
from citycard.blacklist.v1 import blacklist_service_pb2
from citycard.card.v1 import card_service_pb2
from citycard.clearing.v1 import (
    apportionment_service_pb2,
    calendar_service_pb2,
    clearing_service_pb2,
    day_service_pb2,
    dispute_service_pb2,
    replay_service_pb2,
    settlement_service_pb2,
    statement_service_pb2,
    suspense_service_pb2,
)
from citycard.participant.v1 import participant_service_pb2
from citycard.terminal_gw.v1 import terminal_gw_service_pb2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from libs.runtime.client import TlsFiles
from libs.runtime.identity import Role
from libs.runtime.refusals import error_info
from libs.runtime.server import ServiceParts
from libs.testkit.echo import EchoSettings
from libs.testkit.server import RunningServer, TestCertificates, a_settings, running_server

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    account_service_pb2,
    apportionment_service_pb2,
    blacklist_service_pb2,
    calendar_service_pb2,
    card_service_pb2,
    clearing_service_pb2,
    day_service_pb2,
    dispute_service_pb2,
    participant_service_pb2,
    replay_service_pb2,
    settlement_service_pb2,
    statement_service_pb2,
    suspense_service_pb2,
    terminal_gw_service_pb2,
)
SERVICES: list[ServiceDescriptor] = [one for module in MODULES for one in module.DESCRIPTOR.services_by_name.values()]
CALLERS = {
    Role.SERVICE: "citycard://service/account",
    Role.PARTICIPANT: "citycard://participant/metro",
    Role.TERMINAL: "citycard://terminal/metro/020100000123",
    Role.COLLECTOR: "citycard://collector/metro/gate-1",
    Role.OUTLET: "citycard://outlet/12",
    Role.ADMINISTRATOR: "citycard://administrator/ann",
    Role.AUDITOR: "citycard://auditor/bob",
}
CALLS: Counter[str] = Counter()


@lru_cache
def page() -> dict[str, frozenset[Role]]:
    """What docs/reference/access.md says: full method name to roles."""
    allowed: dict[str, frozenset[Role]] = {}
    service = ""
    columns: list[str] = []
    for line in (ROOT / "docs" / "reference" / "access.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            service = line[3:]
        elif line.startswith("| method"):
            columns = cells
        elif found := re.match(r"\| `(\w+)` \|", line):
            roles = {Role(column) for column, cell in zip(columns, cells, strict=False) if cell == "●"}
            allowed[f"{service}/{found[1]}"] = frozenset(roles)
    return allowed


class Counting:
    """A servicer of any service: answers everything with an empty message and remembers what reached it."""

    def __init__(self, service: ServiceDescriptor) -> None:
        self._service = service
        self.reached: Counter[str] = Counter()

    def register(self, server: grpc.aio.Server) -> None:
        handlers = {method.name: self._handler(method) for method in self._service.methods}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(self._service.full_name, handlers),))

    def _handler(self, method: MethodDescriptor) -> Any:
        answer = message_factory.GetMessageClass(method.output_type)()

        async def single(request: Any, context: Any) -> Any:
            await self._take(method, request)
            return answer

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            await self._take(method, request)
            yield answer

        make = getattr(grpc, f"{shape(method)}_rpc_method_handler")
        request_class = message_factory.GetMessageClass(method.input_type)
        return make(
            stream if method.server_streaming else single,
            request_class.FromString,
            lambda sent: sent.SerializeToString(),
        )

    async def _take(self, method: MethodDescriptor, request: Any) -> None:
        self.reached[method.name] += 1
        if method.client_streaming:
            async for _ in request:
                pass


def shape(method: MethodDescriptor) -> str:
    return f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"


def sign_without_name(folder: Path, tls: TlsFiles) -> None:
    """Put in place of a certificate one of the same authority without a name of ours, as other systems may hold."""
    authority = x509.load_pem_x509_certificate(tls.ca.read_bytes())
    authority_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    key = serialization.load_pem_private_key(tls.key.read_bytes(), password=None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "citycard://administrator/ann")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=10))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("metro.example")]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    tls.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@asynccontextmanager
async def serving(service: ServiceDescriptor, folder: Path) -> AsyncIterator[tuple[RunningServer, Counting]]:
    servicer = Counting(service)
    certificates = TestCertificates(folder)
    settings = a_settings(certificates, EchoSettings)
    name = service.full_name.split(".")[1]
    parts = ServiceParts(name=name, register=servicer.register, service_names=(service.full_name,))
    async with running_server(parts, settings, certificates) as server:
        yield server, servicer


async def call(server: RunningServer, method: MethodDescriptor, as_: str) -> grpc.aio.AioRpcError | None:
    """Send an empty request; gives the refusal, or None."""
    request = message_factory.GetMessageClass(method.input_type)()
    stub = getattr(server.channel(as_), shape(method))(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda sent: sent.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )

    async def requests() -> AsyncIterator[Any]:
        yield request

    answer = stub(requests() if method.client_streaming else request, timeout=10)
    try:
        if method.server_streaming:
            async for _ in answer:
                pass
        else:
            await answer
    except grpc.aio.AioRpcError as error:
        return error
    return None


def told(outcome: Counter[str]) -> str:
    return f"{outcome.total()} calls, {outcome['allowed']} allowed, {outcome['refused']} refused"


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.full_name)
async def test_each_role_may_call_what_the_page_says_and_nothing_else(
    service: ServiceDescriptor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome: Counter[str] = Counter()
    async with serving(service, tmp_path) as (server, servicer):
        for method in service.methods:
            name = f"{service.full_name}/{method.name}"
            for role, caller in CALLERS.items():
                before = servicer.reached[method.name]
                refused = await call(server, method, caller)
                reached = servicer.reached[method.name] - before
                detail = error_info(refused) if refused else None
                if role in page()[name]:
                    # An empty request may still break a rule of the schema: that is looked at after the role.
                    assert detail is None or detail.reason == "REQUEST_MALFORMED", f"{role} {name}: {detail}"
                    # A stream is looked at message by message, so its servicer is reached before the first of them.
                    assert reached == (1 if detail is None or method.client_streaming else 0)
                    outcome["allowed"] += 1
                else:
                    assert detail is not None, f"{role} may not call {name}"
                    assert detail.code == grpc.StatusCode.PERMISSION_DENIED
                    assert (detail.reason, detail.facts) == ("ROLE_NOT_ALLOWED", {"role": role, "method": name})
                    assert reached == 0
                    outcome["refused"] += 1
    assert outcome.total() == len(service.methods) * len(Role)
    CALLS.update(outcome)
    with capsys.disabled():
        print(f"\n{service.full_name}: {told(outcome)}; so far {told(CALLS)}")


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.full_name)
async def test_a_certificate_without_a_name_of_ours_is_let_into_no_method(
    service: ServiceDescriptor, tmp_path: Path
) -> None:
    async with serving(service, tmp_path) as (server, servicer):
        sign_without_name(tmp_path, server.certificates.of("citycard://outlet/stranger"))
        for method in service.methods:
            refused = await call(server, method, "citycard://outlet/stranger")
            assert refused is not None
            assert error_info(refused).reason == "CALLER_UNKNOWN"
        assert not servicer.reached


def test_the_page_has_every_method_and_every_role_a_caller() -> None:
    methods = {f"{service.full_name}/{method.name}" for service in SERVICES for method in service.methods}
    assert set(page()) == methods
    assert set(CALLERS) == set(Role)
    assert all(page().values()), "a method that nobody may call is a mistake"
    packages = {path.parent.parent.name for path in (ROOT / "protos" / "citycard").rglob("*_service.proto")}
    assert {service.full_name.split(".")[1] for service in SERVICES} == packages


def test_an_auditor_changes_nothing_and_a_terminal_only_at_its_gateway() -> None:
    for service in SERVICES:
        for method in service.methods:
            roles = page()[f"{service.full_name}/{method.name}"]
            reads = method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
            assert reads or Role.AUDITOR not in roles, f"an auditor may {method.name}"
            at_gateway = ".terminal_gw." in service.full_name
            assert reads or at_gateway or Role.TERMINAL not in roles, f"a terminal may {method.name}"
