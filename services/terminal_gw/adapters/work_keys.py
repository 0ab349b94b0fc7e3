"""Work keys: made here, wrapped by the key custody; the key-encrypting keys never leave it."""

import secrets
import struct
from datetime import date, datetime
from typing import Final

from libs.keystore.handles import KeyHandle
from libs.keystore.port import KeyStore
from libs.purse.algorithms import algorithm
from libs.purse.scheme import CardIdentity
from libs.records import bcd
from services.terminal_gw.domain.device import WorkKey

_USES: Final = (1, 2)
_KEY_BYTES: Final = 16
_CHECK_BYTES: Final = 3
_CHALLENGE: Final = bytes(8)


class KeyStoreWorkKeys:
    """The port `WorkKeys`.

    Args:
        store: Holds the master key.
        handle: The master key, of kind MAINTENANCE; a PSAM's own key is it diversified by the PSAM's number.
    """

    def __init__(self, store: KeyStore, handle: KeyHandle) -> None:
        self._store = store
        self._handle = store.find(handle.scheme, handle.issuer, handle.kind, handle.version, handle.algorithm_id)

    def make(self, psam_number: str, business_date: date, expire_time: datetime) -> tuple[WorkKey, ...]:
        """Two keys of 16 random bytes."""
        psam = CardIdentity(self._handle.scheme, self._handle.issuer, bytes.fromhex(psam_number))
        return tuple(self._make(use, psam, business_date, expire_time) for use in _USES)

    def _make(self, use: int, psam: CardIdentity, business_date: date, expire_time: datetime) -> WorkKey:
        cipher = algorithm(self._handle.algorithm_id)
        key = secrets.token_bytes(_KEY_BYTES)
        wrapped = self._store.encipher(self._handle, psam, key)
        check_value = cipher.encrypt(key, bytes(cipher.block_size))[:_CHECK_BYTES]
        message = key_message(use, business_date, expire_time, check_value, wrapped)
        mac = self._store.command_mac(self._handle, psam, _CHALLENGE, message)
        return WorkKey(use, business_date, wrapped, check_value, expire_time, self._handle.label, mac)


def key_message(use: int, business_date: date, expire_time: datetime, check_value: bytes, wrapped: bytes) -> bytes:
    """What the MAC of a work key covers: use, business date (BCD), expiry (epoch seconds), check value, wrapped key."""
    head = struct.pack(">B4sq", use, bcd.bcd_date(business_date), int(expire_time.timestamp()))
    return head + check_value + wrapped
