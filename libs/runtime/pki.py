"""A small certificate authority for development and tests; a deployment brings certificates of its own."""

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from libs.runtime.client import TlsFiles
from libs.runtime.identity import Identity

# Clocks of two machines differ; a certificate made here must not be from the future there.
_SLACK = datetime.timedelta(minutes=10)
CA_NAME = "ca"


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write `<name>.crt` and `<name>.key`, the key readable by its owner only; returns both paths."""
        folder.mkdir(parents=True, exist_ok=True)
        cert, key = folder / f"{name}.crt", folder / f"{name}.key"
        cert.write_bytes(self.certificate)
        _write_secret(key, self.key)
        return cert, key


def _write_secret(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    # The mode is given at creation: between writing and chmod somebody could read.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class CertificateAuthority:
    """Issues certificates with the names that `identity` reads; ECDSA P-256 with SHA-256."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str = "City Card development CA", *, days: int = 3650) -> Self:
        """Make a new authority with a key of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject, subject, key, days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read an authority that `write` wrote.

        Raises:
            FileNotFoundError: There is none.
            ValueError, TypeError: The files are not what `write` writes.
        """
        certificate = x509.load_pem_x509_certificate((folder / f"{CA_NAME}.crt").read_bytes())
        key = serialization.load_pem_private_key((folder / f"{CA_NAME}.key").read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the key of the authority is not an elliptic curve key")
        return cls(certificate, key)

    @classmethod
    def load_or_create(cls, folder: Path) -> Self:
        """The authority of a folder, made at the first call."""
        if (folder / f"{CA_NAME}.key").exists():
            return cls.load(folder)
        authority = cls.create()
        authority.write(folder)
        return authority

    @property
    def certificate(self) -> bytes:
        """The authority's own certificate, PEM: what everybody trusts."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write `ca.crt` and `ca.key`; returns both paths."""
        return IssuedCertificate(self.certificate, _pem(self._key)).write(folder, CA_NAME)

    def issue(
        self,
        uri: str,
        *,
        dns: Sequence[str] = ("localhost",),
        ips: Sequence[str] = ("127.0.0.1",),
        days: int = 825,
    ) -> IssuedCertificate:
        """Issue a certificate for both sides of a connection.

        Args:
            uri: The party's name, `citycard://service/card`.
            dns: Host names under which it serves; empty for a mere client.
            ips: Addresses under which it serves.
            days: How long it is valid; negative makes an expired one, for tests.

        Raises:
            CallerUnknown: The name is not one that `Identity.parse` reads.
        """
        identity = Identity.parse(uri)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{identity.kind} {identity.id}"[:64])])
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
        names += [x509.DNSName(name) for name in dns]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ips]
        certificate = (
            _builder(subject, self._certificate.subject, key, days)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return IssuedCertificate(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))

    def revoke(self, serials: Sequence[int], *, days: int = 7) -> bytes:
        """A revocation list of all these certificates, PEM; it replaces the one before.

        Args:
            serials: Numbers of certificates of this authority; none makes an empty list.
            days: When the next list is due.
        """
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - _SLACK)
            .next_update(now + datetime.timedelta(days=days))
        )
        for serial in sorted(set(serials)):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue_files(self, uri: str, folder: Path, name: str | None = None) -> TlsFiles:
        """Issue and write; the folder also gets `ca.crt`.

        Args:
            uri: The party's name.
            folder: Where to write.
            name: File name without ending; made of the party's name when not given.
        """
        name = name or uri.removeprefix("citycard://").replace("/", "-")
        cert, key = self.issue(uri).write(folder, name)
        ca = folder / f"{CA_NAME}.crt"
        if not ca.exists():
            ca.write_bytes(self.certificate)
        return TlsFiles(ca, cert, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    begin = now - _SLACK if days > 0 else now + datetime.timedelta(days=days) - _SLACK
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
