"""Who vouches for a list: ECDSA over P-256 with SHA-256, 64 bytes r and s, the same for the same bytes."""

import hashlib
from collections.abc import Iterable
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from libs.cardlist.errors import Fault, ListRefused

SIGNATURE_LENGTH: Final = 64
KEY_ID_LENGTH: Final = 8


class Signer(Protocol):
    """Whoever holds the key; a hardware module fits behind it."""

    @property
    def key_id(self) -> bytes:
        """Names the key, 8 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        ...


class Verifier(Protocol):
    """Whoever knows which keys are trusted."""

    def verify(self, key_id: bytes, message: bytes, signature: bytes) -> None:
        """Return only for a right signature.

        Raises:
            ListRefused: SIGNER: no key of this name is trusted. SIGNATURE: it is not over this message.
        """
        ...


def key_id(key: ec.EllipticCurvePublicKey) -> bytes:
    """First 8 bytes of the SHA-256 of the public key (SubjectPublicKeyInfo, DER)."""
    packed = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(packed).digest()[:KEY_ID_LENGTH]


class EcdsaSigner:
    """Signs with a private key in memory, such as that of the service's certificate."""

    __slots__ = ("_key", "_key_id")

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        assert isinstance(key.curve, ec.SECP256R1), "signatures of 64 bytes belong to P-256"
        self._key = key
        self._key_id = key_id(key.public_key())

    @property
    def key_id(self) -> bytes:
        """Names the key, 8 bytes."""
        return self._key_id

    def sign(self, message: bytes) -> bytes:
        """64 bytes; RFC 6979 nonces, so that one list has one file."""
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class EcdsaVerifier:
    """Trusts the keys it is given; two of them while one takes the place of the other."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[ec.EllipticCurvePublicKey]) -> None:
        self._keys = {key_id(key): key for key in keys}

    def verify(self, key_id: bytes, message: bytes, signature: bytes) -> None:
        """Return only for a right signature; raises `ListRefused`."""
        key = self._keys.get(key_id)
        if key is None:
            raise ListRefused(Fault.SIGNER, key_id=key_id.hex())
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        try:
            key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise ListRefused(Fault.SIGNATURE, key_id=key_id.hex()) from None
