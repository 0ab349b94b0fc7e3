"""Primitives of the purse (purse-crypto.md, sections 1, 2 and 7): ciphers, padding, MACs, diversification.

Nothing here knows a transaction: `algorithms.py` puts the two families side by side, `transactions.py` says what is
signed. Keys and data are bytes, most significant first. Lengths are asserted where a wrong one can only be our mistake.
"""

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB

DES_BLOCK = 8
SM4_BLOCK = 16
MAC_SIZE = 4

_ECB = ECB()  # noqa: S305 - the standard derives keys and enciphers single blocks in ECB
_ZERO_IV_8 = CBC(bytes(DES_BLOCK))
_ZERO_IV_16 = CBC(bytes(SM4_BLOCK))
_INVERT = bytes(255 - value for value in range(256))


def _triple_des(key: bytes) -> TripleDES:
    """`TripleDES` for an 8- or 16-byte key: OpenSSL 3 has no single DES, but EDE with three equal keys is DES."""
    if len(key) == 16:
        return TripleDES(key + key[:8])
    assert len(key) == 8, "a DES key has 8 bytes, a 3DES key 16"
    return TripleDES(key + key + key)


def des_encrypt(key: bytes, data: bytes) -> bytes:
    """DES (8-byte key) or two-key 3DES (16-byte key), ECB; `data` a multiple of 8 bytes."""
    return Cipher(_triple_des(key), _ECB).encryptor().update(data)


def des_decrypt(key: bytes, data: bytes) -> bytes:
    """Inverse of `des_encrypt`."""
    return Cipher(_triple_des(key), _ECB).decryptor().update(data)


def sm4_encrypt(key: bytes, data: bytes) -> bytes:
    """SM4 (GB/T 32907), ECB; `key` 16 bytes, `data` a multiple of 16 bytes."""
    return Cipher(SM4(key), _ECB).encryptor().update(data)


def sm4_decrypt(key: bytes, data: bytes) -> bytes:
    """Inverse of `sm4_encrypt`."""
    return Cipher(SM4(key), _ECB).decryptor().update(data)


def pad(data: bytes, block: int = DES_BLOCK) -> bytes:
    """Append 80, then 00 up to a multiple of `block`; always at least one byte (section 1)."""
    return data + b"\x80" + bytes(-(len(data) + 1) % block)


def pad_if_needed(data: bytes, block: int = DES_BLOCK) -> bytes:
    """As `pad`, but data that is a multiple already stays as it is: the rule of enciphered commands (section 5)."""
    return pad(data, block) if len(data) % block else data


def mac8(session_key: bytes, data: bytes, iv: bytes = b"") -> bytes:
    """The 4-byte DES MAC of a purse command (purse-crypto.md, section 1).

    Args:
        session_key: 8 bytes, made for this one transaction (section 3).
        data: Any length. Always padded: 80, then 00 up to a multiple of 8, so 8 bytes become 16.
        iv: 8 bytes; zero when empty.
    """
    assert len(session_key) == 8, "MAC8 takes a single DES key"
    mode = CBC(iv) if iv else _ZERO_IV_8
    # One CBC call is three times faster than block by block (section 9).
    chained = Cipher(TripleDES(session_key * 3), mode).encryptor().update(pad(data))
    return chained[-DES_BLOCK:][:MAC_SIZE]


def mac16_padded(key: bytes, blocks: bytes, iv: bytes = b"") -> bytes:
    """`mac16` over data that is padded already (the PSAM's DES CRYPT, purse-protocol.md, section 4)."""
    assert len(key) == 16, "MAC16 takes a two-part key"
    assert blocks, "a MAC has at least one block"
    mode = CBC(iv) if iv else _ZERO_IV_8
    state = iv or bytes(DES_BLOCK)
    if len(blocks) > DES_BLOCK:
        state = Cipher(TripleDES(key[:8] * 3), mode).encryptor().update(blocks[:-DES_BLOCK])[-DES_BLOCK:]
    # The last DES step and the closing DES^-1, DES are together one two-key 3DES.
    last = int.from_bytes(state, "big") ^ int.from_bytes(blocks[-DES_BLOCK:], "big")
    return des_encrypt(key, last.to_bytes(DES_BLOCK, "big"))[:MAC_SIZE]


def mac16(key: bytes, data: bytes, iv: bytes = b"") -> bytes:
    """The 4-byte ANSI X9.19 MAC (ISO 9797-1 algorithm 3) with a 16-byte key (section 1).

    Args:
        key: 16 bytes.
        data: Any length; always padded.
        iv: 8 bytes; zero when empty.
    """
    return mac16_padded(key, pad(data), iv)


def sm4_mac(key: bytes, data: bytes, iv: bytes = b"") -> bytes:
    """The 4-byte SM4 CBC-MAC (section 7 [convention]); always padded to 16; `iv` 16 bytes, zero when empty."""
    mode = CBC(iv) if iv else _ZERO_IV_16
    chained = Cipher(SM4(key), mode).encryptor().update(pad(data, SM4_BLOCK))
    return chained[-SM4_BLOCK:][:MAC_SIZE]


def invert(factor: bytes) -> bytes:
    """NOT of every byte."""
    return factor.translate(_INVERT)


def xor8(left: bytes, right: bytes) -> bytes:
    """Exclusive or of two 8-byte strings."""
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(8, "big")


def diversify_des(key: bytes, factor: bytes) -> bytes:
    """Div of section 2: `3DES(K, F) || 3DES(K, NOT F)`; `key` 16 bytes, `factor` 8, result 16."""
    assert len(key) == 16, "Div takes a 16-byte key"
    assert len(factor) == 8, "a factor has exactly 8 bytes"
    return des_encrypt(key, factor + invert(factor))


def diversify_sm4(key: bytes, factor: bytes) -> bytes:
    """DivSM4 of section 7: one SM4 block over `F || NOT F`; sizes as `diversify_des`."""
    assert len(key) == 16, "DivSM4 takes a 16-byte key"
    assert len(factor) == 8, "a factor has exactly 8 bytes"
    return sm4_encrypt(key, factor + invert(factor))
