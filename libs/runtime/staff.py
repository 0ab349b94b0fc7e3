"""Who sits at the desk: a signed, short-lived token beside the certificate, with the person's roles.

The certificate says which outlet or office calls, the token says which person. It is a JSON Web Token signed with
Ed25519 (`EdDSA`), issued by the city's sign-on system for one shift at most, and travels as call metadata.
"""

import enum
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from citycard.common.v1 import method_pb2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509 import load_pem_x509_certificate
from jwt.types import Options

from libs.clock import Clock
from libs.errors import SamePerson, StaffTokenInvalid
from libs.runtime.watched import Watched

METADATA_KEY = "citycard-staff-token"
AUDIENCE = "citycard"
# A token that is longer than any of ours is not read at all.
_TOKEN_BYTES_MAX = 4096
_LEEWAY = timedelta(seconds=30)


class StaffRole(enum.StrEnum):
    """What a person may do; each is a value of `citycard.common.v1.StaffRole`."""

    CLERK = "clerk"
    SUPERVISOR = "supervisor"
    MAKER = "maker"
    CHECKER = "checker"
    ACCOUNTANT = "accountant"
    KEY_CUSTODIAN = "key_custodian"

    @property
    def number(self) -> "method_pb2.StaffRole.ValueType":
        """The value of this role in the contract's enum."""
        return method_pb2.StaffRole.Value(f"STAFF_ROLE_{self.name}")


@dataclass(frozen=True, slots=True)
class Staff:
    """A person, as a token proves it.

    Attributes:
        id: Staff number.
        roles: What the person may do.
        outlet: Where; None means everywhere.
        token_id: Of this token, for the audit log.
        expires_at: When the token ends.
    """

    id: str
    roles: frozenset[StaffRole]
    outlet: str | None
    token_id: str
    expires_at: datetime

    def must_differ(self, maker_id: str) -> None:
        """The second of two persons must not be the first.

        Raises:
            SamePerson: It is.
        """
        if self.id == maker_id:
            raise SamePerson(staff=self.id)


class StaffVerifier:
    """Reads tokens.

    Args:
        keys_file: PEM Ed25519 public keys (or certificates) of who may issue tokens; re-read when it changes.
        clock: The time of this process.
        lifetime_max: A token that is valid for longer is refused, however well signed.

    Raises:
        ValueError, OSError: The first reading of the file failed.
    """

    def __init__(self, keys_file: Path, clock: Clock, lifetime_max: timedelta) -> None:
        self._keys = Watched([keys_file], lambda: _public_keys(keys_file.read_bytes()))
        self._clock = clock
        self._lifetime_max = lifetime_max

    def verify(self, token: str) -> Staff:
        """The person behind a token.

        Raises:
            StaffTokenInvalid: Signature, audience, time or content is not right; fact `why`.
        """
        if len(token) > _TOKEN_BYTES_MAX:
            raise StaffTokenInvalid(why="too long")
        try:
            key = self._keys.value.get(str(jwt.get_unverified_header(token).get("kid", "")))
            if key is None:
                raise StaffTokenInvalid(why="signed by a key that is not known here")
            # Times are compared below, by the clock of this process: a test deployment may live on another day.
            options: Options = {
                "require": ["exp", "iat", "sub", "aud", "jti"],
                "verify_exp": False,
                "verify_iat": False,
            }
            claims = jwt.decode(token, key, algorithms=["EdDSA"], audience=AUDIENCE, options=options)
            begins, ends = (datetime.fromtimestamp(int(claims[name]), UTC) for name in ("iat", "exp"))
            roles = frozenset(StaffRole(role) for role in claims.get("roles", ()))
        except jwt.InvalidTokenError as error:
            raise StaffTokenInvalid(why=str(error)[:100]) from None
        except (ValueError, TypeError, OverflowError):
            raise StaffTokenInvalid(why="its content is not that of a staff token") from None
        now = self._clock.now()
        if not begins - _LEEWAY <= now:
            raise StaffTokenInvalid(why="not valid yet")
        if ends < now:
            raise StaffTokenInvalid(why="expired")
        if ends - begins > self._lifetime_max:
            raise StaffTokenInvalid(why="valid for longer than a token may be")
        outlet = claims.get("outlet")
        return Staff(str(claims["sub"]), roles, str(outlet) if outlet else None, str(claims["jti"]), ends)


class StaffSigner:
    """Issues tokens, for development, training and tests; a city's sign-on system does it in production."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def load_or_create(cls, folder: Path) -> "StaffSigner":
        """The key `staff.key` of a folder, made at the first call, with `staff.pub` beside it."""
        path = folder / "staff.key"
        if path.exists():
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
            assert isinstance(key, Ed25519PrivateKey), "staff.key is written below"
            return cls(key)
        key = Ed25519PrivateKey.generate()
        folder.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        signer = cls(key)
        (folder / "staff.pub").write_bytes(signer.public_key)
        return signer

    @property
    def public_key(self) -> bytes:
        """PEM, for `staff_keys_file`."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def token(
        self,
        staff_id: str,
        roles: Iterable[StaffRole],
        now: datetime,
        *,
        outlet: str | None = None,
        lifetime: timedelta = timedelta(hours=1),
    ) -> str:
        """A token of a person.

        Args:
            staff_id: Staff number.
            roles: What the person may do.
            now: When it begins to be valid, by the clock of the services.
            outlet: Where it is good; everywhere by default.
            lifetime: For how long.
        """
        claims = {
            "aud": AUDIENCE,
            "sub": staff_id,
            "roles": sorted(roles),
            "iat": int(now.timestamp()),
            "exp": int((now + lifetime).timestamp()),
            "jti": secrets.token_hex(8),
            **({"outlet": outlet} if outlet else {}),
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": _key_id(self._key.public_key())})


def _key_id(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def _load_public(pem: bytes) -> object:
    return serialization.load_pem_public_key(pem)


def _public_keys(pem: bytes) -> dict[str, Ed25519PublicKey]:
    keys: dict[str, Ed25519PublicKey] = {}
    for block in pem.split(b"-----BEGIN ")[1:]:
        whole = b"-----BEGIN " + block
        certified = block.startswith(b"CERTIFICATE")
        key = load_pem_x509_certificate(whole).public_key() if certified else _load_public(whole)
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("a key of staff tokens is not an Ed25519 key")  # noqa: TRY004 (a content, not a call)
        keys[_key_id(key)] = key
    if not keys:
        raise ValueError("there is no public key in the file")
    return keys
