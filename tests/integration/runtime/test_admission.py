"""Who is let in, while the process runs on: rotated and revoked certificates, persons, quotas."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.runtime import admission, watched
from libs.runtime.certificates import Revocations
from libs.runtime.client import TlsFiles, open_channel
from libs.runtime.pki import CertificateAuthority
from libs.runtime.quota import Quota
from libs.runtime.refusals import ErrorDetail, error_info
from libs.runtime.server import ServiceParts
from libs.runtime.staff import METADATA_KEY, StaffRole, StaffSigner
from libs.testkit.echo import SERVICE, EchoApi, EchoRequest, EchoSettings, EchoStub
from libs.testkit.server import RunningServer, TestCertificates, a_settings, running_server

PARTICIPANT, OUTLET = "citycard://participant/metro", "citycard://outlet/12"
NOW = EchoSettings.model_construct(clock_offset_s=0.0).clock().now


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at each time, open streams often."""
    monkeypatch.setattr(watched.Watched.__init__, "__kwdefaults__", {"every_s": 0.0})
    monkeypatch.setattr(admission, "_LOOK_S", 0.1)


@pytest.fixture
def certificates(tmp_path: Path) -> TestCertificates:
    return TestCertificates(tmp_path / "certificates")


@asynccontextmanager
async def echo(certificates: TestCertificates, **settings: Any) -> AsyncIterator[RunningServer]:
    parts = ServiceParts("echo", EchoApi().register, (SERVICE,))
    async with running_server(parts, a_settings(certificates, EchoSettings, **settings), certificates) as server:
        yield server


async def refusal(call: Any) -> ErrorDetail:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return error_info(refused.value)


def replace(files: TlsFiles, by: TlsFiles) -> None:
    for old, new in ((files.key, by.key), (files.cert, by.cert)):
        half = old.with_suffix(".half")
        shutil.copy(new, half)
        half.replace(old)


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


# --- rotation -------------------------------------------------------------------------------------------------------


