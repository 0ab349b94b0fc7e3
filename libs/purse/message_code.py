"""The authentication code of GET MESSAGE (取安全认证码, purse-protocol.md, sections 2 and 4) [convention].

The standards at hand say that the card answers 9 bytes and that its PSAM accepts or refuses them, not how they are
made. Here: key version (1), the last 4 bytes of the card number, and a MAC4 of those 5 under a master key that the PSAM
holds, undiversified, for nothing else of the card has reached the module by then. The code does not change from tap to
tap: it tells a card that was issued here from one that was not, and no more.
"""

import hmac

from libs.purse.algorithms import Algorithm
from libs.purse.crypto import MAC_SIZE

MESSAGE_CODE_SIZE = 9
_SERIAL_SIZE = 4


def message_code_data(version: int, number: bytes) -> bytes:
    """The first 5 bytes of the code, which the MAC covers.

    Args:
        version: Of the message key.
        number: 10 bytes BCD.
    """
    return bytes((version,)) + number[-_SERIAL_SIZE:]


def message_code_is_genuine(cipher: Algorithm, key: bytes, code: bytes) -> bool:
    """Whether a 9-byte code was made with this key; its first byte told which version of the key to take."""
    return hmac.compare_digest(cipher.command_mac(key, b"", code[:-MAC_SIZE]), code[-MAC_SIZE:])
