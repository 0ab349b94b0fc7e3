"""Write `docs/reference/` from the protos and the settings classes; with `--check`, say whether it is current.

What a page says is said once, beside the thing itself: these pages only put it in a row.
"""

import argparse
import ast
import importlib
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from citycard.common.v1 import method_pb2
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from pydantic.fields import FieldInfo

from libs.runtime.identity import Role
from libs.runtime.settings import ENV_PREFIX, SECRETS_DIR_VARIABLE, ServiceSettings
from tools.protos import PROTOS, WELL_KNOWN

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
SERVICES = ("account", "blacklist", "card", "clearing", "terminal_gw")
ALLOWED = "●"

File = descriptor_pb2.FileDescriptorProto
_FIELD_SERVICE, _FIELD_METHOD, _FIELD_MESSAGE, _FIELD_ENUM, _FIELD_VALUE = 6, 2, 4, 5, 2


def contract() -> list[File]:
    """All our proto files, with their comments, by name.

    Raises:
        SystemExit: protoc refused a file; it has said why.
    """
    files = sorted(str(path) for path in (ROOT / PROTOS / "citycard").rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        options = [f"-I{ROOT / PROTOS}", f"-I{WELL_KNOWN}", f"--descriptor_set_out={out}", "--include_source_info"]
        if protoc.main(["protoc", *options, *files]) != 0:
            raise SystemExit("protoc refused the protos")
        # Parsed with our extensions loaded: rules and texts come out as messages.
        return list(descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file)


def comment(file: File, path: Sequence[int]) -> str:
    """The comment above an element, as one line."""
    for location in file.source_code_info.location:
        if list(location.path) == list(path):
            return " ".join(location.leading_comments.split())
    return ""


def sentence(text: str) -> str:
    """The first sentence of a comment."""
    head, stop, _ = text.partition(". ")
    return head + "." if stop else head


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def page(title: str, introduction: str, body: Iterable[str]) -> str:
    """A whole page."""
    note = "<!-- Written by `make reference`; a change here is lost. -->"
    return "\n".join([f"# {title}", "", note, "", introduction, "", *body]).rstrip() + "\n"


def access(files: Sequence[File]) -> str:
    """Who may call which method."""
    body: list[str] = []
    count = 0
    for file in files:
        for number, service in enumerate(file.service):
            rows = []
            for index, method in enumerate(service.method):
                rules = method.options.Extensions[method_pb2.rules]
                marks = [ALLOWED if role.number in rules.roles else "" for role in Role]
                people = ", ".join(
                    method_pb2.StaffRole.Name(one).removeprefix("STAFF_ROLE_").lower() for one in rules.staff_roles
                )
                limit = f"{rules.timeout_ms / 1000:g} s" if rules.timeout_ms else "none"
                text = sentence(comment(file, (_FIELD_SERVICE, number, _FIELD_METHOD, index)))
                rows.append((f"`{method.name}`", *marks, people, limit, text))
            count += len(rows)
            body += [f"## {file.package}.{service.name}", ""]
            body += [
                *table(("method", *(role.value for role in Role), "person", "time limit", "what it does"), rows),
                "",
            ]
    introduction = (
        f"{count} methods × {len(Role)} roles. {ALLOWED}: the role may call the method; everybody else is refused\n"
        "with `ROLE_NOT_ALLOWED` before the request is read. The role is the kind of the name in the caller's\n"
        "certificate. Where a person is named, the call also needs a staff token with one of those roles. Which rows\n"
        "a participant then sees is decided by the method: its own, or `NOT_YOURS`."
    )
    return page("Who may call what", introduction, body)


def errors(files: Sequence[File]) -> str:
    """Every reason for which a call is refused."""
    body: list[str] = []
    for file in files:
        for number, enum in enumerate(file.enum_type):
            if enum.name != "ErrorReason":
                continue
            rows = []
            for index, value in enumerate(enum.value):
                if value.number == 0:
                    continue
                status, stop, meaning = comment(file, (_FIELD_ENUM, number, _FIELD_VALUE, index)).partition(": ")
                text = value.options.Extensions[method_pb2.text]
                reason = value.name.removeprefix("ERROR_REASON_")
                rows.append((f"`{reason}`", status if stop else "", meaning or status, text.zh, text.en))
            body += [f"## {file.package}", ""]
            body += [*table(("reason", "status", "when", "中文", "English"), rows), ""]
    introduction = (
        "A refused call carries `google.rpc.ErrorInfo` with the reason, its package as domain and the varying facts\n"
        "as metadata, and a `LocalizedMessage` in Chinese. A reason is never renamed or reused."
    )
    return page("Why a call is refused", introduction, body)


def _inner(file: File) -> set[str]:
    """Messages that are only a part of others in the same file."""
    return {field.type_name.rpartition(".")[2] for message in file.message_type for field in message.field}


def heard(service: str) -> set[str]:
    """The names of the events that a service handles: the keys of the tables that its `handlers` functions return.

    Raises:
        SystemExit: It has an events_in.py of another shape.
    """
    names: set[str] = set()
    for path in sorted((ROOT / "services" / service / "adapters").rglob("events_in.py")):
        found = _keys_of_tables(path)
        if not found:
            raise SystemExit(f"{path.relative_to(ROOT)}: no function `handlers` that returns a table of events")
        names |= found
    return names


def _keys_of_tables(path: Path) -> set[str]:
    names: set[str] = set()
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef) and function.name.endswith("handlers"):
            for node in ast.walk(function):
                if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict):
                    keys = node.value.keys
                    names |= {key.attr for key in keys if isinstance(key, ast.Attribute)}
                    names |= {key.id for key in keys if isinstance(key, ast.Name)}
    return names


