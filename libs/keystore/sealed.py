"""Master keys in one file, sealed with AES-256-GCM under a passphrase or a mounted secret file.

The file: `CCKEYS01`, kdf (1 byte: 1 scrypt, 2 HKDF), log2 N of scrypt (1), salt (16), nonce (12), cipher text and tag.
All before the cipher text is authenticated with it. The plain text is JSON: `{"test": bool, "keys": {label: hex}}`.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from libs.keystore.errors import KeyExists, KeyFileUnreadable, PublicKeyRefused
from libs.keystore.handles import KeyHandle
from libs.keystore.public_keys import is_public
from libs.keystore.rules import DerivationRules
from libs.keystore.soft import SoftKeyStore

Deployment = Literal["production", "test"]

_MAGIC = b"CCKEYS01"
_KDF_SCRYPT, _KDF_HKDF = 1, 2
_SALT_SIZE, _NONCE_SIZE, _SEALING_KEY_SIZE = 16, 12, 32
_HEADER_SIZE = len(_MAGIC) + 2 + _SALT_SIZE + _NONCE_SIZE
# N = 2**15 takes 32 MiB and about a tenth of a second: once per start, and dear enough for a guesser.
_SCRYPT_LOG2_N = 15
_SCRYPT_LOG2_N_MAX = 20
_SECRET_SIZE_MIN = 32


@dataclass(frozen=True, slots=True)
class Passphrase:
    """Opens a key file by something that a person knows."""

    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Secret:
    """Opens a key file by at least 32 random bytes, from a mounted secret."""

    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.value) < _SECRET_SIZE_MIN:
            raise KeyFileUnreadable(why="the secret is too short", size=len(self.value), size_min=_SECRET_SIZE_MIN)

    @classmethod
    def from_file(cls, path: Path) -> "Secret":
        """The whole file is the secret, whatever bytes it holds.

        Raises:
            KeyFileUnreadable: Absent, or shorter than 32 bytes.
        """
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise KeyFileUnreadable(file=path.name, why=error.strerror) from error


class SealedKeyStore(SoftKeyStore):
    """A `KeyStore` read from a sealed file; the keys live in this process's memory afterwards."""

    __slots__ = ()

    @classmethod
    def open(
        cls,
        path: Path,
        unlock: Passphrase | Secret,
        *,
        deployment: Deployment = "production",
        rules: DerivationRules | None = None,
    ) -> "SealedKeyStore":
        """Open a sealed key file.

        Raises:
            KeyFileUnreadable: Absent, damaged, or sealed by another passphrase.
            PublicKeyRefused: Test keys, or keys that everybody knows, outside of a test deployment.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise KeyFileUnreadable(file=path.name, why=error.strerror) from error
        test, keys = _unsealed(content, unlock, path.name)
        if deployment != "test":
            if test:
                raise PublicKeyRefused(file=path.name, why="the file holds test keys")
            refuse_public_keys(keys)
        return cls(keys, rules, exportable=test)


def refuse_public_keys(keys: Mapping[KeyHandle, bytes]) -> None:
    """Raise `PublicKeyRefused` for the first key that everybody knows."""
    for handle in sorted(keys):
        if is_public(keys[handle]):
            raise PublicKeyRefused(key=handle.label)


def seal(path: Path, unlock: Passphrase | Secret, keys: Mapping[KeyHandle, bytes], *, test: bool = False) -> None:
    """Write a sealed key file, mode 0600, atomically: a crash leaves the old file or the new one.

    Args:
        path: Where; an existing file is replaced.
        unlock: What will open it.
        keys: 16-byte master keys.
        test: Mark the file as one of test keys; only a test deployment opens it.

    Raises:
        PublicKeyRefused: Keys that everybody knows in a file that is not marked as test.
    """
    if not test:
        refuse_public_keys(keys)
    salt, nonce = os.urandom(_SALT_SIZE), os.urandom(_NONCE_SIZE)
    kdf, cost = (_KDF_SCRYPT, _SCRYPT_LOG2_N) if isinstance(unlock, Passphrase) else (_KDF_HKDF, 0)
    header = _MAGIC + bytes((kdf, cost)) + salt + nonce
    plain = json.dumps({"test": test, "keys": {handle.label: key.hex() for handle, key in sorted(keys.items())}})
    sealed = AESGCM(_sealing_key(unlock, kdf, cost, salt)).encrypt(nonce, plain.encode(), header)
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file 0600, whatever the umask.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "wb") as file:
        file.write(header + sealed)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(path)


def add_key(path: Path, unlock: Passphrase | Secret, handle: KeyHandle, key: bytes) -> None:
    """Put one more key into a sealed file, atomically; a file that does not exist is begun.

    Raises:
        KeyExists: The file holds a key of that name.
        KeyFileUnreadable: Damaged, or sealed by another passphrase.
        PublicKeyRefused: A key that everybody knows, in a file that is not marked as test.
    """
    test, keys = _unsealed(path.read_bytes(), unlock, path.name) if path.exists() else (False, {})
    if handle in keys:
        raise KeyExists(key=handle.label)
    seal(path, unlock, {**keys, handle: key}, test=test)


def _sealing_key(unlock: Passphrase | Secret, kdf: int, cost: int, salt: bytes) -> bytes:
    if kdf == _KDF_SCRYPT:
        return Scrypt(salt=salt, length=_SEALING_KEY_SIZE, n=1 << cost, r=8, p=1).derive(unlock.value)
    return HKDF(SHA256(), _SEALING_KEY_SIZE, salt, b"citycard key file").derive(unlock.value)


def _unsealed(content: bytes, unlock: Passphrase | Secret, name: str) -> tuple[bool, dict[KeyHandle, bytes]]:
    if len(content) <= _HEADER_SIZE or not content.startswith(_MAGIC):
        raise KeyFileUnreadable(file=name, why="not a sealed key file")
    header = content[:_HEADER_SIZE]
    kdf, cost = header[len(_MAGIC)], header[len(_MAGIC) + 1]
    expected = _KDF_SCRYPT if isinstance(unlock, Passphrase) else _KDF_HKDF
    # The cost stands in the file unauthenticated until the key is made: bound it, or a damaged byte eats the memory.
    if kdf != expected or cost > _SCRYPT_LOG2_N_MAX or (kdf == _KDF_SCRYPT and not cost):
        raise KeyFileUnreadable(file=name, why="sealed in another way", kdf=kdf)
    salt, nonce = header[10 : 10 + _SALT_SIZE], header[-_NONCE_SIZE:]
    try:
        plain = AESGCM(_sealing_key(unlock, kdf, cost, salt)).decrypt(nonce, content[_HEADER_SIZE:], header)
    except InvalidTag:
        raise KeyFileUnreadable(file=name, why="wrong passphrase, or the file was changed") from None
    document = json.loads(plain)
    return document["test"], {
        KeyHandle.from_label(label): bytes.fromhex(key) for label, key in document["keys"].items()
    }
