"""Test keys of a demo city, made from a seed: the same seed gives the same keys, so they are public by nature."""

from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from libs.keystore.handles import KeyHandle, KeyKind
from libs.keystore.sealed import Passphrase, Secret, seal
from libs.keystore.soft import SoftKeyStore
from libs.purse.algorithms import ALGORITHM_3DES, ALGORITHM_SM4
from libs.purse.scheme import Scheme

# Seed of the keys of a local city, and of the cards that `citycard card personalise` makes for it.
LOCAL_CITY_SEED = "citycard local city"
DEFAULT_ALGORITHMS = (ALGORITHM_3DES, ALGORITHM_SM4)


def demo_keys(
    seed: str,
    issuers: Iterable[tuple[Scheme, bytes]],
    *,
    versions: Iterable[int] = (1,),
    algorithm_ids: Iterable[int] = DEFAULT_ALGORITHMS,
) -> dict[KeyHandle, bytes]:
    """Master keys of every kind for some issuers.

    Args:
        seed: Any text.
        issuers: Scheme and 8-byte issuer id of each.
        versions: Key versions to make.
        algorithm_ids: Algorithm bytes to make; each has keys of its own.
    """
    versions, algorithm_ids = tuple(versions), tuple(algorithm_ids)
    return {
        handle: HKDF(SHA256(), 16, None, handle.label.encode()).derive(seed.encode())
        for scheme, issuer in issuers
        for kind in KeyKind
        for version in versions
        for algorithm_id in algorithm_ids
        for handle in (KeyHandle(scheme, issuer, kind, version, algorithm_id),)
    }


def demo_keystore(
    seed: str, issuers: Iterable[tuple[Scheme, bytes]], *, versions: Iterable[int] = (1,)
) -> SoftKeyStore:
    """The same keys in a store of this process only; for simulators and tests."""
    return SoftKeyStore(demo_keys(seed, issuers, versions=versions), exportable=True)


def create_test_keystore(
    path: Path,
    unlock: Passphrase | Secret,
    seed: str,
    issuers: Iterable[tuple[Scheme, bytes]],
    *,
    versions: Iterable[int] = (1,),
) -> None:
    """Write the same keys to a sealed file that only a deployment marked as test opens."""
    seal(path, unlock, demo_keys(seed, issuers, versions=versions), test=True)
