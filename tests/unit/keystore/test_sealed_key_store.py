"""The sealed key file: what does not open it, and what it refuses to hold."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from libs.keystore import (
    KeyFileUnreadable,
    KeyHandle,
    KeyKind,
    KeyUseForbidden,
    Passphrase,
    PublicKeyRefused,
    SealedKeyStore,
    Secret,
    create_test_keystore,
    seal,
)
from libs.keystore.public_keys import is_public
from libs.purse.scheme import Scheme

ISSUER = bytes.fromhex("01019901FFFFFFFF")
SECRET = Secret(bytes(range(32)))
HANDLE = KeyHandle(Scheme.CJ, ISSUER, KeyKind.TAC, 1, 0)
KEY = bytes.fromhex("8f1d02b3c4955f6e7a8b9cadbecfd0e1")
VECTORS = Path(__file__).parents[2] / "vectors" / "vectors.json"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    seal(tmp_path / "keys", SECRET, {HANDLE: KEY})
    return tmp_path / "keys"


def test_a_sealed_file_opens_with_its_secret_only(path: Path) -> None:
    assert SealedKeyStore.open(path, SECRET).handles() == (HANDLE,)
    for wrong in (Secret(bytes(32)), Passphrase(SECRET.value)):
        with pytest.raises(KeyFileUnreadable):
            SealedKeyStore.open(path, wrong)


def test_a_passphrase_opens_what_it_sealed(tmp_path: Path) -> None:
    seal(tmp_path / "keys", Passphrase(b"correct horse"), {HANDLE: KEY})
    assert SealedKeyStore.open(tmp_path / "keys", Passphrase(b"correct horse")).handles() == (HANDLE,)
    with pytest.raises(KeyFileUnreadable):
        SealedKeyStore.open(tmp_path / "keys", Passphrase(b"correct house"))


def test_any_changed_byte_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :])
        with pytest.raises(KeyFileUnreadable):
            SealedKeyStore.open(path, SECRET)


def test_a_file_cut_at_any_length_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(KeyFileUnreadable):
            SealedKeyStore.open(path, SECRET)


@pytest.mark.parametrize("cost", [0, 21, 255])
def test_a_monstrous_scrypt_cost_is_refused_before_it_is_paid(tmp_path: Path, cost: int) -> None:
    seal(tmp_path / "keys", Passphrase(b"x"), {HANDLE: KEY})
    content = bytearray((tmp_path / "keys").read_bytes())
    content[9] = cost
    (tmp_path / "keys").write_bytes(content)
    with pytest.raises(KeyFileUnreadable):
        SealedKeyStore.open(tmp_path / "keys", Passphrase(b"x"))


def test_an_absent_file_or_short_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileUnreadable):
        SealedKeyStore.open(tmp_path / "none", SECRET)
    with pytest.raises(KeyFileUnreadable):
        Secret.from_file(tmp_path / "none")
    (tmp_path / "short").write_bytes(bytes(31))
    with pytest.raises(KeyFileUnreadable):
        Secret.from_file(tmp_path / "short")


def test_the_file_is_for_its_owner_and_shows_no_key(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    content = path.read_bytes()
    assert KEY not in content
    assert KEY.hex().encode() not in content
    assert [file.name for file in path.parent.iterdir()] == ["keys"], "no temporary file stays behind"


def public_keys() -> list[bytes]:
    """Every 16-byte key that vectors.json spells out."""
    found: set[str] = set()

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, key)
        elif (
            isinstance(value, str)
            and len(value) == 32
            and ("key" in name or name in ("dpk", "dlk", "dtk", "gmpk", "level1"))
        ):
            found.add(value)

    for vector in json.loads(VECTORS.read_text())["vectors"]:
        walk(vector["inputs"], "")
        walk(vector["outputs"], "")
    return [bytes.fromhex(text) for text in sorted(found)]


def test_every_key_of_the_vectors_is_refused_in_production_whatever_its_parity(tmp_path: Path) -> None:
    keys = public_keys()
    assert len(keys) > 20
    for key in keys:
        assert is_public(key)
        assert is_public(bytes(byte ^ 1 for byte in key))
        with pytest.raises(PublicKeyRefused):
            seal(tmp_path / "keys", SECRET, {HANDLE: key})
    assert not (tmp_path / "keys").exists()


def test_a_key_of_one_repeated_byte_is_public_and_a_random_one_is_not() -> None:
    assert is_public(bytes(16))
    assert is_public(b"\x3f" * 16)
    assert not is_public(KEY)


def test_test_keys_open_in_a_test_deployment_only(tmp_path: Path) -> None:
    create_test_keystore(tmp_path / "keys", SECRET, "demo", [(Scheme.CJ, ISSUER), (Scheme.JT, ISSUER)])
    with pytest.raises(PublicKeyRefused):
        SealedKeyStore.open(tmp_path / "keys", SECRET)
    store = SealedKeyStore.open(tmp_path / "keys", SECRET, deployment="test")
    assert len(store.handles()) == 2 * len(KeyKind) * 2


def test_the_same_seed_makes_the_same_keys_and_another_seed_others(tmp_path: Path) -> None:
    values = []
    for name, seed in (("a", "demo"), ("b", "demo"), ("c", "other")):
        create_test_keystore(tmp_path / name, SECRET, seed, [(Scheme.CJ, ISSUER)])
        store = SealedKeyStore.open(tmp_path / name, SECRET, deployment="test")
        values.append([store.check_value(handle) for handle in store.handles()])
    assert values[0] == values[1] != values[2]
    assert len(set(values[0])) == len(values[0]), "no two kinds share a key"


def test_real_keys_do_not_leave_the_store(path: Path) -> None:
    store = SealedKeyStore.open(path, SECRET)
    with pytest.raises(KeyUseForbidden):
        store.export(HANDLE)
    assert KEY.hex() not in repr(store)
    with pytest.raises(TypeError):
        pickle.dumps(store)
    assert "correct" not in repr(Passphrase(b"correct horse"))
    assert repr(SECRET.value) not in repr(SECRET)
