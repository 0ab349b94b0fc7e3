"""Holders at rest: AES-256-GCM under a key from a file, bound to the card that they belong to.

Stored form: version 01 (1 byte), nonce (12), cipher text and tag. The purse's name is authenticated with it, so that a
row that is moved to another card does not open.
"""

import json
import os
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.card.domain.holder import Holder

_VERSION = b"\x01"
_NONCE_SIZE = 12
_SECRET_SIZE_MIN = 32


class HolderCipher:
    """Seals and opens holders.

    Args:
        secret: At least 32 random bytes.
    """

    __slots__ = ("_cipher",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _SECRET_SIZE_MIN:
            raise ValueError(f"the holder key needs at least {_SECRET_SIZE_MIN} bytes")
        self._cipher = AESGCM(HKDF(SHA256(), 32, None, b"citycard holder").derive(secret))

    @classmethod
    def from_file(cls, path: Path) -> "HolderCipher":
        """The whole file is the secret.

        Raises:
            ValueError: It is shorter than 32 bytes.
            OSError: It cannot be read.
        """
        return cls(path.read_bytes())

    def seal(self, holder: Holder, purse: str) -> bytes:
        """Encipher a holder for a purse, `jt-….1`."""
        plain = json.dumps(
            [holder.display_name, holder.certificate_type, holder.certificate_number], ensure_ascii=False
        ).encode()
        nonce = os.urandom(_NONCE_SIZE)
        return _VERSION + nonce + self._cipher.encrypt(nonce, plain, _VERSION + purse.encode())

    def open(self, sealed: bytes, purse: str) -> Holder:
        """The reverse of `seal`.

        Raises:
            InvalidTag: Another key, another purse, or changed bytes.
        """
        nonce, cipher_text = sealed[1 : 1 + _NONCE_SIZE], sealed[1 + _NONCE_SIZE :]
        plain = self._cipher.decrypt(nonce, cipher_text, sealed[:1] + purse.encode())
        return Holder(*json.loads(plain))
