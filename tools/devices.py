"""Card readers and a security module for a machine that has none: Debian's pcscd with a virtual reader, and SoftHSM2.

`python -m tools.devices install` installs what is missing, for the tests; it says what it could not, and never fails:
the tests that need it are then skipped for that reason. `python -m tools.devices up` does the same for readers only,
starts pcscd and lays a virtual card on its virtual reader until it is stopped (`make pcsc-up`).
"""

import argparse
import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PCSC_LOCK = ROOT / "requirements-pcsc.lock"
PCSCD_SOCKET = Path("/run/pcscd/pcscd.comm")
VPCD_DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
VPCD_PORT = 0x8C7B
# Debian package -> what it brings.
READER_PACKAGES = {
    "pcscd": Path("/usr/sbin/pcscd"),
    "vsmartcard-vpcd": VPCD_DRIVER,
    "opensc": Path("/usr/bin/opensc-tool"),
    "pcsc-tools": Path("/usr/bin/scriptor"),
}
MODULE_PACKAGES = {"softhsm2": Path("/usr/bin/softhsm2-util")}


class CannotInstall(Exception):
    """Something is missing here and cannot be had; the text says what, for a test's skip and for people."""


def missing_packages(packages: dict[str, Path]) -> list[str]:
    """Names of the packages whose file is not there."""
    return [name for name, brings in packages.items() if not brings.exists()]


def pyscard_installed() -> bool:
    """Whether the reader library can be imported."""
    return importlib.util.find_spec("smartcard") is not None


def install_readers() -> None:
    """Install pcscd, the virtual reader, two foreign tools to test with, and pyscard.

    Raises:
        CannotInstall: There is no apt here, or it failed.
    """
    missing = missing_packages(READER_PACKAGES)
    if not pyscard_installed():
        missing += [] if Path("/usr/include/PCSC/winscard.h").exists() else ["libpcsclite-dev"]
        missing += [] if shutil.which("gcc") else ["gcc", "libc6-dev"]
        missing += [] if (Path(sysconfig.get_path("include")) / "Python.h").exists() else ["python3-dev"]
    _apt_install(missing)
    if not pyscard_installed():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "-r", str(PCSC_LOCK)], "pip install pyscard")
        importlib.invalidate_caches()


def install_module() -> None:
    """Install SoftHSM2.

    Raises:
        CannotInstall: There is no apt here, or it failed.
    """
    _apt_install(missing_packages(MODULE_PACKAGES))


def pcscd_answers() -> bool:
    """Whether a pcscd of this machine accepts connections."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(PCSCD_SOCKET)) == 0


class Pcscd:
    """The resource manager in the foreground, as a child of this process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 15.0) -> None:
        """Start it and wait until it answers and its virtual reader listens.

        Raises:
            CannotInstall: It stopped, or did not answer in time.
        """
        process = subprocess.Popen(
            [*_as_root(), "/usr/sbin/pcscd", "--foreground"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._process = process
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and process.poll() is None:
            if pcscd_answers() and _listens(VPCD_PORT):
                return
            time.sleep(0.02)
        self.stop()
        raise CannotInstall("pcscd did not start; does another one run?")

    def stop(self) -> None:
        """Stop it; twice is once."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(timeout=10)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None


@contextlib.contextmanager
def running_pcscd() -> Iterator[Pcscd | None]:
    """A pcscd with the virtual reader: one that runs already (None, and left alone), or ours until the end.

    Raises:
        CannotInstall: What it needs is not here and cannot be had.
    """
    install_readers()
    if pcscd_answers():
        if not _listens(VPCD_PORT):
            raise CannotInstall("a pcscd runs without the virtual reader; restart it, vsmartcard-vpcd is installed now")
        yield None
        return
    ours = Pcscd()
    ours.start()
    try:
        yield ours
    finally:
        ours.stop()


def _listens(port: int) -> bool:
    """Whether something listens there, asked of the kernel: connecting would lay a card on the reader."""
    wanted = f":{port:04X}"
    return any(
        fields[1].endswith(wanted) and fields[3] == "0A"
        for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
        if table.exists()
        for fields in (line.split() for line in table.read_text().splitlines()[1:])
    )


def _as_root() -> list[str]:
    return [] if os.geteuid() == 0 else ["sudo", "-n"]


def _apt_install(packages: list[str]) -> None:
    if not packages:
        return
    if shutil.which("apt-get") is None:
        raise CannotInstall(f"there is no apt-get here to install {' '.join(packages)}")
    if _as_root() and shutil.which("sudo") is None:
        raise CannotInstall(f"only root can install {' '.join(packages)}")
    install = [*_as_root(), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-q", "-y"]
    install += ["--no-install-recommends", *packages]
    what = f"apt-get install {' '.join(packages)}"
    try:
        _run(install, what)
    except CannotInstall:
        # A fresh machine has no package lists yet.
        _run([*_as_root(), "apt-get", "update", "-q"], "apt-get update")
        _run(install, what)


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise CannotInstall(f"{what} failed: {' '.join(last)}")


def main() -> int:
    """The two commands."""
    parser = argparse.ArgumentParser(prog="python -m tools.devices", description=__doc__)
    parser.add_argument("command", choices=("install", "up"))
    command, rest = parser.parse_known_args()
    if command.command == "install":
        for step in (install_readers, install_module):
            try:
                step()
            except CannotInstall as reason:
                print(f"  tests that need it will be skipped: {reason}")
        return 0
    try:
        with running_pcscd():
            return subprocess.run(
                [sys.executable, "-m", "cli.main", "card", "virtual", *rest], check=False, cwd=ROOT
            ).returncode
    except CannotInstall as reason:
        print(reason, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
