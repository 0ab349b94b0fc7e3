"""The generated pages of docs/reference: drift is seen, and they agree with what people wrote elsewhere."""

import re
import sys
from pathlib import Path

import pytest

from libs.runtime.settings import ServiceSettings
from tools import reference

ARCHITECTURE = (reference.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the pages that the tool believes in."""
    for page in reference.FOLDER.glob("*.md"):
        (tmp_path / page.name).write_bytes(page.read_bytes())
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", ["reference", "--check"])
    return tmp_path


def test_the_pages_are_current(folder: Path) -> None:
    assert reference.main() == 0


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_a_changed_a_missing_and_a_foreign_page_are_seen(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (folder / name).read_text(encoding="utf-8")
    (folder / name).write_text(whole.replace("| `", "| `X", 1), encoding="utf-8")
    assert reference.main() == 1
    assert name in capsys.readouterr().err
    (folder / name).unlink()
    assert reference.main() == 1
    (folder / name).write_text(whole, encoding="utf-8")
    (folder / "forgotten.md").touch()
    assert reference.main() == 1
    assert "forgotten.md" in capsys.readouterr().err


def test_the_plan_of_the_house_tells_the_same_flow_of_events() -> None:
    section = ARCHITECTURE.partition("## Events")[2].partition("## ")[0]
    told: dict[str, set[str]] = {}
    rows = re.findall(r"^\| ([A-Z]\w+(?:, [A-Z]\w+)*) \| \w+ \| ([\w, ]+) \|", section, re.MULTILINE)
    for events, hearers in rows:
        for event in events.split(", "):
            told[event] = set(hearers.split(", "))
    heard: dict[str, set[str]] = {}
    for service in reference.SERVICES:
        for event in reference.heard(service):
            heard.setdefault(event, set()).add(service)
    assert told == heard


@pytest.mark.parametrize("service", reference.SERVICES)
def test_every_setting_says_what_it_is(service: str) -> None:
    cls = reference.settings_class(service)
    assert issubclass(cls, ServiceSettings)
    silent = [name for name, field in cls.model_fields.items() if not field.description]
    assert not silent


def test_every_method_reason_and_event_has_words() -> None:
    for name in ("access.md", "errors.md", "events.md"):
        rows = re.findall(r"^\| `.*\|$", (reference.FOLDER / name).read_text(encoding="utf-8"), re.MULTILINE)
        assert len(rows) > 10
        empty = [row for row in rows if row.rstrip("|").rstrip().endswith("|")]
        assert not empty, f"{name}: the last column says what it is"
