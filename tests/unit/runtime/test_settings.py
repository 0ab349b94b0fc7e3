"""Settings: read once, all mistakes together, no secret shown."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from libs.runtime.database import database_url, migration_url
from libs.runtime.settings import SettingsInvalid, load_settings
from libs.testkit.echo import EchoSettings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.upper().startswith("CITYCARD_"):
            monkeypatch.delenv(name)
    for name in ("ca", "cert", "key"):
        path = tmp_path / name
        path.write_text("pem")
        monkeypatch.setenv(f"CITYCARD_TLS_{name.upper()}_FILE", str(path))
    monkeypatch.setenv("CITYCARD_DATABASE_URL", "postgresql://card:hunter2@127.0.0.1/card")
    monkeypatch.setenv("CITYCARD_NATS_URL", "nats://127.0.0.1:4222")


def mistakes() -> list[str]:
    with pytest.raises(SettingsInvalid) as invalid:
        load_settings(EchoSettings)
    return invalid.value.mistakes


def test_every_mistake_is_reported_at_once_and_no_value_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CITYCARD_NATS_URL")
    monkeypatch.setenv("CITYCARD_DATABASE_URL", "mysql://card:hunter2@127.0.0.1/card")
    monkeypatch.setenv("CITYCARD_LISTEN_ADDRESS", "nowhere")
    monkeypatch.setenv("CITYCARD_TLS_KEY_FILE", "/there/is/none")
    monkeypatch.setenv("CITYCARD_DATABASE_POOL_SIZE_MAX", "0")
    found = mistakes()
    assert sorted(line.partition(":")[0] for line in found) == [
        "CITYCARD_DATABASE_POOL_SIZE_MAX",
        "CITYCARD_DATABASE_URL",
        "CITYCARD_LISTEN_ADDRESS",
        "CITYCARD_NATS_URL",
        "CITYCARD_TLS_KEY_FILE",
    ]
    assert "hunter2" not in "".join(found)
    assert "CITYCARD_NATS_URL: must be set" in found


def test_broken_json_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYCARD_SERVICE_ADDRESSES", "card=1.2.3.4:5")
    assert mistakes() == ["CITYCARD_SERVICE_ADDRESSES: must be JSON"]


def test_an_address_of_a_peer_needs_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYCARD_SERVICE_ADDRESSES", '{"card": "card:7443", "account": "account"}')
    assert mistakes() == ["CITYCARD_SERVICE_ADDRESSES: must be host:port for account"]


def test_a_shifted_clock_is_refused_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYCARD_CLOCK_OFFSET_S", "-86400")
    assert mistakes() == ["CITYCARD_CLOCK_OFFSET_S: clock_offset_s is refused unless deployment is test"]
    monkeypatch.setenv("CITYCARD_DEPLOYMENT", "test")
    shifted = load_settings(EchoSettings).clock().now()
    assert 86_000 < (datetime.now(UTC) - shifted).total_seconds() < 86_800


def test_secrets_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CITYCARD_DATABASE_URL")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "citycard_database_url").write_text("postgresql://card@db/card\n")
    (secrets / "word").write_text("s3cret\n")
    monkeypatch.setenv("CITYCARD_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("CITYCARD_DATABASE_PASSWORD_FILE", str(secrets / "word"))
    settings = load_settings(EchoSettings)
    assert database_url(settings).password == "s3cret"
    assert migration_url(settings) == database_url(settings)
    assert "s3cret" not in repr(settings)


def test_a_missing_secrets_folder_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYCARD_SECRETS_DIR", "/there/is/none")
    assert mistakes() == ["CITYCARD_SECRETS_DIR: there is no such folder"]


def test_settings_never_change_and_never_show_a_password() -> None:
    settings = load_settings(EchoSettings, database_url="postgresql://card:hunter2@db/card")
    assert "hunter2" not in repr(settings)
    with pytest.raises(ValidationError, match="frozen"):
        settings.drain_timeout_s = 1.0
