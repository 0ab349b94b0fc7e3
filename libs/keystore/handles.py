"""What a key is called. A handle is safe to log, to store and to send; it never holds key bytes."""

from dataclasses import dataclass
from enum import StrEnum

from libs.purse.scheme import ISSUER_ID_SIZE, Scheme


class KeyKind(StrEnum):
    """What a key may be used for (purse-crypto.md, section 2)."""

    PURCHASE = "purchase"
    LOAD = "load"
    TAC = "tac"
    MAINTENANCE = "maintenance"
    PIN_RELOAD = "pin-reload"
    PIN_UNBLOCK = "pin-unblock"
    UNLOAD = "unload"
    LOCK = "lock"
    OVERDRAFT = "overdraft"
    EXTERNAL = "external"
    INTERNAL = "internal"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True, order=True)
class KeyHandle:
    """The name of one master key.

    Attributes:
        scheme: Whose derivation rules apply.
        issuer: 8 bytes, institution form (card-files.md, section 4).
        kind: What the key is for.
        version: Key version (密钥版本), one byte, as in answers A and B and in records.
        algorithm_id: Algorithm byte (算法标识), as in answers and records.
    """

    scheme: Scheme
    issuer: bytes
    kind: KeyKind
    version: int
    algorithm_id: int

    def __post_init__(self) -> None:
        assert len(self.issuer) == ISSUER_ID_SIZE, "an issuer id has 8 bytes"
        assert 0 <= self.version <= 255, "a key version is one byte"
        assert 0 <= self.algorithm_id <= 255, "an algorithm id is one byte"

    @property
    def label(self) -> str:
        """Text form, also the label of the object in a hardware device: `cj.01019901ffffffff.tac.01.00`."""
        return f"{self.scheme}.{self.issuer.hex()}.{self.kind}.{self.version:02x}.{self.algorithm_id:02x}"

    @classmethod
    def from_label(cls, label: str) -> "KeyHandle":
        """Inverse of `label`.

        Raises:
            ValueError: Not a label.
        """
        scheme, issuer, kind, version, algorithm_id = label.split(".")
        return cls(Scheme(scheme), bytes.fromhex(issuer), KeyKind(kind), int(version, 16), int(algorithm_id, 16))
