"""A SoftHSM2 token of the session; SoftHSM2 is installed here when it is missing."""

import importlib.util
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tools.devices import CannotInstall, install_module

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = b"483920"


class Token(NamedTuple):
    """Where a token is, and what opens it."""

    module: Path
    label: str
    pin: bytes


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The library, with an empty folder of tokens; it reads its settings once per process."""
    try:
        install_module()
    except CannotInstall as reason:
        pytest.skip(f"no SoftHSM2 here: {reason}")
    if importlib.util.find_spec("pkcs11") is None:
        pytest.skip("python-pkcs11 is not installed: pip install -r requirements-dev.lock")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(settings)
    pins = ("--so-pin", "90909090", "--pin", PIN.decode())
    # A library that is loaded already counts its slots anew only when a token is asked for: make all tokens first.
    for label in ("citycard", "empty", "wrong-pin", "shared"):
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", label, *pins],
            check=True,
            capture_output=True,
        )
    yield MODULE
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.fixture(scope="session")
def token(softhsm: Path) -> Token:
    return Token(softhsm, "citycard", PIN)
