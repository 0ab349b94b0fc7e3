"""Everything that must hold before a commit, except the tests: one table, one exit status (`make check`)."""

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
# Not resolved: in a virtual environment the interpreter is a link, and the tools lie beside the link.
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check ended.

    Attributes:
        result: `ok`, `failed` or `skipped`.
        text: What the tool said, or why it was skipped.
    """

    result: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        key: Short name, for `--only`.
        title: What it makes sure of.
        run: Does it.
    """

    key: str
    title: str
    run: Callable[[], Outcome]


def run(*command: str | Path) -> Outcome:
    """Run a tool in the root of the project; its exit status is the result."""
    try:
        # protoc looks for its plugins on the PATH; the virtual environment need not be activated.
        environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
        done = subprocess.run(
            [str(part) for part in command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        return Outcome("failed", f"{error.filename} is not installed; `make install` brings it")
    return Outcome("ok" if done.returncode == 0 else "failed", done.stdout + done.stderr)


def git(*arguments: str) -> str | None:
    """What git answers, or None when it refuses or there is no git."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def contract_base() -> tuple[str, str] | None:
    """The commit whose contract must not be broken, and what it is; None when the history has none.

    The newest release that this commit descends from: what was released is a promise. Before the first release, the
    last commit: its parent, or the commit itself while the working tree changes protos.
    """
    tag = git("describe", "--tags", "--abbrev=0", "--match", "v*")
    if tag:
        return tag, f"release {tag}"
    changed = git("status", "--porcelain", "--", "protos", "buf.yaml")
    for name in ("HEAD", "HEAD^1") if changed else ("HEAD^1",):
        commit = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if commit:
            return commit, f"commit {commit[:12]}"
    return None


def breaking() -> Outcome:
    """Compare protos/ with the contract before; skipped where there is nothing before."""
    base = contract_base()
    if base is None:
        return Outcome("skipped", "no release tag v* and no earlier commit to compare with (new or shallow clone?)")
    commit, what = base
    # By `git archive`, not by buf's own git input: that one does not know worktrees.
    archived = subprocess.run(
        ["git", "archive", "--format=tar", commit, "protos", "buf.yaml"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if archived.returncode != 0:
        return Outcome("skipped", f"{what} has no protos to compare with")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as archive:
            archive.extractall(folder, filter="data")
        outcome = run(BIN / "buf", "breaking", "--against", folder)
    return Outcome(outcome.result, outcome.text or f"compared with {what}")


def manifests() -> Outcome:
    """Render and validate deploy/k8s; skipped where nothing can render it."""
    outcome = run(sys.executable, "-m", "tools.manifests")
    nothing_renders = outcome.result == "failed" and "are not looked at" in outcome.text
    return Outcome("skipped", outcome.text) if nothing_renders else outcome


CHECKS = (
    Check("format", "formatted (ruff format)", lambda: run(BIN / "ruff", "format", "--check", ".")),
    Check("lint", "linted (ruff check)", lambda: run(BIN / "ruff", "check", ".")),
    Check("types", "types hold (mypy --strict)", lambda: run(BIN / "mypy")),
    Check("imports", "rooms import only downwards (lint-imports)", lambda: run(BIN / "lint-imports")),
    Check("protos", "protos are well written (buf lint)", lambda: run(BIN / "buf", "lint")),
    Check("breaking", "the contract is not broken (buf breaking)", breaking),
    Check(
        "stubs",
        "stubs are current (tools.protos --check)",
        lambda: run(sys.executable, "-m", "tools.protos", "--check"),
    ),
    Check(
        "reference",
        "reference pages are current (tools.reference --check)",
        lambda: run(sys.executable, "-m", "tools.reference", "--check"),
    ),
    Check("manifests", "manifests render and are valid (tools.manifests)", manifests),
)


def main() -> int:
    """Command line; exit status 1 when a check failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.check", description=__doc__)
    parser.add_argument("--only", action="append", choices=[check.key for check in CHECKS], help="run just this one")
    only = parser.parse_args().only
    console = Console(highlight=False)
    table = Table("check", "result", "seconds", "")
    table.columns[2].justify = "right"
    styles = {"ok": "green", "failed": "bold red", "skipped": "yellow"}
    failed = False
    for check in CHECKS:
        if only and check.key not in only:
            continue
        started = time.monotonic()
        with console.status(check.title):
            outcome = check.run()
        seconds = time.monotonic() - started
        failed = failed or outcome.result == "failed"
        if outcome.result == "failed":
            console.rule(f"[bold red]{check.key}")
            console.print(outcome.text.rstrip(), markup=False, soft_wrap=True)
        last = outcome.text.strip().splitlines()[-1:] if outcome.result != "failed" else ["see above"]
        remark = "".join(last)[:120]
        table.add_row(check.title, f"[{styles[outcome.result]}]{outcome.result}", f"{seconds:.1f}", remark)
    console.print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
