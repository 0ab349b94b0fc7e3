"""Master keys in the memory of this process, and the operations of the port upon them."""

from collections.abc import Mapping

import numpy as np

from libs.keystore.errors import KeyUnknown, KeyUseForbidden
from libs.keystore.handles import KeyHandle, KeyKind
from libs.keystore.port import Bytes2D
from libs.keystore.rules import DerivationRules
from libs.keystore.uses import (
    AUTHENTICATION_KINDS,
    CARD_KEY_KINDS,
    COMMAND_KINDS,
    MAC_KINDS,
    RELOAD_KINDS,
    SESSION_KINDS,
    TAC_KINDS,
    demand_kind,
)
from libs.purse.algorithms import Algorithm, algorithm
from libs.purse.scheme import FACTOR_SIZE, CardIdentity, Scheme
from libs.purse.secure_messaging import enciphered

_CHECK_VALUE_SIZE = 3


class SoftKeyStore:
    """`KeyStore` over keys held in memory.

    Args:
        keys: 16-byte master keys by handle; the algorithm of each handle must be a known one.
        rules: How card keys are derived.
        exportable: Whether master keys may be loaded into virtual security modules; only test keys may.
    """

    __slots__ = ("_exportable", "_keys", "_rules")

    def __init__(
        self, keys: Mapping[KeyHandle, bytes], rules: DerivationRules | None = None, *, exportable: bool = False
    ) -> None:
        for handle, key in keys.items():
            assert len(key) == 16, "a master key has 16 bytes"
            algorithm(handle.algorithm_id)
        self._keys = dict(keys)
        self._rules = rules or DerivationRules()
        self._exportable = exportable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._keys)} keys)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key store does not travel: open it where it is needed")

    def handles(self) -> tuple[KeyHandle, ...]:
        """Every key held, sorted."""
        return tuple(sorted(self._keys))

    def find(self, scheme: Scheme, issuer: bytes, kind: KeyKind, version: int, algorithm_id: int) -> KeyHandle:
        """The handle of a key that is held; raises `KeyUnknown`."""
        handle = KeyHandle(scheme, issuer, kind, version, algorithm_id)
        self._key(handle)
        return handle

    def check_value(self, handle: KeyHandle) -> bytes:
        """The first 3 bytes of an encrypted zero block."""
        cipher = algorithm(handle.algorithm_id)
        return cipher.encrypt(self._key(handle), bytes(cipher.block_size))[:_CHECK_VALUE_SIZE]

    def session_mac(self, handle: KeyHandle, card: CardIdentity, session_input: bytes, data: bytes) -> bytes:
        """A 4-byte MAC with a session key of the card's purchase, load or unload key."""
        cipher, key = self._card_key(handle, card, SESSION_KINDS)
        return cipher.mac(cipher.session_key(key, session_input), data)

    def tac(self, handle: KeyHandle, card: CardIdentity, data: bytes) -> bytes:
        """The 4-byte TAC that the card would make over `data`."""
        cipher, key = self._card_key(handle, card, TAC_KINDS)
        return cipher.tac(key, data)

    def command_mac(self, handle: KeyHandle, card: CardIdentity, challenge: bytes, message: bytes) -> bytes:
        """MAC4 of a command to the card, or of its code for GET MESSAGE."""
        cipher, key = self._card_key(handle, card, MAC_KINDS)
        return cipher.command_mac(key, challenge, message)

    def encipher(self, handle: KeyHandle, card: CardIdentity, data: bytes) -> bytes:
        """Data of an enciphered command under the card's key."""
        cipher, key = self._card_key(handle, card, COMMAND_KINDS)
        return enciphered(cipher, key, data)

    def cryptogram(self, handle: KeyHandle, card: CardIdentity, challenge: bytes) -> bytes:
        """Answer to a card's challenge of 4 or 8 bytes."""
        cipher, key = self._card_key(handle, card, AUTHENTICATION_KINDS)
        return cipher.encrypt(key, challenge.ljust(cipher.block_size, b"\x00"))

    def reload_mac(self, handle: KeyHandle, card: CardIdentity, pin: bytes) -> bytes:
        """MAC of RELOAD PIN over the new PIN."""
        cipher, key = self._card_key(handle, card, RELOAD_KINDS)
        return cipher.reload_mac(key, pin)

    def derive(self, handle: KeyHandle, card: CardIdentity) -> bytes:
        """The card's own 16-byte key."""
        return self._card_key(handle, card, CARD_KEY_KINDS)[1]

    def bulk_diversify(self, handle: KeyHandle, factors: Bytes2D) -> Bytes2D:
        """Card keys of many cards: one ECB call per issuer-wide key, whatever the number of rows."""
        assert factors.shape[1:] == (FACTOR_SIZE,), "factors are (n, 8)"
        assert factors.dtype == np.uint8, "factors are bytes"
        demand_kind(handle, CARD_KEY_KINDS)
        cipher, key = algorithm(handle.algorithm_id), self._key(handle)
        keys = np.empty((len(factors), 16), np.uint8)
        for fixed, rows in self._rules.outer_levels(handle, factors):
            keys[rows] = _last_level(cipher, cipher.diversify(key, fixed), factors[rows])
        return keys

    def levels(self, handle: KeyHandle) -> int:
        """How many factors make a card's key of this master key."""
        return len(self._rules.rule(handle))

    def export(self, handle: KeyHandle) -> bytes:
        """The master key itself, for a virtual security module; not in the port, and only of a store of test keys.

        Raises:
            KeyUseForbidden: The store holds real keys.
        """
        if not self._exportable:
            raise KeyUseForbidden(key=handle.label)
        return self._key(handle)

    def _key(self, handle: KeyHandle) -> bytes:
        try:
            return self._keys[handle]
        except KeyError:
            raise KeyUnknown(
                key=handle.label, key_version=handle.version, algorithm_id=f"{handle.algorithm_id:02X}"
            ) from None

    def _card_key(self, handle: KeyHandle, card: CardIdentity, kinds: frozenset[KeyKind]) -> tuple[Algorithm, bytes]:
        demand_kind(handle, kinds)
        assert (handle.scheme, handle.issuer) == (card.scheme, card.issuer), "the key belongs to another issuer"
        cipher = algorithm(handle.algorithm_id)
        return cipher, cipher.diversify(self._key(handle), self._rules.factors(handle, card))


def _last_level(cipher: Algorithm, key: bytes, factors: Bytes2D) -> Bytes2D:
    """Div of every row under one key, as a single ECB call over `F || NOT F` of all rows."""
    if not len(factors):
        return np.empty((0, 16), np.uint8)
    blocks = np.concatenate((factors, ~factors), axis=1)
    return np.frombuffer(cipher.encrypt(key, blocks.tobytes()), np.uint8).reshape(-1, 16)