async def test_a_server_shows_its_new_certificate_to_new_connections_and_keeps_the_old_ones(
    certificates: TestCertificates, tmp_path: Path
) -> None:
    import ssl

    async with echo(certificates) as server:
        mine, caller = certificates.of("citycard://service/echo"), certificates.of(PARTICIPANT)
        host, _, port = server.address.rpartition(":")

        async def shown() -> int:
            tls = ssl.create_default_context(cafile=str(mine.ca))
            tls.load_cert_chain(caller.cert, caller.key)
            tls.set_alpn_protocols(["h2"])
            _, writer = await asyncio.open_connection(host, int(port), ssl=tls)
            pem = ssl.DER_cert_to_PEM_cert(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
            writer.close()
            return x509.load_pem_x509_certificate(pem.encode()).serial_number

        stub = EchoStub(server.channel(PARTICIPANT))
        talking = stub.Talk()
        await talking.write(EchoRequest(text="before"))
        assert (await talking.read()).text == "BEFORE"
        first = await shown()
        assert first == serial(mine.cert)

        # Half a rotation: the certificate is there, its key is not. The old pair stays.
        authority = CertificateAuthority.load(tmp_path / "certificates")
        fresh = authority.issue_files("citycard://service/echo", tmp_path / "fresh")
        shutil.copy(fresh.cert, mine.cert)
        assert await shown() == first
        replace(mine, fresh)
        assert await shown() == serial(fresh.cert) != first

        await talking.write(EchoRequest(text="after"))
        assert (await talking.read()).text == "AFTER"
        talking.cancel()


async def test_a_client_calls_with_its_new_certificate_while_old_streams_end_in_peace(
    certificates: TestCertificates, tmp_path: Path
) -> None:
    seen: list[str] = []

    async def who(request: Any, context: Any) -> Any:
        seen.append(f"{context.peer()} {len(context.auth_context()['x509_pem_cert'][0])}")
        return request

    parts = ServiceParts("echo", EchoApi(who).register, (SERVICE,))
    async with running_server(parts, a_settings(certificates, EchoSettings), certificates) as server:
        mine = certificates.of(PARTICIPANT)
        async with open_channel(server.address, mine) as channel:
            stub = EchoStub(channel)
            talking = stub.Talk()
            await talking.write(EchoRequest(text="a"))
            assert (await talking.read()).text == "A"
            await stub.Echo(EchoRequest())
            await stub.Echo(EchoRequest())
            assert len(set(seen)) == 1
            authority = CertificateAuthority.load(tmp_path / "certificates")
            replace(mine, authority.issue_files(PARTICIPANT, tmp_path / "fresh"))
            await stub.Echo(EchoRequest())
            assert len(set(seen)) == 2
            await talking.write(EchoRequest(text="b"))
            assert (await talking.read()).text == "B"
            # A key that is not that of the certificate: calls go on as before.
            mine.key.write_bytes(certificates.of(OUTLET).key.read_bytes())
            await stub.Echo(EchoRequest())
            assert len(set(seen)) == 2


# --- revocation -----------------------------------------------------------------------------------------------------


@pytest.fixture
def revoked(certificates: TestCertificates, tmp_path: Path) -> Path:
    certificates.of(PARTICIPANT)
    path = tmp_path / "revoked.crl"
    path.write_bytes(CertificateAuthority.load(tmp_path / "certificates").revoke([]))
    return path


async def test_a_revoked_certificate_is_refused_at_once_and_its_open_streams_end_with_the_reason(
    certificates: TestCertificates, revoked: Path, tmp_path: Path
) -> None:
    async with echo(certificates, tls_revoked_file=revoked) as server:
        stub, other = EchoStub(server.channel(PARTICIPANT)), EchoStub(server.channel("citycard://participant/bus"))
        talking, others = stub.Talk(), other.Talk()
        for stream in (talking, others):
            await stream.write(EchoRequest(text="a"))
            assert (await stream.read()).text == "A"
        authority = CertificateAuthority.load(tmp_path / "certificates")
        write(revoked, authority.revoke([serial(certificates.of(PARTICIPANT).cert)]))
        assert (await refusal(stub.Echo(EchoRequest(), timeout=5))).reason == "CERTIFICATE_REVOKED"
        async with asyncio.timeout(5):
            ended = await refusal(talking.read())
        assert (ended.reason, ended.code) == ("CERTIFICATE_REVOKED", grpc.StatusCode.UNAUTHENTICATED)
        # Others are not disturbed, and health is not for the revoked either.
        await others.write(EchoRequest(text="b"))
        assert (await others.read()).text == "B"
        others.cancel()


async def test_a_list_that_the_authority_did_not_sign_changes_nothing(
    certificates: TestCertificates, revoked: Path, tmp_path: Path
) -> None:
    mine = serial(certificates.of(PARTICIPANT).cert)
    async with echo(certificates, tls_revoked_file=revoked) as server:
        stub = EchoStub(server.channel(PARTICIPANT))
        good = CertificateAuthority.load(tmp_path / "certificates").revoke([mine])
        for content in (
            CertificateAuthority.create().revoke([mine]),
            b"",
            good[:-40],
            good + good[:-40],
            good.replace(b"CRL", b"LRC"),
        ):
            write(revoked, content)
            assert (await stub.Echo(EchoRequest(text="in"))).text == "in"
        write(revoked, good)
        assert (await refusal(stub.Echo(EchoRequest()))).reason == "CERTIFICATE_REVOKED"
        # Emptying the file would let everybody back in: a list that was taken is only replaced by a list.
        write(revoked, b"")
        assert (await refusal(stub.Echo(EchoRequest()))).reason == "CERTIFICATE_REVOKED"


def test_a_service_does_not_start_with_a_list_that_it_cannot_believe(revoked: Path, tmp_path: Path) -> None:
    revoked.write_bytes(CertificateAuthority.create().revoke([1]))
    with pytest.raises(ValueError, match="not signed by an authority"):
        Revocations(revoked, tmp_path / "certificates" / "ca.crt")


# --- persons --------------------------------------------------------------------------------------------------------


@pytest.fixture
def signer(tmp_path: Path) -> StaffSigner:
    return StaffSigner.load_or_create(tmp_path / "staff")


@pytest.fixture
async def desk(
    certificates: TestCertificates, signer: StaffSigner, tmp_path: Path
) -> AsyncIterator[tuple[RunningServer, EchoStub]]:
    async with echo(certificates, staff_keys_file=tmp_path / "staff" / "staff.pub") as server:
        yield server, EchoStub(server.channel(OUTLET))


def approve(stub: EchoStub, token: str | None) -> Any:
    return stub.Approve(EchoRequest(), metadata=((METADATA_KEY, token),) if token is not None else None, timeout=5)


async def test_a_method_that_asks_for_a_person_learns_which_one(
    desk: tuple[RunningServer, EchoStub], signer: StaffSigner
) -> None:
    for roles in ((StaffRole.SUPERVISOR,), (StaffRole.CLERK, StaffRole.CHECKER)):
        token = signer.token("王芳-0017", roles, NOW(), outlet="12")
        assert (await approve(desk[1], token)).text == "王芳-0017"


async def test_without_a_token_or_with_the_wrong_role_or_outlet_the_method_is_refused(
    desk: tuple[RunningServer, EchoStub], signer: StaffSigner
) -> None:
    assert (await refusal(approve(desk[1], None))).reason == "STAFF_TOKEN_REQUIRED"
    clerk = signer.token("a", [StaffRole.CLERK], NOW())
    refused = await refusal(approve(desk[1], clerk))
    assert (refused.reason, refused.facts["staff"]) == ("STAFF_ROLE_NOT_ALLOWED", "a")
    elsewhere = signer.token("a", [StaffRole.SUPERVISOR], NOW(), outlet="13")
    assert (await refusal(approve(desk[1], elsewhere))).reason == "STAFF_ROLE_NOT_ALLOWED"
    # The certificate comes first: a token opens no door that is closed to the caller.
    stub = EchoStub(desk[0].channel("citycard://terminal/metro/1"))
    assert (await refusal(approve(stub, signer.token("a", StaffRole, NOW())))).reason == "ROLE_NOT_ALLOWED"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "no token",
        "e30.e30.",
        "x" * 5000,
        StaffSigner(Ed25519PrivateKey.generate()).token("a", StaffRole, NOW()),
    ],
)
async def test_what_proves_nobody_is_refused(
    desk: tuple[RunningServer, EchoStub], signer: StaffSigner, token: str
) -> None:
    assert (await refusal(approve(desk[1], token))).reason == (
        "STAFF_TOKEN_INVALID" if token else "STAFF_TOKEN_REQUIRED"
    )


