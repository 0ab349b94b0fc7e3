"""Certificates of a running process: our own, rotated without a restart, and callers' that are no longer good."""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes

from libs.errors import CertificateExpired, CertificateRevoked
from libs.runtime.identity import Context
from libs.runtime.settings import ServiceSettings
from libs.runtime.watched import Watched

_PEM_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def server_credentials(settings: ServiceSettings) -> grpc.ServerCredentials:
    """Credentials of a server that takes up new certificate files at the next connection.

    Raises:
        ValueError, OSError: The files are not there, or the key is not that of the certificate.
    """

    def read() -> grpc.ServerCertificateConfiguration:
        key, chain = settings.tls_key_file.read_bytes(), settings.tls_cert_file.read_bytes()
        check_pair(key, chain)
        authorities = settings.tls_ca_file.read_bytes()
        x509.load_pem_x509_certificates(authorities)
        return grpc.ssl_server_certificate_configuration([(key, chain)], authorities)

    files = Watched([settings.tls_key_file, settings.tls_cert_file, settings.tls_ca_file], read)

    def newest() -> grpc.ServerCertificateConfiguration | None:
        # gRPC asks at every handshake; None keeps what it has.
        return files.value if files.refresh() else None

    return grpc.dynamic_ssl_server_credentials(
        files.value,
        newest,  # type: ignore[arg-type]  # the stub forgets that None is an answer
        require_client_authentication=True,
    )


def check_pair(key: bytes, chain: bytes) -> None:
    """Whether a private key belongs to the first certificate of a chain, both PEM.

    Raises:
        ValueError: It does not: a rotation is half done, or files were mixed up.
    """
    public = serialization.load_pem_private_key(key, password=None).public_key()
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if public.public_bytes(*form) != x509.load_pem_x509_certificates(chain)[0].public_key().public_bytes(*form):
        raise ValueError("the key is not that of the certificate")


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What is looked at in a caller's certificate at every call.

    Attributes:
        issuer: Name of the authority, DER.
        serial: Its number there.
        not_after: When it ends.
    """

    issuer: bytes
    serial: int
    not_after: datetime


@lru_cache(maxsize=4096)
def _peer_certificate(pem: bytes) -> PeerCertificate:
    certificate = x509.load_pem_x509_certificate(pem)
    return PeerCertificate(
        certificate.issuer.public_bytes(), certificate.serial_number, certificate.not_valid_after_utc
    )


def peer_certificate(context: Context) -> PeerCertificate | None:
    """The certificate of the connection that a call came over; None without TLS."""
    auth: dict[str, Any] = dict(context.auth_context())
    pem = next(iter(auth.get("x509_pem_cert", ())), b"")
    return _peer_certificate(bytes(pem)) if pem else None


class Revocations:
    """Certificates that the authorities took back before their end.

    Args:
        lists: File of PEM revocation lists (CRL), one or more, each signed by an authority of `authorities`; re-read
            when it changes. A list that is not well signed is refused whole, and the one before it stays.
        authorities: File of PEM certificates that callers descend from.

    Raises:
        ValueError, OSError: The first reading failed.
    """

    def __init__(self, lists: Path, authorities: Path) -> None:
        self._watched = Watched([lists, authorities], lambda: _revoked(lists.read_bytes(), authorities.read_bytes()))

    def refresh(self) -> bool:
        """Look at the files; True when there is a new list."""
        return self._watched.refresh()

    def __contains__(self, certificate: PeerCertificate) -> bool:
        return (certificate.issuer, certificate.serial) in self._watched.value


def check_peer(certificate: PeerCertificate, revocations: Revocations | None, now: datetime) -> None:
    """A connection outlives a handshake by days: look again at every call.

    Raises:
        CertificateRevoked: It was taken back.
        CertificateExpired: It has ended since the connection began.
    """
    if revocations is not None and certificate in revocations:
        raise CertificateRevoked(serial=f"{certificate.serial:x}")
    if certificate.not_after < now:
        raise CertificateExpired(serial=f"{certificate.serial:x}", not_after=certificate.not_after.isoformat())


def _revoked(lists: bytes, authorities: bytes) -> frozenset[tuple[bytes, int]]:
    keys: dict[bytes, CertificateIssuerPublicKeyTypes] = {}
    for certificate in x509.load_pem_x509_certificates(authorities):
        public = certificate.public_key()
        keys[certificate.subject.public_bytes()] = public  # type: ignore[assignment]  # an authority signs
    found: set[tuple[bytes, int]] = set()
    whole = _PEM_LIST.findall(lists)
    # An empty file would let everybody back in, and so would half a file: the authority's list of nobody is a list.
    if not whole or len(whole) != lists.count(b"-----BEGIN X509 CRL-----"):
        raise ValueError("the file is not one of whole revocation lists")
    for pem in whole:
        one = x509.load_pem_x509_crl(pem)
        issuer = one.issuer.public_bytes()
        key = keys.get(issuer)
        if key is None or not one.is_signature_valid(key):
            raise ValueError("a revocation list is not signed by an authority that callers descend from")
        found.update((issuer, entry.serial_number) for entry in one)
    return frozenset(found)
