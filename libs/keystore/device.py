"""Master keys inside a PKCS#11 device (extra `hsm`), tested on SoftHSM2.

Whatever the device can compute it computes: card keys and session keys are derived inside (CKM_DES3_ECB_ENCRYPT_DATA)
as session objects that cannot be read, and MACs are made with them. Single DES, which OpenSSL 3 keeps from SoftHSM,
is 3DES with three equal parts: a key derived of the same block three times.

Two operations let *card* keys out, never master keys, and only of masters that were loaded for it (CKA_ENCRYPT):
`derive` and `bulk_diversify`. TAC and PIN reload keys need that always: their MAC key is the exclusive or of two
halves, which no standard mechanism forms inside. SM4 has no standard mechanism either; such keys live in a sealed
file beside the device (`CombinedKeyStore`).
"""

import ctypes
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from libs.keystore.components import KEY_SIZE
from libs.keystore.errors import (
    KeyAlgorithmUnsupported,
    KeyDeviceLocked,
    KeyDeviceUnavailable,
    KeyExists,
    KeyUnknown,
    KeyUseForbidden,
    PublicKeyRefused,
)
from libs.keystore.handles import KeyHandle, KeyKind
from libs.keystore.port import Bytes2D
from libs.keystore.public_keys import is_public
from libs.keystore.rules import DerivationRules
from libs.keystore.sealed import Deployment
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
from libs.purse.algorithms import TRIPLE_DES, algorithm
from libs.purse.crypto import DES_BLOCK, MAC_SIZE, invert, pad, pad_if_needed
from libs.purse.scheme import FACTOR_SIZE, CardIdentity, Scheme

# Their MAC key is made of two halves outside of the device, hence the card key must come out.
_ALWAYS_DERIVED_OUTSIDE = TAC_KINDS | RELOAD_KINDS
_BULK_BYTES_MAX = 1 << 15
_T = TypeVar("_T")


def _pkcs11() -> Any:
    """The library; raises `KeyDeviceUnavailable` when it is not installed."""
    try:
        import pkcs11
        import pkcs11.constants
    except ImportError as error:
        raise KeyDeviceUnavailable(why=f"pip install citycard[hsm]: {error}") from error
    return pkcs11


