"""Custody of master keys: handles instead of bytes, MACs instead of keys. See README.md."""

from libs.keystore.dev import create_test_keystore, demo_keystore
from libs.keystore.errors import KeyFileUnreadable, KeyUnknown, KeyUseForbidden, PublicKeyRefused
from libs.keystore.handles import KeyHandle, KeyKind
from libs.keystore.port import KeyStore
from libs.keystore.rules import DerivationRules, Factor
from libs.keystore.sealed import Passphrase, SealedKeyStore, Secret, seal
from libs.keystore.soft import SoftKeyStore

__all__ = [
    "DerivationRules",
    "Factor",
    "KeyFileUnreadable",
    "KeyHandle",
    "KeyKind",
    "KeyStore",
    "KeyUnknown",
    "KeyUseForbidden",
    "Passphrase",
    "PublicKeyRefused",
    "SealedKeyStore",
    "Secret",
    "SoftKeyStore",
    "create_test_keystore",
    "demo_keystore",
    "seal",
]
