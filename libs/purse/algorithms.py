"""The algorithm byte (算法标识), and what each algorithm does in every place of purse-crypto.md, sections 2-5 and 7."""

from collections.abc import Sequence
from typing import Protocol

from libs.errors import Refusal
from libs.purse import crypto


class AlgorithmUnknown(Refusal):
    """The algorithm byte names no algorithm of this project."""

    reason = "KEY_UNKNOWN"


class Algorithm(Protocol):
    """One cipher family in the roles that a purse gives it. Stateless: one instance serves everybody."""

    name: str
    block_size: int

    def diversify(self, key: bytes, factors: Sequence[bytes]) -> bytes:
        """The 16-byte key after applying 8-byte factors in the order listed, from the root inwards (section 2)."""
        ...

    def session_key(self, key: bytes, session_input: bytes) -> bytes:
        """The session key (过程密钥) of one transaction from a 16-byte card key and an 8-byte input (section 3)."""
        ...

    def mac(self, session_key: bytes, data: bytes) -> bytes:
        """MAC1, MAC2 or MAC3: 4 bytes with a session key, IV zero (section 3)."""
        ...

    def tac(self, tac_key: bytes, data: bytes) -> bytes:
        """The 4-byte TAC with the card's 16-byte DTK (section 3)."""
        ...

    def command_mac(self, key: bytes, challenge: bytes, message: bytes) -> bytes:
        """MAC4 of secure messaging over `header || data`; the 4- or 8-byte challenge opens the IV (section 5)."""
        ...

    def padded_mac(self, key: bytes, blocks: bytes, iv: bytes) -> bytes:
        """The MAC of `command_mac` over data that is padded already (PSAM, DES CRYPT)."""
        ...

    def encrypt(self, key: bytes, blocks: bytes) -> bytes:
        """ECB over whole blocks."""
        ...

    def decrypt(self, key: bytes, blocks: bytes) -> bytes:
        """Inverse of `encrypt`."""
        ...

    def reload_mac(self, key: bytes, pin: bytes) -> bytes:
        """MAC of RELOAD PIN over the new PIN only (section 4)."""
        ...


class _TripleDes:
    name = "3des"
    block_size = crypto.DES_BLOCK

    def diversify(self, key: bytes, factors: Sequence[bytes]) -> bytes:
        for factor in factors:
            key = crypto.diversify_des(key, factor)
        return key

    def session_key(self, key: bytes, session_input: bytes) -> bytes:
        return crypto.des_encrypt(key, session_input)

    def mac(self, session_key: bytes, data: bytes) -> bytes:
        return crypto.mac8(session_key, data)

    def tac(self, tac_key: bytes, data: bytes) -> bytes:
        return crypto.mac8(crypto.xor8(tac_key[:8], tac_key[8:]), data)

    def command_mac(self, key: bytes, challenge: bytes, message: bytes) -> bytes:
        iv = challenge.ljust(8, b"\x00")
        return crypto.mac16(key, message, iv) if len(key) == 16 else crypto.mac8(key, message, iv)

    def padded_mac(self, key: bytes, blocks: bytes, iv: bytes) -> bytes:
        return crypto.mac16_padded(key, blocks, iv)

    def encrypt(self, key: bytes, blocks: bytes) -> bytes:
        return crypto.des_encrypt(key, blocks)

    def decrypt(self, key: bytes, blocks: bytes) -> bytes:
        return crypto.des_decrypt(key, blocks)

    def reload_mac(self, key: bytes, pin: bytes) -> bytes:
        return crypto.mac8(crypto.xor8(key[:8], key[8:]), pin)


class _Sm4:
    """Section 7; everything but the diversification is [convention], kept in this one class."""

    name = "sm4"
    block_size = crypto.SM4_BLOCK

    def diversify(self, key: bytes, factors: Sequence[bytes]) -> bytes:
        for factor in factors:
            key = crypto.diversify_sm4(key, factor)
        return key

    def session_key(self, key: bytes, session_input: bytes) -> bytes:
        return crypto.sm4_encrypt(key, crypto.pad(session_input, self.block_size))

    def mac(self, session_key: bytes, data: bytes) -> bytes:
        return crypto.sm4_mac(session_key, data)

    def tac(self, tac_key: bytes, data: bytes) -> bytes:
        return crypto.sm4_mac(tac_key, data)

    def command_mac(self, key: bytes, challenge: bytes, message: bytes) -> bytes:
        return crypto.sm4_mac(key, message, challenge.ljust(16, b"\x00"))

    def padded_mac(self, key: bytes, blocks: bytes, iv: bytes) -> bytes:
        state = iv or bytes(self.block_size)
        for offset in range(0, len(blocks), self.block_size):
            block = int.from_bytes(state, "big") ^ int.from_bytes(blocks[offset : offset + self.block_size], "big")
            state = crypto.sm4_encrypt(key, block.to_bytes(self.block_size, "big"))
        return state[: crypto.MAC_SIZE]

    def encrypt(self, key: bytes, blocks: bytes) -> bytes:
        return crypto.sm4_encrypt(key, blocks)

    def decrypt(self, key: bytes, blocks: bytes) -> bytes:
        return crypto.sm4_decrypt(key, blocks)

    def reload_mac(self, key: bytes, pin: bytes) -> bytes:
        return crypto.sm4_mac(key, pin)


TRIPLE_DES: Algorithm = _TripleDes()
SM4: Algorithm = _Sm4()

ALGORITHM_3DES = 0x00
ALGORITHM_SM4 = 0x04

# Algorithm byte -> algorithm (purse-crypto.md, section 2). 01 was seen with 3DES; the rest is [convention].
ALGORITHMS: dict[int, Algorithm] = {ALGORITHM_3DES: TRIPLE_DES, 0x01: TRIPLE_DES, ALGORITHM_SM4: SM4}


def algorithm(algorithm_id: int) -> Algorithm:
    """The algorithm of an algorithm byte.

    Raises:
        AlgorithmUnknown: The byte is not registered.
    """
    try:
        return ALGORITHMS[algorithm_id]
    except KeyError:
        raise AlgorithmUnknown(algorithm_id=algorithm_id) from None
