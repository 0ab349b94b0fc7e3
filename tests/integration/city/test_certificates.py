"""Development certificates and keys of a root."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from city.certificates import STAFF, Certificates
from city.keys import ISSUER_ID, city_keys, ensure_key_file
from city.names import SERVICES
from libs.clock import FixedClock
from libs.errors import CallerUnknown
from libs.keystore.errors import KeyFileUnreadable, PublicKeyRefused
from libs.keystore.sealed import Passphrase, SealedKeyStore
from libs.runtime.pki import CertificateAuthority
from libs.runtime.staff import StaffRole, StaffVerifier


def certificate_of(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_certificate_names_its_holder_and_this_machine(tmp_path: Path) -> None:
    files = Certificates(tmp_path).issue("terminal", "metro-1/020100000123")
    names = certificate_of(files.cert).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["citycard://terminal/metro-1/020100000123"]
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_names_that_differ_only_by_a_dash_get_files_of_their_own(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    assert certificates.issue("terminal", "a-b/c").key != certificates.issue("terminal", "a/b-c").key


@pytest.mark.parametrize(("kind", "name"), [("king", "x"), ("terminal", "no-owner"), ("service", "../card"), ("", "")])
def test_who_is_no_caller_gets_no_certificate(tmp_path: Path, kind: str, name: str) -> None:
    with pytest.raises(CallerUnknown):
        Certificates(tmp_path).issue(kind, name)


def test_a_certificate_is_kept_until_it_is_about_to_end(tmp_path: Path) -> None:
    first = Certificates(tmp_path).issue("participant", "metro-1")
    serial = certificate_of(first.cert).serial_number
    assert certificate_of(Certificates(tmp_path).issue("participant", "metro-1").cert).serial_number == serial
    authority = CertificateAuthority.load(tmp_path / "certificates")
    authority.issue("citycard://participant/metro-1", days=-1).write(first.cert.parent, first.cert.stem)
    renewed = certificate_of(Certificates(tmp_path).issue("participant", "metro-1").cert)
    assert renewed.not_valid_after_utc > datetime.now(UTC) + timedelta(days=30)


def test_certificates_of_a_removed_authority_are_made_anew(tmp_path: Path) -> None:
    first = Certificates(tmp_path).issue("service", "card")
    old = first.cert.read_bytes()
    for name in ("ca.crt", "ca.key"):
        (tmp_path / "certificates" / name).unlink()
    again = Certificates(tmp_path).issue("service", "card")
    assert again.cert.read_bytes() != old
    certificate_of(again.cert).verify_directly_issued_by(certificate_of(again.ca))


def test_services_and_staff_have_certificates_from_the_first_day(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    certificates.issue_basic()
    made = {path.stem for path in (tmp_path / "certificates").glob("*.key")}
    callers = {*(f"service+{service}" for service in SERVICES), *(f"{kind}+{name}" for kind, name in STAFF)}
    assert made == {"ca", "staff", *callers}


def test_the_list_of_services_is_that_of_the_event_bus() -> None:
    from libs.runtime import events

    assert set(SERVICES) == set(events.SERVICES)


def test_the_key_file_opens_with_its_passphrase_in_a_test_deployment_only(tmp_path: Path) -> None:
    files = ensure_key_file(tmp_path)
    unlock = Passphrase(files.passphrase_file.read_bytes())
    keys = SealedKeyStore.open(files.key_file, unlock, deployment="test")
    assert {handle.issuer.hex().upper() for handle in keys.handles()} == {ISSUER_ID}
    for handle in keys.handles():
        assert keys.check_value(handle) == city_keys().check_value(handle)
    with pytest.raises(PublicKeyRefused):
        SealedKeyStore.open(files.key_file, unlock, deployment="production")
    with pytest.raises(KeyFileUnreadable):
        SealedKeyStore.open(files.key_file, Passphrase(b"guess"), deployment="test")


def test_a_key_file_is_kept_and_a_half_made_one_is_made_again(tmp_path: Path) -> None:
    files = ensure_key_file(tmp_path)
    sealed = files.key_file.read_bytes()
    assert files.passphrase_file.stat().st_mode & 0o077 == 0
    assert ensure_key_file(tmp_path) == files
    assert files.key_file.read_bytes() == sealed
    files.passphrase_file.unlink()
    ensure_key_file(tmp_path)
    unlock = Passphrase(files.passphrase_file.read_bytes())
    assert SealedKeyStore.open(files.key_file, unlock, deployment="test").handles()


def test_a_revoked_certificate_is_listed_and_the_next_one_is_another(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    assert not certificates.revoke("participant", "metro-1")
    first = x509.load_pem_x509_certificate(certificates.issue("participant", "metro-1").cert.read_bytes())
    assert certificates.revoke("participant", "metro-1")
    assert certificates.issue("participant", "bus-1").cert.exists()
    second = x509.load_pem_x509_certificate(certificates.issue("participant", "metro-1").cert.read_bytes())
    assert certificates.revoke("participant", "bus-1")
    listed = {one.serial_number for one in x509.load_pem_x509_crl(certificates.revoked_file.read_bytes())}
    assert first.serial_number in listed
    assert second.serial_number not in listed
    assert len(listed) == 2


def test_a_staff_token_names_roles_that_there_are(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    now = datetime(2018, 9, 1, tzinfo=UTC)
    verifier = StaffVerifier(certificates.staff_keys_file, FixedClock(now), timedelta(hours=12))
    person = verifier.verify(certificates.staff_token("0017", ["supervisor"], now, "12"))
    assert (person.id, person.roles, person.outlet) == ("0017", {StaffRole.SUPERVISOR}, "12")
    with pytest.raises(ValueError, match="king"):
        certificates.staff_token("0017", ["king"], now)
