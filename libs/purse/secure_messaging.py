"""Secure messaging (安全报文) of the sender: command MAC and enciphered data (purse-crypto.md, section 5)."""

from libs.purse.algorithms import Algorithm
from libs.purse.crypto import MAC_SIZE, pad_if_needed


def protected_command(
    algorithm: Algorithm, key: bytes, challenge: bytes, header: bytes, data: bytes = b"", *, encrypt: bool = False
) -> bytes:
    """A whole command with MAC4, as sent: `CLA INS P1 P2 Lc data MAC4`.

    Args:
        algorithm: Of the key.
        key: Maintenance key of the card, 16 bytes (or 8, single DES).
        challenge: Answer of GET CHALLENGE, 4 bytes; good for the next command only.
        header: CLA INS P1 P2; the low nibble of CLA is 4.
        data: Plain command data.
        encrypt: Send the data enciphered (length byte, data, padded only if needed).
    """
    assert len(header) == 4, "CLA INS P1 P2"
    assert header[0] & 0x0F == 4, "secure messaging is marked in the class byte"
    body = enciphered(algorithm, key, data) if encrypt else data
    message = header + bytes((len(body) + MAC_SIZE,)) + body
    return message + algorithm.command_mac(key, challenge, message)


def enciphered(algorithm: Algorithm, key: bytes, data: bytes) -> bytes:
    """Data of an enciphered command: length byte and data, padded when not a multiple of the block, ECB."""
    return algorithm.encrypt(key, pad_if_needed(bytes((len(data),)) + data, algorithm.block_size))


def deciphered(algorithm: Algorithm, key: bytes, cipher_text: bytes) -> bytes | None:
    """Inverse of `enciphered`; None when the length byte does not fit: a wrong key, or no cipher text of ours."""
    if not cipher_text or len(cipher_text) % algorithm.block_size:
        return None
    plain = algorithm.decrypt(key, cipher_text)
    length = plain[0]
    if length >= len(plain) or pad_if_needed(plain[: length + 1], algorithm.block_size) != plain:
        return None
    return plain[1 : length + 1]
