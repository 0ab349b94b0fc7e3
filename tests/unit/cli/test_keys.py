"""The key ceremony at the command line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import build
from libs.keystore import KeyHandle, SealedKeyStore, Secret
from libs.keystore.components import key_check_value

LABEL = "jt.00005840ffffffff.tac.01.04"
FIRST, SECOND = "0123456789ABCDEF0F1E2D3C4B5A6978", "00112233 44556677 8899AABB CCDDEEF0"
KEY = bytes(a ^ b for a, b in zip(bytes.fromhex(FIRST), bytes.fromhex(SECOND), strict=True))
CHECK_VALUE = key_check_value(KEY, 4).hex()


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(bytes(range(7, 47)))
    return path


def run(*arguments: str | Path, typed: str | None = None) -> Result:
    return CliRunner().invoke(build(), ["keys", *map(str, arguments)], input=typed)


def load(folder: Path, *more: str | Path, check_value: str = CHECK_VALUE, typed: str | None = None) -> Result:
    return run("load", LABEL, "--file", folder / "keys", "--check-value", check_value, *more, typed=typed)


def test_two_custodians_load_a_key_that_the_service_opens(tmp_path: Path, secret_file: Path) -> None:
    result = load(tmp_path, "--secret-file", secret_file, typed=f"{FIRST}\n{SECOND}\n")
    assert result.exit_code == 0, result.output
    handle = KeyHandle.from_label(LABEL)
    store = SealedKeyStore.open(tmp_path / "keys", Secret.from_file(secret_file))
    assert store.handles() == (handle,)
    assert store.check_value(handle).hex() == CHECK_VALUE
    for digits in (FIRST, SECOND.replace(" ", ""), KEY.hex().upper()):
        assert digits not in result.output.upper().replace(" ", "")


def test_components_come_from_files_too_and_the_list_shows_check_values_only(tmp_path: Path, secret_file: Path) -> None:
    for name, digits in (("a", FIRST), ("b", SECOND)):
        (tmp_path / name).write_text(digits + "\n")
    files = ("--component-file", tmp_path / "a", "--component-file", tmp_path / "b")
    assert load(tmp_path, "--secret-file", secret_file, *files).exit_code == 0
    listed = run("list", "--file", tmp_path / "keys", "--secret-file", secret_file)
    assert listed.exit_code == 0
    assert CHECK_VALUE.upper() in listed.output
    assert KEY.hex().upper() not in listed.output.upper()


@pytest.mark.parametrize(
    ("typed", "check_value", "reason"),
    [
        (f"{FIRST}\n{SECOND}\n", "000000", "KEY_CHECK_VALUE_WRONG"),
        (f"{FIRST[:-1]}0\n{SECOND}\n", CHECK_VALUE, "KEY_CHECK_VALUE_WRONG"),
        (f"{FIRST}\n{FIRST}\n", CHECK_VALUE, "KEY_COMPONENT_MALFORMED"),
        (f"{FIRST[:-2]}\n{SECOND}\n", CHECK_VALUE, "KEY_COMPONENT_MALFORMED"),
        (f"{FIRST[:-2]}XY\n{SECOND}\n", CHECK_VALUE, "KEY_COMPONENT_MALFORMED"),
    ],
)
def test_what_makes_another_key_is_refused_and_nothing_is_written(
    tmp_path: Path, secret_file: Path, typed: str, check_value: str, reason: str
) -> None:
    result = load(tmp_path, "--secret-file", secret_file, check_value=check_value, typed=typed)
    assert result.exit_code == 1
    assert reason in result.output
    assert FIRST[:-2] not in result.output
    assert not (tmp_path / "keys").exists()


def test_a_key_is_never_replaced(tmp_path: Path, secret_file: Path) -> None:
    typed = f"{FIRST}\n{SECOND}\n"
    assert load(tmp_path, "--secret-file", secret_file, typed=typed).exit_code == 0
    again = load(tmp_path, "--secret-file", secret_file, typed=typed)
    assert (again.exit_code, "KEY_EXISTS" in again.output) == (1, True)


def test_a_passphrase_is_asked_for_twice_when_the_file_is_new(tmp_path: Path) -> None:
    assert load(tmp_path, typed=f"{FIRST}\n{SECOND}\nopen sesame\nopen sesame\n").exit_code == 0
    assert run("list", "--file", tmp_path / "keys", typed="open sesame\n").exit_code == 0
    wrong = run("list", "--file", tmp_path / "keys", typed="open barley\n")
    assert (wrong.exit_code, "KEY_FILE_UNREADABLE" in wrong.output) == (1, True)


@pytest.mark.parametrize(
    "label", ["tac", "jt.00.tac.01.00", "jt.00005840ffffffff.tea.01.00", "xx.00005840ffffffff.tac.01.00"]
)
def test_a_name_that_is_no_key_is_misuse(tmp_path: Path, label: str) -> None:
    result = run("load", label, "--file", tmp_path / "keys", "--check-value", CHECK_VALUE)
    assert result.exit_code == 2


def test_a_drawn_component_is_shown_with_its_check_value_and_never_the_same() -> None:
    first, second = (run("component", "--algorithm", "4").output.splitlines() for _ in range(2))
    digits, value = (bytes.fromhex(line.split("  ")[-1].strip()) for line in first)
    assert key_check_value(digits, 4) == value
    assert first != second
