"""Render every overlay of `deploy/k8s` and hold each object against the schemas of several Kubernetes releases.

Strictly: an unknown field is a mistake. Custom resources have no schema there; they are counted and named.
"""

import argparse
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes_validate.utils import SchemaNotFoundError, ValidationError, validate

ROOT = Path(__file__).resolve().parents[1]
OVERLAYS = ROOT / "deploy" / "k8s" / "overlays"
# The releases that upstream maintains at a time are three.
RELEASES = ("1.35", "1.36", "1.37")

Manifest = dict[str, Any]


class CannotRender(Exception):
    """An overlay does not render; the text is what the tool said."""


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        objects: Objects with a schema, over all overlays.
        custom: Objects without one, by `Kind (group)`.
        mistakes: One line each.
    """

    objects: int = 0
    custom: Counter[str] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)


def renderer() -> list[str] | None:
    """The command that renders a folder: kubectl, else kustomize; None where neither is installed."""
    for program, *arguments in (("kubectl", "kustomize"), ("kustomize", "build")):
        found = shutil.which(program)
        if found:
            return [found, *arguments]
    return None


def overlays() -> list[str]:
    """The names of all overlays."""
    return sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml"))


def render(overlay: str) -> list[Manifest]:
    """The objects of an overlay.

    Raises:
        CannotRender: No renderer is installed, or it refuses.
    """
    command = renderer()
    if command is None:
        raise CannotRender("neither kubectl nor kustomize is installed")
    done = subprocess.run([*command, str(OVERLAYS / overlay)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRender(f"{overlay}: {done.stderr.strip()}")
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def check(overlay: str, manifests: list[Manifest], report: Report) -> None:
    """Hold the objects of one overlay against every release, adding to the report."""
    for manifest in manifests:
        group, _, _ = manifest["apiVersion"].rpartition("/")
        # Kubernetes' own groups have no dot or end in k8s.io; cert-manager.io and postgresql.cnpg.io are others'.
        if "." in group and not group.endswith(".k8s.io"):
            report.custom[f"{manifest['kind']} ({group})"] += 1
            continue
        report.objects += 1
        name = f"{overlay}: {manifest['kind']}/{manifest['metadata']['name']}"
        for release in RELEASES:
            try:
                used = validate(manifest, release, strict=True)
            except ValidationError as error:
                where = ".".join(str(part) for part in error.path)
                report.mistakes.append(f"{name}, {release}: {where}: {error.message}")
            except SchemaNotFoundError as error:
                report.mistakes.append(f"{name}, {release}: {error.message}")
            else:
                if used != release:
                    report.mistakes.append(f"{name}: the schema of {release} is not there, {used} was used")


def main() -> int:
    """Command line; exit status 1 for mistakes, 3 where nothing can be rendered."""
    argparse.ArgumentParser(prog="python -m tools.manifests", description=__doc__).parse_args()
    if renderer() is None:
        print("manifests are not looked at: neither kubectl nor kustomize is installed")
        return 3
    report = Report()
    names = overlays()
    for overlay in names:
        try:
            check(overlay, render(overlay), report)
        except CannotRender as error:
            report.mistakes.append(str(error))
    for mistake in report.mistakes:
        print(mistake, file=sys.stderr)
    for kind, count in sorted(report.custom.items()):
        print(f"not validated, custom resource without schema: {count} × {kind}")
    print(
        f"{len(names)} overlays: {report.objects} objects × {len(RELEASES)} releases ({', '.join(RELEASES)}), "
        f"{report.custom.total()} custom not validated, {len(report.mistakes)} mistakes"
    )
    return 1 if report.mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
