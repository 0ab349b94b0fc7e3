"""The centre's key for statements: Ed25519 from a PEM file."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from libs.statements import SIGNED_TEXT, key_id


class Signer:
    """Signs statements; without a key file it says so, and nothing else suffers."""

    def __init__(self, key_file: Path | None) -> None:
        """Read the key.

        Raises:
            ValueError: The file holds something else than an Ed25519 private key.
        """
        self._key: Ed25519PrivateKey | None = None
        if key_file is not None:
            key = load_pem_private_key(key_file.read_bytes(), password=None)
            if not isinstance(key, Ed25519PrivateKey):
                raise ValueError(f"{key_file.name} is no Ed25519 private key")
            self._key = key

    @property
    def key_id(self) -> str:
        """Id of the key; empty without one."""
        return key_id(self._key.public_key()) if self._key else ""

    @property
    def public_key_pem(self) -> str:
        """The public key; empty without one."""
        if self._key is None:
            return ""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, document: bytes) -> bytes:
        """64 bytes over the text of the purpose and the document."""
        assert self._key is not None, "the caller looks for a key first"
        return self._key.sign(SIGNED_TEXT + document)
