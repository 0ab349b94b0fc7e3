"""Pin every dependency with hashes, without naming a registry."""

import subprocess
import sys
from pathlib import Path

LOCKS = {
    "requirements.lock": ["city"],
    # What a deployed service needs: the image brings no servers of its own. Keys in a security module go with it.
    "requirements-service.lock": ["hsm"],
    "requirements-dev.lock": ["city", "dev", "hsm", "archive"],
    # Large, and needed only where archives are made or read.
    "requirements-archive.lock": ["archive"],
    # Built from source against libpcsclite: a lock of its own, so that who has no card reader needs no compiler.
    "requirements-pcsc.lock": ["pcsc"],
}
COMMON = [
    "--quiet",
    "--generate-hashes",
    "--allow-unsafe",
    "--no-emit-index-url",
    "--no-emit-find-links",
    "--no-emit-options",
    "--strip-extras",
    "--no-header",
    "--all-build-deps",
]


def main() -> int:
    """Rewrite the lock files from pyproject.toml; the development lock keeps the versions of the first."""
    for lock, extras in LOCKS.items():
        constraint = [] if lock == "requirements.lock" else ["--constraint", "requirements.lock"]
        command = [sys.executable, "-m", "piptools", "compile", *COMMON, *constraint]
        command += [f"--extra={extra}" for extra in extras]
        subprocess.run([*command, "--output-file", lock, "pyproject.toml"], check=True)
        # pip-compile names the constraint file by its full path; a lock speaks of packages only.
        text = Path(lock).read_text()
        kept = [line for line in text.splitlines() if str(Path.cwd()) not in line]
        Path(lock).write_text("\n".join(kept) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
