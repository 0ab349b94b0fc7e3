"""Generate `stubs/` from `protos/`; with `--check`, say whether the stubs are current."""

import argparse
import filecmp
import os
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTOS = Path("protos")
STUBS = Path("stubs")
# The descriptors that protoc itself brings (google/protobuf/*.proto).
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


def generate(target: Path) -> None:
    """Write the Python modules and their types of every proto into `target`.

    Raises:
        SystemExit: protoc refused a file; it has said why.
    """
    # protoc looks for its plugins on the PATH; ours lie beside the interpreter.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    files = sorted(str(path) for path in PROTOS.rglob("*.proto"))
    services = [path for path in files if path.endswith("_service.proto")]
    options = [f"-I{PROTOS}", f"-I{WELL_KNOWN}", f"--python_out={target}", f"--mypy_out=quiet:{target}"]
    if protoc.main(["protoc", *options, *files]) != 0:
        raise SystemExit("protoc refused the protos")
    grpc = [f"-I{PROTOS}", f"-I{WELL_KNOWN}", f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}"]
    if services and protoc.main(["protoc", *grpc, *services]) != 0:
        raise SystemExit("protoc refused the services")
    for package in (target / "citycard").rglob("*"):
        if package.is_dir():
            (package / "__init__.py").touch()
    for package in (target / "citycard", target / "buf", target / "buf" / "validate"):
        (package / "__init__.py").touch()


def differences(left: Path, right: Path) -> list[str]:
    """The files that are missing on one side or differ, as paths relative to the roots."""
    names = {path.relative_to(root) for root in (left, right) for path in root.rglob("*.py*") if path.suffix != ".pyc"}
    return sorted(
        str(name)
        for name in names
        if not (left / name).exists()
        or not (right / name).exists()
        or not filecmp.cmp(left / name, right / name, shallow=False)
    )


def main() -> int:
    """Command line; exit status 1 with `--check` when the stubs are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        stale = differences(fresh, STUBS)
        if arguments.check:
            if stale:
                sys.stderr.write("stubs are stale (run `make protos`): " + ", ".join(stale) + "\n")
            return 1 if stale else 0
        shutil.rmtree(STUBS, ignore_errors=True)
        shutil.copytree(fresh, STUBS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
