"""The authentication code of GET MESSAGE (取安全认证码, purse-protocol.md, sections 2 and 4) [convention].

The standards at hand say that the card answers 9 bytes and that its PSAM accepts or refuses them, not how they are made.
Here: key version (1), the last 4 bytes of the card number, and a MAC4 of those 5 under a master key that the PSAM holds.
The code does not change from tap to tap: it tells a card that was issued here from one that was not, and no more.
"""

import hmac

from libs.purse.algorithms import Algorithm

MESSAGE_CODE_SIZE = 9
_SERIAL_SIZE = 4


def make_message_code(cipher: Algorithm, key: bytes, version: int, serial: bytes) -> bytes:
    """The 9 bytes for a card.

    Args:
        cipher: Of the key.
        key: Master key, 16 bytes.
        version: Of that key.
        serial: Last 4 bytes of the card number.
    """
    assert len(serial) == _SERIAL_SIZE, "the last 4 bytes of the card number"
    said = bytes((version,)) + serial
    return said + cipher.command_mac(key, b"", said)


def message_code_is_genuine(cipher: Algorithm, key: bytes, code: bytes) -> bool:
    """Whether a code was made with this key; its first byte told which version of the key to take."""
    expected = make_message_code(cipher, key, code[0], code[1 : 1 + _SERIAL_SIZE])
    return hmac.compare_digest(expected, code)
