"""Several custodies as one: a device for the keys it can compute with, a sealed file for the others."""

from collections.abc import Sequence

from libs.keystore.errors import KeyUnknown
from libs.keystore.handles import KeyHandle, KeyKind
from libs.keystore.port import Bytes2D, KeyStore
from libs.purse.scheme import CardIdentity, Scheme


class CombinedKeyStore:
    """`KeyStore` that asks the first of its stores that holds the key.

    Args:
        stores: In order of preference: a key that two of them hold is used in the first.
    """

    __slots__ = ("_home", "_stores")

    def __init__(self, stores: Sequence[KeyStore]) -> None:
        self._stores = tuple(stores)
        self._home: dict[KeyHandle, KeyStore] = {}
        for store in reversed(self._stores):
            self._home.update(dict.fromkeys(store.handles(), store))

    def __repr__(self) -> str:
        return f"CombinedKeyStore({', '.join(map(repr, self._stores))})"

    def handles(self) -> tuple[KeyHandle, ...]:
        """Every key held, sorted."""
        return tuple(sorted(self._home))

    def find(self, scheme: Scheme, issuer: bytes, kind: KeyKind, version: int, algorithm_id: int) -> KeyHandle:
        """The handle of a key that is held; raises `KeyUnknown`."""
        handle = KeyHandle(scheme, issuer, kind, version, algorithm_id)
        self._of(handle)
        return handle

    def check_value(self, handle: KeyHandle) -> bytes:
        """As the store that holds it."""
        return self._of(handle).check_value(handle)

    def session_mac(self, handle: KeyHandle, card: CardIdentity, session_input: bytes, data: bytes) -> bytes:
        """As the store that holds it."""
        return self._of(handle).session_mac(handle, card, session_input, data)

    def tac(self, handle: KeyHandle, card: CardIdentity, data: bytes) -> bytes:
        """As the store that holds it."""
        return self._of(handle).tac(handle, card, data)

    def command_mac(self, handle: KeyHandle, card: CardIdentity, challenge: bytes, message: bytes) -> bytes:
        """As the store that holds it."""
        return self._of(handle).command_mac(handle, card, challenge, message)

    def encipher(self, handle: KeyHandle, card: CardIdentity, data: bytes) -> bytes:
        """As the store that holds it."""
        return self._of(handle).encipher(handle, card, data)

    def cryptogram(self, handle: KeyHandle, card: CardIdentity, challenge: bytes) -> bytes:
        """As the store that holds it."""
        return self._of(handle).cryptogram(handle, card, challenge)

    def reload_mac(self, handle: KeyHandle, card: CardIdentity, pin: bytes) -> bytes:
        """As the store that holds it."""
        return self._of(handle).reload_mac(handle, card, pin)

    def derive(self, handle: KeyHandle, card: CardIdentity) -> bytes:
        """As the store that holds it."""
        return self._of(handle).derive(handle, card)

    def bulk_diversify(self, handle: KeyHandle, factors: Bytes2D) -> Bytes2D:
        """As the store that holds it."""
        return self._of(handle).bulk_diversify(handle, factors)

    def _of(self, handle: KeyHandle) -> KeyStore:
        try:
            return self._home[handle]
        except KeyError:
            raise KeyUnknown(
                key=handle.label, key_version=handle.version, algorithm_id=f"{handle.algorithm_id:02X}"
            ) from None
