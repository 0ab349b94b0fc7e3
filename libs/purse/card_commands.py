"""Commands that the issuer makes for one card: files, PINs, authentication, GET MESSAGE (purse-crypto.md, 4 and 5).

`challenge` is the card's answer to GET CHALLENGE, 4 bytes, good for the next command only. Handles name the issuer's
master key; the card's own key never appears here.
"""

from datetime import date

from libs.keystore.handles import KeyHandle
from libs.keystore.port import KeyStore
from libs.purse.apdu import build
from libs.purse.card.profiles import SFI_PUBLIC
from libs.purse.crypto import MAC_SIZE
from libs.purse.fields import date_bytes
from libs.purse.message_code import message_code_data
from libs.purse.scheme import CardIdentity

_MACED_BIT = 0x04
# The expiry date stands at the same place in both forms of file 0015 (card-files.md, section 2).
_EXPIRY_OFFSET = 24


def protected(
    store: KeyStore,
    handle: KeyHandle,
    card: CardIdentity,
    challenge: bytes,
    header: bytes,
    data: bytes = b"",
    *,
    encrypt: bool = False,
    le: int | None = None,
) -> bytes:
    """Any command with MAC4, ready to send.

    Args:
        store: Holds the key.
        handle: Maintenance, lock or PIN unblock key.
        card: Whose key to derive.
        challenge: 4 bytes.
        header: CLA INS P1 P2; the secure messaging bit of CLA is set.
        data: Plain command data.
        encrypt: Send the data enciphered.
        le: Expected length, for protected reads; it is not part of the MAC.
    """
    assert header[0] & _MACED_BIT, "secure messaging is marked in the class byte"
    body = store.encipher(handle, card, data) if encrypt else data
    message = header + bytes((len(body) + MAC_SIZE,)) + body
    return message + store.command_mac(handle, card, challenge, message) + (b"" if le is None else bytes((le,)))


def update_binary(
    store: KeyStore,
    handle: KeyHandle,
    card: CardIdentity,
    challenge: bytes,
    sfi: int,
    offset: int,
    data: bytes,
    *,
    encrypt: bool = False,
) -> bytes:
    """UPDATE BINARY with MAC4 by short file identifier, as personalisation and file 0015 changes use it."""
    header = bytes((0x04, 0xD6, 0x80 | sfi, offset))
    return protected(store, handle, card, challenge, header, data, encrypt=encrypt)


def reload_pin(store: KeyStore, handle: KeyHandle, card: CardIdentity, pin: bytes) -> bytes:
    """RELOAD PIN with its MAC over the new PIN, 2 to 6 bytes; no challenge (section 4)."""
    return build(b"\x80\x5e\x00\x00", pin + store.reload_mac(handle, card, pin))


def unblock_pin(store: KeyStore, handle: KeyHandle, card: CardIdentity, challenge: bytes, pin: bytes) -> bytes:
    """PIN UNBLOCK with the reference PIN enciphered under the unblock key."""
    return protected(store, handle, card, challenge, b"\x84\x24\x00\x00", pin, encrypt=True)


def external_authenticate(
    store: KeyStore, handle: KeyHandle, card: CardIdentity, challenge: bytes, key_index: int = 0
) -> bytes:
    """EXTERNAL AUTHENTICATE with the enciphered challenge; the challenge may have 4 or 8 bytes."""
    return build(bytes((0x00, 0x82, 0x00, key_index)), store.cryptogram(handle, card, challenge))


def message_code(store: KeyStore, handle: KeyHandle, card: CardIdentity) -> bytes:
    """The 9 bytes that the card shall answer to GET MESSAGE (`libs.purse.message_code`)."""
    said = message_code_data(handle.version, card.number)
    return said + store.command_mac(handle, card, b"", said)


def extend_validity(store: KeyStore, handle: KeyHandle, card: CardIdentity, challenge: bytes, expiry: date) -> bytes:
    """A new expiry date in file 0015: how an expired card with money on it is taken into use again (F19).

    The centre decides whether it may, charges its fee and records the change; the handle is the maintenance key.
    """
    return update_binary(store, handle, card, challenge, SFI_PUBLIC, _EXPIRY_OFFSET, date_bytes(expiry))
