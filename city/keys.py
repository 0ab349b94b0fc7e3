"""The key file of a local city: test keys made from a public seed, sealed as real ones would be.

Only a deployment marked as test opens it. Whoever simulates cards and terminals makes the same keys by `city_keys()`.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from city.names import DEFAULT_ROOT
from city.processes import exclusive, write_secret
from libs.keystore.dev import LOCAL_CITY_SEED, create_test_keystore, demo_keystore
from libs.keystore.sealed import Passphrase
from libs.keystore.soft import SoftKeyStore
from libs.purse.scheme import Scheme
from libs.records.numbers import Role, institution_bytes, institution_id

# The city code that the interconnected card gives to Shenzhen, whose real day the demo lives.
CITY_CODE = "5840"
# [convention] The region is not published: 00.
ISSUER_ID = institution_id(Role.ISSUER, "00", CITY_CODE) + "FFFFFFFF"
_ISSUERS = tuple((scheme, institution_bytes(ISSUER_ID)) for scheme in Scheme)


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """What a service needs to use the city's keys.

    Attributes:
        key_file: The sealed keys.
        passphrase_file: What opens it; the whole file is the passphrase, mode 0600.
    """

    key_file: Path
    passphrase_file: Path


def city_keys() -> SoftKeyStore:
    """The same keys in this process only, for those who personalise cards and terminals."""
    return demo_keystore(LOCAL_CITY_SEED, _ISSUERS)


def ensure_key_file(root: Path = DEFAULT_ROOT) -> KeyFiles:
    """The key file of a root; made when it or its passphrase is missing."""
    folder = root.absolute() / "keys"
    files = KeyFiles(folder / "city.keys", folder / "passphrase")
    with exclusive(root.absolute() / "keys.lock"):
        if not (files.key_file.exists() and files.passphrase_file.exists()):
            passphrase = secrets.token_urlsafe(32)
            # The file first: a crash in between leaves a passphrase that is missing, and both are made anew.
            files.passphrase_file.unlink(missing_ok=True)
            create_test_keystore(files.key_file, Passphrase(passphrase.encode()), LOCAL_CITY_SEED, _ISSUERS)
            write_secret(files.passphrase_file, passphrase)
    return files


def ensure_statement_key(root: Path = DEFAULT_ROOT) -> Path:
    """The key file that statements of a root are signed with (Ed25519, PEM, mode 0600); made when it is missing."""
    file = root.absolute() / "keys" / "statement.pem"
    with exclusive(root.absolute() / "keys.lock"):
        if not file.exists():
            form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_secret(file, Ed25519PrivateKey.generate().private_bytes(*form).decode())
    return file
