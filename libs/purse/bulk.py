"""Purchase TACs of many records at once, as columns (docs/adr/0005-bulk-tac.md).

The plain way, one diversification and one MAC per record through `cryptography`, is the oracle of the tests:
`libs.purse.host.check_purchase_tac`. Results are identical; a card number is bound only by the key derived from it.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from libs.keystore.errors import KeyUnknown
from libs.keystore.handles import KeyHandle, KeyKind
from libs.keystore.port import KeyStore
from libs.purse.algorithms import SM4, algorithm
from libs.purse.bulk_des import des_cbc_mac
from libs.purse.bulk_sm4 import sm4_cbc_mac
from libs.purse.crypto import MAC_SIZE
from libs.purse.scheme import FACTOR_SIZE, Scheme
from libs.purse.transactions import TAC_DATA_SIZE

Bytes2D = npt.NDArray[np.uint8]
Bytes1D = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


def bulk_tac(
    store: KeyStore,
    scheme: Scheme,
    issuer: bytes,
    numbers: Bytes2D,
    key_versions: Bytes1D,
    algorithm_ids: Bytes1D,
    data: Bytes2D,
) -> Bytes2D:
    """The TAC that each card would make.

    Args:
        store: Holds the issuer's TAC keys.
        scheme: Of all cards.
        issuer: Of all cards, 8 bytes; a caller with several issuers calls once for each.
        numbers: (n, 10) canonical card numbers, or (n, 8) the last 8 bytes of each.
        key_versions: (n,) uint8.
        algorithm_ids: (n,) uint8.
        data: (n, 22) TAC data of each record (purse-crypto.md, section 3), not padded.

    Returns:
        (n, 4) uint8.

    Raises:
        KeyUnknown: Some row names a key that is not held.
    """
    tacs = np.zeros((len(data), MAC_SIZE), np.uint8)
    for handle, rows in _by_key(store, scheme, issuer, key_versions, algorithm_ids):
        if handle is None:
            row = int(rows[0])
            raise KeyUnknown(key_version=int(key_versions[row]), algorithm_id=f"{int(algorithm_ids[row]):02X}")
        tacs[rows] = _tacs_of_one_key(store, handle, numbers[rows], data[rows])
    return tacs


def verify_tacs(
    store: KeyStore,
    scheme: Scheme,
    issuer: bytes,
    numbers: Bytes2D,
    key_versions: Bytes1D,
    algorithm_ids: Bytes1D,
    data: Bytes2D,
    tacs: Bytes2D,
) -> Flags:
    """Which rows carry the TAC that their claimed card would make; arguments as `bulk_tac`, `tacs` (n, 4).

    A row whose key is not held is False; `keys_known` tells such rows (result code 13) from wrong TACs (code 12).
    """
    right = np.zeros(len(data), np.bool_)
    for handle, rows in _by_key(store, scheme, issuer, key_versions, algorithm_ids):
        if handle is not None:
            made = _tacs_of_one_key(store, handle, numbers[rows], data[rows])
            right[rows] = (made == tacs[rows]).all(axis=1)
    return right


def keys_known(store: KeyStore, scheme: Scheme, issuer: bytes, key_versions: Bytes1D, algorithm_ids: Bytes1D) -> Flags:
    """Which rows name a TAC key of the issuer that is held."""
    known = np.zeros(len(key_versions), np.bool_)
    for handle, rows in _by_key(store, scheme, issuer, key_versions, algorithm_ids):
        known[rows] = handle is not None
    return known


def _by_key(
    store: KeyStore, scheme: Scheme, issuer: bytes, key_versions: Bytes1D, algorithm_ids: Bytes1D
) -> Iterator[tuple[KeyHandle | None, npt.NDArray[np.intp]]]:
    """Row numbers by master key; None for a key that is not held."""
    pairs = key_versions.astype(np.uint16) << 8 | algorithm_ids
    for pair in np.unique(pairs):
        version, algorithm_id = divmod(int(pair), 256)
        try:
            handle = store.find(scheme, issuer, KeyKind.TAC, version, algorithm_id)
        except KeyUnknown:
            handle = None
        yield handle, np.flatnonzero(pairs == pair)


def _tacs_of_one_key(store: KeyStore, handle: KeyHandle, numbers: Bytes2D, data: Bytes2D) -> Bytes2D:
    assert data.shape[1] == TAC_DATA_SIZE, "TAC data of a purchase has 22 bytes"
    keys = _card_keys(store, handle, numbers[:, -FACTOR_SIZE:])
    cipher = algorithm(handle.algorithm_id)
    padded = np.zeros((len(data), -(-(TAC_DATA_SIZE + 1) // cipher.block_size) * cipher.block_size), np.uint8)
    padded[:, :TAC_DATA_SIZE] = data
    padded[:, TAC_DATA_SIZE] = 0x80
    if cipher is SM4:
        return sm4_cbc_mac(keys, padded)[:, :MAC_SIZE]
    return des_cbc_mac(keys[:, :8] ^ keys[:, 8:], padded)[:, :MAC_SIZE]


def _card_keys(store: KeyStore, handle: KeyHandle, factors: Bytes2D) -> Bytes2D:
    """TAC key of every row; a card that comes more than once is derived once."""
    as_words = np.ascontiguousarray(factors).view(np.uint64).reshape(-1)
    cards, row_of = np.unique(as_words, return_inverse=True)
    return store.bulk_diversify(handle, cards.view(np.uint8).reshape(-1, FACTOR_SIZE))[row_of]
