"""Custody of master keys: handles instead of bytes, MACs instead of keys. See README.md."""

from libs.keystore.combined import CombinedKeyStore
from libs.keystore.components import Component, combine
from libs.keystore.dev import create_test_keystore, demo_keystore
from libs.keystore.device import DeviceKeyStore
from libs.keystore.errors import (
    CheckValueWrong,
    ComponentMalformed,
    KeyAlgorithmUnsupported,
    KeyDeviceLocked,
    KeyDeviceUnavailable,
    KeyExists,
    KeyFileUnreadable,
    KeyUnknown,
    KeyUseForbidden,
    PublicKeyRefused,
)
from libs.keystore.handles import KeyHandle, KeyKind
from libs.keystore.port import KeyStore
from libs.keystore.rules import DerivationRules, Factor
from libs.keystore.sealed import Passphrase, SealedKeyStore, Secret, add_key, seal
from libs.keystore.soft import SoftKeyStore

__all__ = [
    "CheckValueWrong",
    "CombinedKeyStore",
    "Component",
    "ComponentMalformed",
    "DerivationRules",
    "DeviceKeyStore",
    "Factor",
    "KeyAlgorithmUnsupported",
    "KeyDeviceLocked",
    "KeyDeviceUnavailable",
    "KeyExists",
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
    "add_key",
    "combine",
    "create_test_keystore",
    "demo_keystore",
    "seal",
]