def events(files: Sequence[File]) -> str:
    """Every event, who publishes it and who hears it."""
    rows = []
    known = {service: heard(service) for service in SERVICES}
    for file in files:
        if not file.name.endswith("/events.proto"):
            continue
        source = file.package.split(".")[1]
        for index, message in enumerate(file.message_type):
            if message.name in _inner(file):
                continue
            hearers = ", ".join(service for service in SERVICES if message.name in known[service])
            text = sentence(comment(file, (_FIELD_MESSAGE, index)))
            rows.append((f"`{file.package}.{message.name}`", source, hearers or "nobody yet", text))
    introduction = (
        "The subject is the full name of the message. Every event carries `Nats-Msg-Id`, `ce-id`, `ce-type`,\n"
        "`ce-source`, `ce-time` and `traceparent`. Delivery is at least once and unordered across subjects."
    )
    return page("Events", introduction, table(("subject and type", "from", "heard by", "what happened"), rows))


def settings_class(service: str) -> type[ServiceSettings]:
    """The settings class of a service."""
    module = importlib.import_module(f"services.{service}.settings")
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    (found,) = (one for one in classes if issubclass(one, ServiceSettings) and one is not ServiceSettings)
    return found


def _type_name(annotation: Any) -> str:
    return (
        annotation.__name__
        if isinstance(annotation, type)
        else str(annotation).replace("typing.", "").replace("pathlib.", "")
    )


def _bounds(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    parts = [
        f"{sign} {getattr(rule, name)}"
        for rule in field.metadata
        for name, sign in signs.items()
        if hasattr(rule, name)
    ]
    return ", ".join(parts)


def _settings_rows(cls: type[ServiceSettings], names: Iterable[str]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name in names:
        field = cls.model_fields[name]
        default = "must be set" if field.is_required() else _default(field)
        kind = " ".join(part for part in (_type_name(field.annotation), _bounds(field)) if part)
        rows.append((f"`{(ENV_PREFIX + name).upper()}`", kind, default, field.description or ""))
    return rows


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    return "none" if value is None else f"`{value}`"


def settings(files: Sequence[File]) -> str:
    """Every variable of every service."""
    head = ("variable", "type", "default", "what")
    body = ["## every service", "", *table(head, _settings_rows(ServiceSettings, ServiceSettings.model_fields)), ""]
    for service in SERVICES:
        cls = settings_class(service)
        own = [name for name in cls.model_fields if name not in ServiceSettings.model_fields]
        body += [f"## {service}", "", *table(head, _settings_rows(cls, own)), ""]
    introduction = (
        "Read once at the start; all mistakes are told at once, and the process ends with status 2. Instead of a\n"
        f"variable there may be a file of the same name in small letters in the folder `{SECRETS_DIR_VARIABLE}`: that\n"
        "is where passwords belong."
    )
    return page("Settings", introduction, body)


PAGES = {"access.md": access, "errors.md": errors, "events.md": events, "settings.md": settings}


def main() -> int:
    """Command line; exit status 1 with `--check` when a page is stale."""
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    files = contract()
    fresh = {name: write(files) for name, write in PAGES.items()}
    if check:
        stale = [name for name, text in fresh.items() if not _same(FOLDER / name, text)]
        stale += sorted(path.name for path in FOLDER.glob("*.md") if path.name not in fresh)
        if stale:
            sys.stderr.write("docs/reference is stale (run `make reference`): " + ", ".join(stale) + "\n")
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in fresh.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


def _same(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
