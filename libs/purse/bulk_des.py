"""DES CBC-MAC of many rows at once, every row under its own key (docs/adr/0005-bulk-tac.md).

A row is a lane of NumPy columns. One DES half block is kept as a 64-bit *dual* word, `ROR(R, 3) << 32 | ROL(R, 1)`: the
six inputs of S-boxes 1 3 5 7 (high word) and 2 4 6 8 (low word) lie each in a byte of its own there. The expansion E is
free then, and two neighbouring S-boxes with the permutation P behind them are one look-up by 16 bits. Bits outside the
mask 3F3F… are copies; they are never read. Only the initial permutation of the input and the final one of the result
are paid: between chained blocks they cancel.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Bytes2D = npt.NDArray[np.uint8]

# Rows worked on together: keys, state and tables stay in the second-level cache.
BLOCK_ROWS = 4096

_ROUNDS = 16
_LANE = np.uint64(0x3F3F3F3F3F3F3F3F)
_PIECE = np.int64(0x3FFF)

_S_BOXES = (
    "E4D12FB83A6C5907 0F74E2D1A6CB9538 41E8D62BFC973A50 FC8249175B3EA06D",
    "F18E6B34972DC05A 3D47F28EC01A69B5 0E7BA4D158C6932F D8A13F42B67C05E9",
    "A09E63F51DC7B428 D709346A285ECBF1 D6498F30B12C5AE7 1AD069874FE3B52C",
    "7DE3069A1285BC4F D8B56F03472C1AE9 A690CB7DF13E5284 3F06A1D8945BC72E",
    "2C417AB6853FD0E9 EB2C47D150FA3986 421BAD78F9C5630E B8C71E2D6F09A453",
    "C1AF92680D34E75B AF427C9561DE0B38 9EF528C3704A1DB6 432C95FABE17608D",
    "4B2EF08D3C975A61 D0B7491AE35C2F86 14BDC37EAF680592 6BD814A7950FE23C",
    "D2846FB1A93E50C7 1FD8A374C56B0E92 7B419CE206ADF358 21E74A8DFC90356B",
)
_P = (
    *(16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10),
    *(2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4, 25),
)
_PC1 = (
    *(57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36),
    *(63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4),
)
_PC2 = (
    *(14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2),
    *(41, 52, 31, 37, 47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32),
)
# Left rotation of C and D, added up over the rounds.
_ROTATIONS = (1, 2, 4, 6, 8, 10, 12, 14, 15, 17, 19, 21, 23, 25, 27, 28)
# Where S-box s (0-7) finds its six bits in the dual word, and which two share a 16-bit quarter (high byte, low byte).
_LANE_SHIFT = (56, 24, 48, 16, 40, 8, 32, 0)
_QUARTERS = ((5, 7), (1, 3), (4, 6), (0, 2))


class _Tables(NamedTuple):
    """Look-ups made once per process.

    Attributes:
        rounds: 4 x 16384, the round function by 16-bit quarter of the dual word.
        initial: 2 x 8 x 256, the initial permutation by byte: dual left half, dual right half.
        final: 8 x 256, the final permutation by byte of `R16 || L16`.
        choice: 8 x 256, PC1 by key byte: `C << 28 | D`.
        subkey: 4 x 16384, PC2 by 14-bit piece of C and D, already in lane positions.
    """

    rounds: list[Words]
    initial: list[list[Words]]
    final: list[Words]
    choice: list[Words]
    subkey: list[Words]


def _dual(half: int) -> int:
    doubled = half << 32 | half
    return ((doubled >> 3) & 0xFFFFFFFF) << 32 | (doubled >> 31) & 0xFFFFFFFF


def _linear(columns: list[int]) -> Words:
    """Table of a linear map over an input of `len(columns)` bits; `columns[0]` is the image of the highest bit."""
    table = np.zeros(1, np.uint64)
    for column in columns:
        table = np.stack((table, table ^ np.uint64(column)), axis=1).reshape(-1)
    return table


@cache
def _tables() -> _Tables:
    # A half of a block as four bits out of S-box s, permuted by P, in dual form.
    after_p = [0] * 32
    for out, source in enumerate(_P):
        after_p[source - 1] = 1 << (31 - out)
    boxes = np.zeros((8, 64), np.uint64)
    for box, text in enumerate(_S_BOXES):
        rows = text.split()
        for value in range(64):
            nibble = int(rows[(value >> 4 & 2) | (value & 1)][value >> 1 & 15], 16)
            half = sum(after_p[4 * box + bit] for bit in range(4) if nibble >> (3 - bit) & 1)
            boxes[box, value] = _dual(half)
    index = np.arange(0x4000)
    rounds = [boxes[high, index >> 8 & 63] ^ boxes[low, index & 63] for high, low in _QUARTERS]

    # The initial permutation: output row r holds bit (1 3 5 7 0 2 4 6)[r] of bytes 7..0.
    initial: list[list[Words]] = [[], []]
    left_or_right = ((1, 3, 5, 7), (0, 2, 4, 6))
    for half_tables, bits in zip(initial, left_or_right, strict=True):
        for byte in range(8):
            images = [_dual(1 << (31 - 8 * bits.index(bit) - (7 - byte))) if bit in bits else 0 for bit in range(8)]
            half_tables.append(_linear(images))
    final = []
    order = (1, 3, 5, 7, 0, 2, 4, 6)
    for byte in range(8):
        # Input bit j of byte `byte` of R16||L16 came from bit order[byte] of byte 7-j.
        final.append(_linear([1 << (63 - 8 * (7 - bit) - order[byte]) for bit in range(8)]))

    choice = []
    for byte in range(8):
        images = [1 << (55 - _PC1.index(8 * byte + bit + 1)) if bit < 7 else 0 for bit in range(8)]
        choice.append(_linear(images))
    # Bit p of the 48-bit subkey belongs to S-box p // 6; inside its lane the first bit is the highest of six.
    lanes = [0] * 56
    for position, source in enumerate(_PC2):
        box, bit = divmod(position, 6)
        lanes[source - 1] = 1 << (_LANE_SHIFT[box] + 5 - bit)
    subkey = [_linear(lanes[14 * piece : 14 * piece + 14]) for piece in range(4)]
    return _Tables(rounds, initial, final, choice, subkey)


def _by_bytes(tables: list[Words], columns: npt.NDArray[np.intp]) -> Words:
    """A linear map of 8 bytes: `columns` is (8, n) indices."""
    result: Words = tables[0].take(columns[0], mode="clip")
    for table, column in zip(tables[1:], columns[1:], strict=True):
        result ^= table.take(column, mode="clip")
    return result


def _indices(rows: Bytes2D) -> npt.NDArray[np.intp]:
    """(n, 8) bytes as (8, n) look-up indices."""
    return np.ascontiguousarray(rows.T.astype(np.intp))


def subkeys(keys: Bytes2D) -> list[Words]:
    """The sixteen round keys, each (n,) in lane positions, of (n, 8) DES keys."""
    tables = _tables()
    chosen = _by_bytes(tables.choice, _indices(keys)).view(np.int64)
    # C and D doubled, so that every rotation is a plain shift.
    c, d = chosen >> 28, chosen & 0xFFFFFFF
    c, d = c << 28 | c, d << 28 | d
    result = []
    for rotation in _ROTATIONS:
        shift = 28 - rotation
        key = tables.subkey[0].take(c >> (shift + 14) & _PIECE, mode="clip")
        key ^= tables.subkey[1].take(c >> shift & _PIECE, mode="clip")
        key ^= tables.subkey[2].take(d >> (shift + 14) & _PIECE, mode="clip")
        key ^= tables.subkey[3].take(d >> shift & _PIECE, mode="clip")
        result.append(key)
    return result


def _sixteen_rounds(left: Words, right: Words, keys: list[Words]) -> tuple[Words, Words]:
    """The rounds in place; returns (R16, L16), the order in which they leave the last round."""
    tables = _tables().rounds
    rows = len(left)
    lanes = np.empty(rows, "<u8")
    quarters = lanes.view("<u2").reshape(rows, 4)
    index = np.empty(rows, np.intp)
    found = np.empty(rows, np.uint64)
    for key in keys:
        np.bitwise_xor(right, key, out=lanes)
        np.bitwise_and(lanes, _LANE, out=lanes)
        for quarter, table in enumerate(tables):
            np.copyto(index, quarters[:, quarter])
            table.take(index, out=found, mode="clip")
            left ^= found
        left, right = right, left
    return right, left


def _cbc_mac_block(keys: Bytes2D, blocks: Bytes2D) -> Bytes2D:
    """`des_cbc_mac` of one block of rows."""
    tables = _tables()
    round_keys = subkeys(keys)
    left = right = np.zeros(len(keys), np.uint64)
    for offset in range(0, blocks.shape[1], 8):
        columns = _indices(blocks[:, offset : offset + 8])
        left = left ^ _by_bytes(tables.initial[0], columns)
        right = right ^ _by_bytes(tables.initial[1], columns)
        left, right = _sixteen_rounds(left, right, round_keys)
    halves = np.empty((len(keys), 2), ">u4")
    for column, half in enumerate((left, right)):
        rotated = half >> np.uint64(32)
        halves[:, column] = (rotated << np.uint64(3) | rotated >> np.uint64(29)) & np.uint64(0xFFFFFFFF)
    state = _by_bytes(tables.final, _indices(halves.view(np.uint8).reshape(-1, 8)))
    return state.astype(">u8").view(np.uint8).reshape(-1, 8)


def des_cbc_mac(keys: Bytes2D, blocks: Bytes2D) -> Bytes2D:
    """Last CBC block of every row, IV zero.

    Args:
        keys: (n, 8) uint8, one single-DES key per row; parity bits are ignored.
        blocks: (n, 8m) uint8, m >= 1; already padded.

    Returns:
        (n, 8) uint8; the MAC8 of purse-crypto.md section 1 is its first four columns.
    """
    assert keys.shape == (len(blocks), 8), "one 8-byte key per row"
    assert blocks.shape[1] % 8 == 0, "whole blocks"
    assert blocks.shape[1], "a MAC has at least one block"
    result = np.empty((len(keys), 8), np.uint8)
    for start in range(0, len(keys), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        result[rows] = _cbc_mac_block(keys[rows], blocks[rows])
    return result
