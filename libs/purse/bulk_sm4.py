"""SM4 CBC-MAC of many rows at once, every row under its own key (docs/adr/0005-bulk-tac.md).

The nonlinear layer and the linear one behind it are four look-ups by byte, in the cipher (T) and
in the key schedule (T').
"""

from functools import cache

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
Bytes2D = npt.NDArray[np.uint8]

# Rows worked on together: 32 round keys and the state stay in the second-level cache.
BLOCK_ROWS = 4096

_S_BOX = bytes.fromhex(
    "D690E9FECCE13DB716B614C228FB2C052B679A762ABE04C3AA441326498606999C4250F491EF987A33540B43EDCFAC62"
    "E4B31CA9C908E89580DF94FA758F3FA64707A7FCF37317BA83593C19E6854FA8686B81B27164DA8BF8EB0F4B70569D35"
    "1E240E5E6358D1A225227C3B01217887D40046579FD327524C3602E7A0C4C89EEABF8AD240C738B5A3F7F2CEF96115A1"
    "E0AE5DA49B341A55AD933230F58CB1E31DF6E22E8266CA60C02923AB0D534E6FD5DB3745DEFD8E2F03FF6A726D6C5B51"
    "8D1BAF92BBDDBC7F11D95C411F105AD80AC13188A5CD7BBD2D74D012B8E5B4B08969974A0C96777E65B9F109C56EC684"
    "18F07DEC3ADC4D2079EE5F3ED7CB3948"
)
_FK = (0xA3B1BAC6, 0x56AA3350, 0x677D9197, 0xB27022DC)
_CK = tuple(int.from_bytes(bytes((4 * i + j) * 7 % 256 for j in range(4)), "big") for i in range(32))
_CIPHER_ROTATIONS = (0, 2, 10, 18, 24)
_KEY_ROTATIONS = (0, 13, 23)


@cache
def _tables(rotations: tuple[int, ...]) -> list[Words]:
    """S-box and linear layer, by byte of the word; entry 0 serves the lowest byte."""
    result = []
    for byte in range(4):
        table = np.zeros(256, np.uint32)
        for value in range(256):
            word = _S_BOX[value] << (8 * byte)
            mixed = 0
            for rotation in rotations:
                mixed ^= (word << rotation | word >> (32 - rotation)) & 0xFFFFFFFF
            table[value] = mixed
        result.append(table)
    return result


class _Lanes:
    """Scratch columns for one block of rows."""

    __slots__ = ("_bytes", "_found", "_index", "word")

    def __init__(self, rows: int) -> None:
        self.word = np.empty(rows, "<u4")
        self._bytes = self.word.view(np.uint8).reshape(rows, 4)
        self._index = np.empty(rows, np.intp)
        self._found = np.empty(rows, np.uint32)

    def mix_into(self, target: Words, tables: list[Words]) -> None:
        """`target ^= T(word)`."""
        for byte, table in enumerate(tables):
            np.copyto(self._index, self._bytes[:, byte])
            table.take(self._index, out=self._found, mode="clip")
            target ^= self._found


def _columns(rows: Bytes2D) -> list[Words]:
    """(n, 16) bytes as four (n,) words, most significant byte first."""
    words = np.ascontiguousarray(rows).view(">u4")
    return [words[:, column].astype(np.uint32) for column in range(4)]


def _round_keys(keys: Bytes2D, lanes: _Lanes) -> list[Words]:
    tables = _tables(_KEY_ROTATIONS)
    k = [column ^ np.uint32(fk) for column, fk in zip(_columns(keys), _FK, strict=True)]
    for round_number, ck in enumerate(_CK):
        np.bitwise_xor(k[-3], k[-2], out=lanes.word)
        np.bitwise_xor(lanes.word, k[-1], out=lanes.word)
        np.bitwise_xor(lanes.word, np.uint32(ck), out=lanes.word)
        word = k[round_number].copy()
        lanes.mix_into(word, tables)
        k.append(word)
    return k[4:]


def _encrypt(state: list[Words], round_keys: list[Words], lanes: _Lanes) -> list[Words]:
    tables = _tables(_CIPHER_ROTATIONS)
    a, b, c, d = state
    for key in round_keys:
        np.bitwise_xor(b, c, out=lanes.word)
        np.bitwise_xor(lanes.word, d, out=lanes.word)
        np.bitwise_xor(lanes.word, key, out=lanes.word)
        lanes.mix_into(a, tables)
        a, b, c, d = b, c, d, a
    return [d, c, b, a]


def _cbc_mac_block(keys: Bytes2D, blocks: Bytes2D) -> Bytes2D:
    """`sm4_cbc_mac` of one block of rows."""
    lanes = _Lanes(len(keys))
    round_keys = _round_keys(keys, lanes)
    state = [np.zeros(len(keys), np.uint32) for _ in range(4)]
    for offset in range(0, blocks.shape[1], 16):
        columns = _columns(blocks[:, offset : offset + 16])
        state = [word ^ column for word, column in zip(state, columns, strict=True)]
        state = _encrypt(state, round_keys, lanes)
    result = np.empty((len(keys), 4), ">u4")
    for column, final in enumerate(state):
        result[:, column] = final
    return result.view(np.uint8).reshape(-1, 16)


def sm4_cbc_mac(keys: Bytes2D, blocks: Bytes2D) -> Bytes2D:
    """Last CBC block of every row, IV zero.

    Args:
        keys: (n, 16) uint8, one key per row.
        blocks: (n, 16m) uint8, m >= 1; already padded.

    Returns:
        (n, 16) uint8; the MAC of purse-crypto.md section 7 is its first four columns.
    """
    assert keys.shape == (len(blocks), 16), "one 16-byte key per row"
    assert blocks.shape[1] % 16 == 0, "whole blocks"
    assert blocks.shape[1], "a MAC has at least one block"
    result = np.empty((len(keys), 16), np.uint8)
    for start in range(0, len(keys), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        result[rows] = _cbc_mac_block(keys[rows], blocks[rows])
    return result
