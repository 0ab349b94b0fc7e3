"""The key that signs compact lists, and those that terminals must believe."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from libs.cardlist import EcdsaSigner, EcdsaVerifier
from libs.cardlist.signing import key_id
from libs.runtime.settings import ENV_PREFIX, SettingsInvalid


def read_signing_key(path: Path, variable: str) -> ec.EllipticCurvePrivateKey:
    """A P-256 private key from a PEM file.

    Raises:
        SettingsInvalid: There is no such file, or it holds something else.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SettingsInvalid(
            [f"{ENV_PREFIX}{variable}: no private key can be read: {type(error).__name__}"]
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SettingsInvalid([f"{ENV_PREFIX}{variable}: the key is not of the curve P-256"])
    return key


def read_public_keys(path: Path, variable: str) -> list[ec.EllipticCurvePublicKey]:
    """P-256 public keys from a PEM file, bare or in certificates, as many as it holds.

    Raises:
        SettingsInvalid: There is no such file, or it holds something else.
    """
    keys: list[ec.EllipticCurvePublicKey] = []
    try:
        for block in _blocks(path.read_bytes()):
            found = (
                x509.load_pem_x509_certificate(block).public_key()
                if b"CERTIFICATE" in block
                else serialization.load_pem_public_key(block)
            )
            if not isinstance(found, ec.EllipticCurvePublicKey) or not isinstance(found.curve, ec.SECP256R1):
                raise SettingsInvalid([f"{ENV_PREFIX}{variable}: a key is not of the curve P-256"])
            keys.append(found)
    except (OSError, ValueError) as error:
        raise SettingsInvalid([f"{ENV_PREFIX}{variable}: no public key can be read: {type(error).__name__}"]) from error
    if not keys:
        raise SettingsInvalid([f"{ENV_PREFIX}{variable}: holds no public key"])
    return keys


def _blocks(pem: bytes) -> list[bytes]:
    blocks, block = [], b""
    for line in pem.splitlines(keepends=True):
        block += line
        if line.startswith(b"-----END"):
            blocks.append(block[block.index(b"-----BEGIN") :])
            block = b""
    return blocks


class ListKeys:
    """What signs, and what is to be believed.

    Args:
        signing: In use.
        others: That will be, or were; terminals believe them too.
    """

    def __init__(self, signing: ec.EllipticCurvePrivateKey, others: list[ec.EllipticCurvePublicKey]) -> None:
        self.public_keys = [signing.public_key(), *others]
        self.signer = EcdsaSigner(signing)
        self.verifier = EcdsaVerifier(self.public_keys)

    def announced(self) -> list[tuple[bytes, bytes]]:
        """Key id and SubjectPublicKeyInfo of each, the one in use first."""
        encoded = [
            key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            for key in self.public_keys
        ]
        return [(key_id(key), data) for key, data in zip(self.public_keys, encoded, strict=True)]
