"""The program that looks after clearing's data, where it stops before it begins."""

import importlib.util
from pathlib import Path

import pytest

from services.clearing import upkeep


@pytest.mark.parametrize("command", ["archive", "prove"])
def test_an_extra_that_is_missing_is_named_before_anything_is_done(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert upkeep.main([command, str(tmp_path / "archive")]) == 2
    assert "the extra `archive`" in capsys.readouterr().err
    assert not (tmp_path / "archive").exists()


def test_settings_that_are_missing_are_all_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CITYCARD_KEY_FILE", raising=False)
    monkeypatch.delenv("CITYCARD_DATABASE_URL", raising=False)
    assert upkeep.main(["forget"]) == 2
    said = capsys.readouterr().err
    assert "CITYCARD_KEY_FILE" in said
    assert "CITYCARD_DATABASE_URL" in said