@pytest.mark.parametrize(
    ("begins_h", "lasts_h", "why"),
    [(-2, 1, "expired"), (1, 1, "not valid yet"), (0, 13, "valid for longer than a token may be")],
)
async def test_a_token_is_good_in_its_time_only(
    desk: tuple[RunningServer, EchoStub], signer: StaffSigner, begins_h: int, lasts_h: int, why: str
) -> None:
    token = signer.token("a", StaffRole, NOW() + timedelta(hours=begins_h), lifetime=timedelta(hours=lasts_h))
    refused = await refusal(approve(desk[1], token))
    assert (refused.reason, refused.facts["why"]) == ("STAFF_TOKEN_INVALID", why)


async def test_every_changed_byte_of_a_token_is_found(
    desk: tuple[RunningServer, EchoStub], signer: StaffSigner
) -> None:
    token = signer.token("a", StaffRole, NOW())
    for at in range(0, len(token) - 2, 7):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert (await refusal(approve(desk[1], changed))).reason == "STAFF_TOKEN_INVALID", at


async def test_a_new_key_of_tokens_is_taken_up_and_an_old_one_given_up(
    desk: tuple[RunningServer, EchoStub], signer: StaffSigner, tmp_path: Path
) -> None:
    new = StaffSigner(Ed25519PrivateKey.generate())
    keys = tmp_path / "staff" / "staff.pub"
    keys.write_bytes(signer.public_key + new.public_key)
    for one in (signer, new):
        assert (await approve(desk[1], one.token("a", StaffRole, NOW()))).text == "a"
    keys.write_bytes(new.public_key)
    assert (await refusal(approve(desk[1], signer.token("a", StaffRole, NOW())))).reason == "STAFF_TOKEN_INVALID"


# --- quotas ---------------------------------------------------------------------------------------------------------


async def test_a_caller_that_asks_too_often_waits_and_others_do_not(certificates: TestCertificates) -> None:
    async with echo(certificates, quota=Quota(calls_per_s=2, burst=3, streams_max=1)) as server:
        stub, other = EchoStub(server.channel(PARTICIPANT)), EchoStub(server.channel("citycard://participant/bus"))
        for _ in range(3):
            await stub.Echo(EchoRequest())
        refused = await refusal(stub.Echo(EchoRequest()))
        assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
        assert refused.facts["limit"] == "calls_per_s"
        await other.Echo(EchoRequest())
        await asyncio.sleep(int(refused.facts["retry_after_ms"]) / 1000)
        await stub.Echo(EchoRequest())


async def test_streams_are_counted_and_given_back(certificates: TestCertificates) -> None:
    own = {"participant/metro": Quota(calls_per_s=100, burst=100, streams_max=2)}
    async with echo(certificates, quota=Quota(calls_per_s=100, burst=100, streams_max=0), quotas=own) as server:
        stub = EchoStub(server.channel(PARTICIPANT))
        open_ones = [stub.Talk() for _ in range(2)]
        for stream in open_ones:
            await stream.write(EchoRequest(text="a"))
            await stream.read()
        third = stub.Talk()
        refused = await refusal(third.read())
        assert (refused.reason, refused.facts["limit"]) == ("LIMIT_REACHED", "streams")
        open_ones[0].cancel()
        async with asyncio.timeout(5):
            while True:
                again = stub.Talk()
                await again.write(EchoRequest(text="b"))
                try:
                    assert (await again.read()).text == "B"
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
        # No quota of its own: none of the general one is left for streams.
        bus = EchoStub(server.channel("citycard://participant/bus")).Talk()
        assert (await refusal(bus.read())).reason == "LIMIT_REACHED"
