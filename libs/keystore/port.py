"""The port that every key custody implements: a file sealed on disk today, a hardware module behind the same interface.

Callers name keys by handle and get MACs. `derive` and `bulk_diversify` are the two operations that let card keys out,
never master keys: for personalisation and for the column-wise TAC check. A device may refuse them by policy.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from libs.keystore.handles import KeyHandle, KeyKind
from libs.purse.scheme import CardIdentity, Scheme

Bytes2D = npt.NDArray[np.uint8]


class KeyStore(Protocol):
    """Master keys by handle. Every method raises `KeyUnknown` for a handle that is not held."""

    def handles(self) -> tuple[KeyHandle, ...]:
        """Every key held, sorted."""
        ...

    def find(self, scheme: Scheme, issuer: bytes, kind: KeyKind, version: int, algorithm_id: int) -> KeyHandle:
        """The handle of a key that is held.

        Raises:
            KeyUnknown: With the facts `key_version` and `algorithm_id` (result code 13).
        """
        ...

    def check_value(self, handle: KeyHandle) -> bytes:
        """Key check value: the first 3 bytes of an encrypted zero block; safe to show and to compare."""
        ...

    def session_mac(self, handle: KeyHandle, card: CardIdentity, session_input: bytes, data: bytes) -> bytes:
        """A 4-byte MAC with the session key that the card's key makes of `session_input` (8 bytes)."""
        ...

    def tac(self, handle: KeyHandle, card: CardIdentity, data: bytes) -> bytes:
        """The 4-byte TAC that the card would make over `data`. Only for keys of kind TAC."""
        ...

    def command_mac(self, handle: KeyHandle, card: CardIdentity, challenge: bytes, message: bytes) -> bytes:
        """MAC4 of a command to the card: maintenance, lock and PIN keys."""
        ...

    def encipher(self, handle: KeyHandle, card: CardIdentity, data: bytes) -> bytes:
        """Data of an enciphered command under the card's key (purse-crypto.md, section 5, step 4)."""
        ...

    def cryptogram(self, handle: KeyHandle, card: CardIdentity, challenge: bytes) -> bytes:
        """Answer to a card's challenge of 4 or 8 bytes: EXTERNAL AUTHENTICATE (purse-crypto.md, section 4)."""
        ...

    def reload_mac(self, handle: KeyHandle, card: CardIdentity, pin: bytes) -> bytes:
        """MAC of RELOAD PIN over the new PIN (purse-crypto.md, section 4)."""
        ...

    def derive(self, handle: KeyHandle, card: CardIdentity) -> bytes:
        """The card's own 16-byte key, for personalisation only."""
        ...

    def bulk_diversify(self, handle: KeyHandle, factors: Bytes2D) -> Bytes2D:
        """Card keys of many cards of the handle's issuer at once.

        Args:
            handle: Master key.
            factors: (n, 8) uint8, the last 8 bytes of each card number.

        Returns:
            (n, 16) uint8, row by row equal to `derive`.
        """
        ...
