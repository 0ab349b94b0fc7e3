"""`citycard keys`: the key ceremony. Components are drawn, keys are loaded by two people, check values are shown.

What the commands use is imported inside them, so that `citycard --help` answers at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from libs.keystore.components import Component
    from libs.keystore.handles import KeyHandle
    from libs.keystore.sealed import Passphrase, Secret

FileOption = Annotated[Path, typer.Option("--file", help="The sealed key file.", dir_okay=False)]
SecretOption = Annotated[
    Path | None,
    typer.Option("--secret-file", help="Opens the key file: at least 32 random bytes. Else a passphrase is asked for."),
]
AlgorithmOption = Annotated[int, typer.Option("--algorithm", help="0 for 3DES, 4 for SM4.")]

keys_app = typer.Typer(
    name="keys",
    help="Key ceremony under dual control: components, check values, the sealed key file (密钥分量、校验值、密钥文件).",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.add_typer(keys_app)


@keys_app.command()
def component(algorithm: AlgorithmOption = 0) -> None:
    """Draw a random component for one custodian, and show it once with its check value.

    Each custodian runs this alone, writes both lines down, and seals them in an envelope. Nothing is stored.
    """
    import secrets

    from libs.keystore.components import KEY_SIZE, Component

    with _refusals():
        drawn = Component(secrets.token_bytes(KEY_SIZE))
        check_value = drawn.check_value(algorithm)
    digits = drawn.value.hex().upper()
    typer.echo("component 分量      " + " ".join(digits[at : at + 4] for at in range(0, len(digits), 4)))
    typer.echo(f"check value 校验值  {check_value.hex().upper()}")


@keys_app.command()
def load(
    label: Annotated[
        str,
        typer.Argument(
            metavar="KEY", help="Its name: scheme.issuer.kind.version.algorithm, as jt.00005840ffffffff.tac.01.00"
        ),
    ],
    file: FileOption,
    check_value: Annotated[
        str, typer.Option("--check-value", help="What the key was announced to have: 6 hexadecimal digits.")
    ],
    secret_file: SecretOption = None,
    component_files: Annotated[
        list[Path] | None,
        typer.Option("--component-file", help="Hexadecimal component, one file each; else each custodian types."),
    ] = None,
    components: Annotated[int, typer.Option("--components", help="How many custodians type.", min=2, max=9)] = 2,
) -> None:
    """Put a key together from the components of two or more custodians, and seal it into the key file.

    Typed components are not shown; the check value of each is, so that its custodian can compare. The key is refused
    unless it has the check value that was announced. A key is never replaced: a new one has a new version.
    """
    from libs.keystore.components import combine
    from libs.keystore.sealed import add_key

    handle = _handle(label)
    with _refusals():
        expected = _check_value(check_value)
        if component_files:
            brought = [_component(path.read_text(), handle.algorithm_id) for path in component_files]
        else:
            brought = [_typed(number, handle.algorithm_id) for number in range(1, components + 1)]
        key = combine(brought, handle.algorithm_id, expected)
        add_key(file, _unlock(secret_file, new=not file.exists()), handle, key)
    typer.echo(f"{handle.label}  check value 校验值 {expected.hex().upper()}  已装入 loaded into {file}")


@keys_app.command(name="list")
def list_keys(
    file: FileOption,
    secret_file: SecretOption = None,
    test: Annotated[bool, typer.Option("--test", help="Open a file of test keys.")] = False,
) -> None:
    """List the keys of a key file by name, with their check values. No key is ever shown."""
    from rich.console import Console
    from rich.table import Table

    from libs.keystore.sealed import SealedKeyStore

    with _refusals():
        store = SealedKeyStore.open(file, _unlock(secret_file), deployment="test" if test else "production")
        rows = [(handle, store.check_value(handle)) for handle in sorted(store.handles())]
    table = Table("密钥 key", "机构 issuer", "用途 kind", "版本 version", "算法 algorithm", "校验值 check value")
    for handle, value in rows:
        issuer, algorithm = handle.issuer.hex().upper(), "SM4" if handle.algorithm_id & 0x04 else "3DES"
        table.add_row(handle.label, issuer, handle.kind, f"{handle.version:02X}", algorithm, value.hex().upper())
    Console().print(table)


def _handle(label: str) -> "KeyHandle":
    from libs.keystore.handles import KeyHandle

    try:
        return KeyHandle.from_label(label.strip().lower())
    except (ValueError, AssertionError):
        raise typer.BadParameter(
            "a key is named scheme.issuer.kind.version.algorithm, as jt.00005840ffffffff.tac.01.00", param_hint="KEY"
        ) from None


def _check_value(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 3:
        raise typer.BadParameter("a check value has 6 hexadecimal digits", param_hint="--check-value")
    return value


def _component(text: str, algorithm_id: int) -> "Component":
    from libs.keystore.components import Component

    brought = Component.from_text(text.strip())
    typer.echo(f"check value 校验值  {brought.check_value(algorithm_id).hex().upper()}", err=True)
    return brought


def _typed(number: int, algorithm_id: int) -> "Component":
    return _component(typer.prompt(f"分量 component {number}", hide_input=True), algorithm_id)


def _unlock(secret_file: Path | None, *, new: bool = False) -> "Passphrase | Secret":
    from libs.keystore.sealed import Passphrase, Secret

    if secret_file is not None:
        return Secret.from_file(secret_file)
    words = typer.prompt("口令 passphrase of the key file", hide_input=True, confirmation_prompt=new)
    return Passphrase(words.encode())


# In front of the reason and its facts: what a custodian in the key room reads first.
_WORDS = {
    "KEY_CHECK_VALUE_WRONG": "密钥校验值不符：分量有误，或不属于这个密钥",
    "KEY_COMPONENT_MALFORMED": "密钥分量不合格",
    "KEY_EXISTS": "密钥已存在，不可覆盖；新密钥用新的版本号",
    "KEY_FILE_UNREADABLE": "密钥文件打不开：口令有误、已损坏，或不是密钥文件",
    "PUBLIC_KEY_REFUSED": "拒绝公开的测试密钥",
}


@contextmanager
def _refusals() -> Iterator[None]:
    """A refusal becomes one line and exit status 1; it never holds key bytes."""
    from libs.errors import DomainError

    try:
        yield
    except DomainError as error:
        typer.echo(f"{_WORDS.get(error.reason, '拒绝')}  {error}", err=True)
        raise typer.Exit(1) from None
