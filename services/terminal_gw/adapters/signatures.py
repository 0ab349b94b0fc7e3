"""Signatures of senders, by the key of their certificate (ECDSA P-256 with SHA-256)."""

from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from services.terminal_gw.domain.errors import SignatureWrong


@lru_cache(maxsize=4096)
def _public_key(certificate: bytes) -> ec.EllipticCurvePublicKey | None:
    try:
        key = x509.load_pem_x509_certificate(certificate).public_key()
    except ValueError:
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1) else None


class CertificateSignatures:
    """The port `Signatures`."""

    def verify(self, certificate: bytes, sha256: bytes, signature: bytes) -> None:
        """Let pass what this very certificate's key signed; a key of another kind signs nothing here.

        Raises:
            SignatureWrong: It did not.
        """
        key = _public_key(certificate)
        if key is None:
            raise SignatureWrong
        try:
            key.verify(signature, sha256, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise SignatureWrong from None
