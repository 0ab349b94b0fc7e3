"""Keys inside a security module: found by kind, version, algorithm and level (purse-protocol.md, section 4)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from libs.keystore.handles import KeyKind
from libs.keystore.soft import SoftKeyStore
from libs.purse.algorithms import ALGORITHM_3DES, algorithm
from libs.purse.scheme import Scheme

LEVELS_MAX = 3
_FACTOR_SIZE = 8
_PARENTS_MAX = 256


class SamKind(IntEnum):
    """Key type, b5-b1 of the usage byte (section 4); LOAD and MESSAGE are of this project [convention]."""

    LOAD = 0x01
    PURCHASE = 0x02
    TAC = 0x04
    LOCK = 0x05
    MAC = 0x08
    MESSAGE = 0x0A


@dataclass(frozen=True, slots=True)
class SamKey:
    """One key inside the module.

    Attributes:
        kind: What it may be used for.
        key: 16 bytes.
        levels: How many factors make a card's key of it, 1 to 3; 0 for a key that is used as it is.
        version: Key version.
        algorithm_id: Algorithm byte.
    """

    kind: SamKind
    key: bytes = field(repr=False)
    levels: int = 1
    version: int = 1
    algorithm_id: int = ALGORITHM_3DES


class KeyRing:
    """The keys of one module, and the diversified keys of the level above the card, which repeat from tap to tap."""

    __slots__ = ("_keys", "_parents")

    def __init__(self, keys: Iterable[SamKey]) -> None:
        self._keys = {(key.kind, key.version, key.algorithm_id, key.levels): key for key in keys}
        self._parents: dict[tuple[SamKind, int, int, bytes], bytes] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, kind: SamKind, version: int, algorithm_id: int, levels: int) -> SamKey | None:
        """The key of exactly that kind, version, algorithm and level."""
        return self._keys.get((kind, version, algorithm_id, levels))

    def any_level(self, kind: SamKind, version: int, algorithm_id: int) -> bool:
        """Whether that key is held for some number of levels."""
        return any(self.find(kind, version, algorithm_id, levels) for levels in range(LEVELS_MAX + 1))

    def of_kind(self, kind: int, version: int) -> list[SamKey]:
        """Keys of a kind and version, of any algorithm and level; commands without an algorithm byte take the first."""
        return [key for key in self._keys.values() if key.kind == kind and key.version == version]

    def card_key(self, key: SamKey, factors: bytes) -> bytes:
        """A card's key: factors travel card-first and are applied last-first (section 4).

        Args:
            key: From this ring.
            factors: 8 bytes for each level.
        """
        assert len(factors) == _FACTOR_SIZE * key.levels, "one factor for each level"
        cipher = algorithm(key.algorithm_id)
        serial, outer = factors[:_FACTOR_SIZE], factors[_FACTOR_SIZE:]
        # The number of levels is told by the length of `outer`.
        name = (key.kind, key.version, key.algorithm_id, outer)
        parent = self._parents.get(name)
        if parent is None:
            levels = [outer[at : at + _FACTOR_SIZE] for at in range(len(outer) - _FACTOR_SIZE, -1, -_FACTOR_SIZE)]
            parent = cipher.diversify(key.key, levels)
            if len(self._parents) == _PARENTS_MAX:
                self._parents.clear()
            self._parents[name] = parent
        return cipher.diversify(parent, (serial,))


def exported_keys(store: SoftKeyStore, scheme: Scheme, issuer: bytes, kinds: dict[KeyKind, SamKind]) -> list[SamKey]:
    """The keys of some kinds that a store of test keys holds for an issuer, as a module takes them.

    Raises:
        KeyUseForbidden: The store's keys are not exportable.
    """
    return [
        SamKey(kinds[handle.kind], store.export(handle), store.levels(handle), handle.version, handle.algorithm_id)
        for handle in store.handles()
        if handle.scheme is scheme and handle.issuer == issuer and handle.kind in kinds
    ]