class DeviceKeyStore:
    """`KeyStore` over the keys of one token. Safe to use from several threads, one at a time inside.

    Args:
        module: The vendor's library, such as `/usr/lib/softhsm/libsofthsm2.so`.
        token: Label of the token.
        pin: Of the user; from a mounted secret.
        rules: How card keys are derived.
        deployment: Keys that everybody knows are loaded only by a test deployment.

    Raises:
        KeyDeviceUnavailable: No library, no token.
        KeyDeviceLocked: The PIN is refused.
    """

    def __init__(
        self,
        module: Path,
        token: str,
        pin: bytes,
        *,
        rules: DerivationRules | None = None,
        deployment: Deployment = "production",
    ) -> None:
        self._pkcs11 = _pkcs11()
        self._module = module
        self._token = token
        self._pin = pin
        self._rules = rules or DerivationRules()
        self._deployment = deployment
        self._lock = threading.RLock()
        self._session: Any = None
        self._keys: dict[KeyHandle, Any] = {}
        self._guarded(lambda: None)

    def __repr__(self) -> str:
        return f"DeviceKeyStore({self._token}, {len(self._keys)} keys)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key store does not travel: open it where it is needed")

    def close(self) -> None:
        """Log out; the next operation logs in again."""
        with self._lock:
            session, self._session, self._keys = self._session, None, {}
            if session is not None:
                session.close()

    def load(self, handle: KeyHandle, key: bytes, *, card_keys_leave: bool = False) -> None:
        """Put a master key into the token, from where it never comes back; the end of a ceremony under dual control.

        Args:
            handle: Its name.
            key: 16 bytes (`libs.keystore.components.combine`).
            card_keys_leave: Let `derive` and `bulk_diversify` have card keys of it, for personalisation.

        Raises:
            KeyExists: The token holds a key of that name.
            KeyAlgorithmUnsupported: Not a 3DES key.
            PublicKeyRefused: A key that everybody knows, outside of a test deployment.
        """
        assert len(key) == KEY_SIZE, "a master key has 16 bytes"
        if algorithm(handle.algorithm_id) is not TRIPLE_DES:
            raise KeyAlgorithmUnsupported(key=handle.label, device=self._token)
        if self._deployment != "test" and is_public(key):
            raise PublicKeyRefused(key=handle.label)
        leaves = card_keys_leave or handle.kind in _ALWAYS_DERIVED_OUTSIDE or handle.kind is KeyKind.MESSAGE
        self._guarded(lambda: self._create(handle, key, leaves))

    def handles(self) -> tuple[KeyHandle, ...]:
        """Every key held, sorted."""
        return self._guarded(lambda: tuple(sorted(self._keys)))

    def find(self, scheme: Scheme, issuer: bytes, kind: KeyKind, version: int, algorithm_id: int) -> KeyHandle:
        """The handle of a key that is held; raises `KeyUnknown`."""
        handle = KeyHandle(scheme, issuer, kind, version, algorithm_id)
        self._guarded(lambda: self._master(handle))
        return handle

    def check_value(self, handle: KeyHandle) -> bytes:
        """As the device computed it when the key was loaded."""
        return self._guarded(lambda: bytes(self._master(handle)[self._pkcs11.Attribute.CHECK_VALUE]))

    def session_mac(self, handle: KeyHandle, card: CardIdentity, session_input: bytes, data: bytes) -> bytes:
        """A 4-byte MAC; card key and session key exist inside the device only, and only for this call."""
        demand_kind(handle, SESSION_KINDS)

        def made() -> bytes:
            with self._card_key(handle, card) as key, self._derived(key, session_input * 3, encrypt=True) as session:
                return self._cbc(session, pad(data), bytes(DES_BLOCK))[-DES_BLOCK:][:MAC_SIZE]

        return self._guarded(made)

    def tac(self, handle: KeyHandle, card: CardIdentity, data: bytes) -> bytes:
        """The 4-byte TAC; the card's TAC key is in this process for the moment of this call."""
        demand_kind(handle, TAC_KINDS)
        return TRIPLE_DES.tac(self._card_key_bytes(handle, card), data)

    def command_mac(self, handle: KeyHandle, card: CardIdentity, challenge: bytes, message: bytes) -> bytes:
        """MAC4, inside the device: CBC with the left half of the card key, the last block with both."""
        demand_kind(handle, MAC_KINDS)
        blocks, iv = pad(message), challenge.ljust(DES_BLOCK, b"\x00")

        def made() -> bytes:
            *outer, last = self._rules.factors(handle, card) or (b"",)
            with self._parent(handle, outer) as parent:
                if not last:
                    return self._last_block(parent, blocks, iv)
                state = iv
                if len(blocks) > DES_BLOCK:
                    with self._derived(parent, last * 3, encrypt=True) as left:
                        state = self._cbc(left, blocks[:-DES_BLOCK], iv)[-DES_BLOCK:]
                with self._derived(parent, last + invert(last), encrypt=True) as key:
                    return self._last_block(key, blocks[-DES_BLOCK:], state)

        return self._guarded(made)

    def encipher(self, handle: KeyHandle, card: CardIdentity, data: bytes) -> bytes:
        """Data of an enciphered command."""
        demand_kind(handle, COMMAND_KINDS)
        return self._enciphered(handle, card, pad_if_needed(bytes((len(data),)) + data))

    def cryptogram(self, handle: KeyHandle, card: CardIdentity, challenge: bytes) -> bytes:
        """Answer to a card's challenge of 4 or 8 bytes."""
        demand_kind(handle, AUTHENTICATION_KINDS)
        return self._enciphered(handle, card, challenge.ljust(DES_BLOCK, b"\x00"))

    def reload_mac(self, handle: KeyHandle, card: CardIdentity, pin: bytes) -> bytes:
        """MAC of RELOAD PIN; the card's reload key is in this process for the moment of this call."""
        demand_kind(handle, RELOAD_KINDS)
        return TRIPLE_DES.reload_mac(self._card_key_bytes(handle, card), pin)

    def derive(self, handle: KeyHandle, card: CardIdentity) -> bytes:
        """The card's own 16-byte key; raises `KeyUseForbidden` unless the master was loaded for personalisation."""
        demand_kind(handle, CARD_KEY_KINDS)
        return self._card_key_bytes(handle, card)

    def bulk_diversify(self, handle: KeyHandle, factors: Bytes2D) -> Bytes2D:
        """Card keys of many cards, enciphered by the device in long runs; raises as `derive`."""
        demand_kind(handle, CARD_KEY_KINDS)
        assert factors.shape[1:] == (FACTOR_SIZE,), "factors are (n, 8)"
        keys = np.empty((len(factors), KEY_SIZE), np.uint8)

        def filled() -> None:
            self._demand_leaving(handle)
            for fixed, rows in self._rules.outer_levels(handle, factors):
                blocks = np.concatenate((factors[rows], ~factors[rows]), axis=1).tobytes()
                with self._parent(handle, fixed, encrypt=True) as parent:
                    made = b"".join(
                        self._ecb(parent, blocks[at : at + _BULK_BYTES_MAX])
                        for at in range(0, len(blocks), _BULK_BYTES_MAX)
                    )
                keys[rows] = np.frombuffer(made, np.uint8).reshape(-1, KEY_SIZE)

        self._guarded(filled)
        return keys

    def _card_key_bytes(self, handle: KeyHandle, card: CardIdentity) -> bytes:
        def made() -> bytes:
            self._demand_leaving(handle)
            *outer, last = self._rules.factors(handle, card)
            with self._parent(handle, outer, encrypt=True) as parent:
                return self._ecb(parent, last + invert(last))

        return self._guarded(made)

    def _demand_leaving(self, handle: KeyHandle) -> None:
        if not self._master(handle)[self._pkcs11.Attribute.ENCRYPT]:
            raise KeyUseForbidden(key=handle.label, why="its card keys stay inside the device")

    def _enciphered(self, handle: KeyHandle, card: CardIdentity, blocks: bytes) -> bytes:
        def made() -> bytes:
            with self._card_key(handle, card, encrypt=True) as key:
                return self._ecb(key, blocks)

        return self._guarded(made)

    @contextmanager
    def _card_key(self, handle: KeyHandle, card: CardIdentity, *, encrypt: bool = False) -> Iterator[Any]:
        assert (handle.scheme, handle.issuer) == (card.scheme, card.issuer), "the key belongs to another issuer"
        *outer, last = self._rules.factors(handle, card)
        with self._parent(handle, outer) as parent, self._derived(parent, last + invert(last), encrypt=encrypt) as key:
            yield key

    @contextmanager
    def _parent(self, handle: KeyHandle, outer: Sequence[bytes], *, encrypt: bool = False) -> Iterator[Any]:
        """The key one level above the card; derived ones are destroyed at the end."""
        key, made = self._master(handle), []
        try:
            for level, factor in enumerate(outer, 1):
                block = factor + invert(factor)
                key = self._derive_object(key, block, encrypt=encrypt and level == len(outer))
                made.append(key)
            yield key
        finally:
            for each in made:
                each.destroy()

    @contextmanager
    def _derived(self, key: Any, blocks: bytes, *, encrypt: bool) -> Iterator[Any]:
        """A key whose bytes are the enciphered blocks; it never leaves the device and is destroyed at the end."""
        made = self._derive_object(key, blocks, encrypt=encrypt)
        try:
            yield made
        finally:
            made.destroy()

    def _derive_object(self, key: Any, blocks: bytes, *, encrypt: bool) -> Any:
        pkcs11 = self._pkcs11
        attribute, two_parts = pkcs11.Attribute, len(blocks) == KEY_SIZE
        # CK_KEY_DERIVATION_STRING_DATA: where the data is, and how long; the library hands parameters on as they are.
        data = ctypes.create_string_buffer(blocks, len(blocks))
        return key.derive_key(
            pkcs11.KeyType.DES2 if two_parts else pkcs11.KeyType.DES3,
            8 * len(blocks),
            mechanism=pkcs11.Mechanism.DES3_ECB_ENCRYPT_DATA,
            mechanism_param=struct.pack("@PL", ctypes.addressof(data), len(blocks)),
            template={
                # The length follows from the type; SoftHSM refuses to be told.
                attribute.VALUE_LEN: pkcs11.constants.DEFAULT,
                attribute.TOKEN: False,
                attribute.PRIVATE: True,
                attribute.SENSITIVE: True,
                attribute.EXTRACTABLE: False,
                attribute.ENCRYPT: encrypt,
                attribute.DECRYPT: False,
                attribute.DERIVE: True,
            },
        )

    def _ecb(self, key: Any, blocks: bytes) -> bytes:
        return bytes(key.encrypt(blocks, mechanism=self._pkcs11.Mechanism.DES3_ECB))

    def _cbc(self, key: Any, blocks: bytes, iv: bytes) -> bytes:
        return bytes(key.encrypt(blocks, mechanism=self._pkcs11.Mechanism.DES3_CBC, mechanism_param=iv))

    def _last_block(self, key: Any, block: bytes, state: bytes) -> bytes:
        if len(block) != DES_BLOCK:
            raise KeyUseForbidden(why="a key without diversification makes MACs of one block only")
        mixed = (int.from_bytes(block, "big") ^ int.from_bytes(state, "big")).to_bytes(DES_BLOCK, "big")
        return self._ecb(key, mixed)[:MAC_SIZE]

    def _create(self, handle: KeyHandle, key: bytes, leaves: bool) -> None:
        pkcs11 = self._pkcs11
        attribute = pkcs11.Attribute
        if handle in self._keys:
            raise KeyExists(key=handle.label)
        self._keys[handle] = self._session.create_object(
            {
                attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY,
                attribute.KEY_TYPE: pkcs11.KeyType.DES2,
                attribute.LABEL: handle.label,
                attribute.VALUE: key,
                attribute.TOKEN: True,
                attribute.PRIVATE: True,
                attribute.SENSITIVE: True,
                attribute.EXTRACTABLE: False,
                attribute.ENCRYPT: leaves,
                attribute.DECRYPT: False,
                attribute.DERIVE: True,
            }
        )

    def _master(self, handle: KeyHandle) -> Any:
        try:
            return self._keys[handle]
        except KeyError:
            raise KeyUnknown(
                key=handle.label, key_version=handle.version, algorithm_id=f"{handle.algorithm_id:02X}"
            ) from None

    def _guarded(self, act: Callable[[], _T]) -> _T:
        """Do it with a session that is open. A device that failed is opened anew by the next operation.

        Raises:
            KeyDeviceUnavailable: The device does not answer.
            KeyDeviceLocked: It refuses the PIN.
        """
        exceptions = self._pkcs11.exceptions
        with self._lock:
            try:
                if self._session is None:
                    self._open()
                return act()
            except (exceptions.PinIncorrect, exceptions.PinLocked, exceptions.PinInvalid) as error:
                raise KeyDeviceLocked(why=type(error).__name__) from error
            except exceptions.PKCS11Error as error:
                self._session, self._keys = None, {}
                raise KeyDeviceUnavailable(why=f"{type(error).__name__} {error}".strip()) from error

    def _open(self) -> None:
        pkcs11 = self._pkcs11
        try:
            library = pkcs11.lib(str(self._module))
        except RuntimeError as error:
            # What dlopen says of a path that is no library.
            raise KeyDeviceUnavailable(why=str(error)) from error
        token = library.get_token(token_label=self._token)
        try:
            self._session = token.open(rw=True, user_pin=self._pin.decode())
        except pkcs11.exceptions.UserAlreadyLoggedIn:
            # Logging in is of the process, not of the session (PKCS#11): another store of ours has done it.
            self._session = token.open(rw=True)
        label = pkcs11.Attribute.LABEL
        found = self._session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY})
        self._keys = {KeyHandle.from_label(each[label]): each for each in found if _is_ours(each[label])}


def _is_ours(label: str) -> bool:
    """Whether an object's label names a key of this project; others share the token with us."""
    try:
        KeyHandle.from_label(label)
    except ValueError:
        return False
    return True
