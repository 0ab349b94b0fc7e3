"""Settings of a process: read once, all mistakes reported together, secrets never shown."""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from libs.clock import SystemClock
from libs.runtime.quota import Quota

ENV_PREFIX = "CITYCARD_"
# A mounted folder of secrets: one file per variable, named like it in small letters (`citycard_database_url`).
SECRETS_DIR_VARIABLE = "CITYCARD_SECRETS_DIR"
_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}")

S = TypeVar("S", bound=BaseSettings)


class SettingsInvalid(Exception):
    """The settings do not allow to start.

    Attributes:
        mistakes: One line each, `VARIABLE: what is wrong`; never the value.
    """

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("settings are invalid:\n" + "\n".join(f"  {mistake}" for mistake in mistakes))


class ServiceSettings(BaseSettings):
    """What every service needs to know; a service adds its own fields and sets `service`.

    A field `x_y` is the variable `CITYCARD_X_Y`, or the file `citycard_x_y` in the folder `CITYCARD_SECRETS_DIR`.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    # The name in `citycard.<service>.v1`, in the certificate, and of the database role.
    service: ClassVar[str] = ""

    deployment: Literal["production", "test"] = Field("production", description="A test deployment may shift its clock")
    listen_address: str = Field(
        "127.0.0.1:0", description="host:port of the mutual TLS server; port 0 takes a free one"
    )
    health_address: str | None = Field(None, description="host:port of the plaintext health server; none without it")
    address_file: Path | None = Field(None, description="File that gets the bound host:port once the server listens")
    tls_ca_file: Path = Field(description="PEM certificates that peers must descend from")
    tls_cert_file: Path = Field(description="PEM certificate chain of this service, shown to callers and to peers")
    tls_key_file: Path = Field(description="PEM private key of that certificate")
    tls_revoked_file: Path | None = Field(
        None, description="PEM revocation lists of the authorities, re-read on change; nothing is revoked without it"
    )
    staff_keys_file: Path | None = Field(
        None, description="PEM Ed25519 public keys that sign staff tokens, re-read on change; no token counts without"
    )
    staff_token_lifetime_max: timedelta = Field(
        timedelta(hours=12), description="Longest life of a staff token, ISO 8601 duration or seconds"
    )
    quota: Quota = Field(
        Quota(calls_per_s=5000, burst=10000, streams_max=512),
        description='What one caller may use of one process, JSON: {"calls_per_s": 50, "burst": 100, "streams_max": 8}',
    )
    quotas: dict[str, Quota] = Field(
        default_factory=dict, description='Quotas of their own by caller or kind, JSON: {"participant/metro-1": {...}}'
    )
    connections_max: int = Field(12_000, ge=1, description="Connections at once; more are not accepted")
    connection_streams_max: int = Field(1_000, ge=1, description="Calls at once on one connection; more wait")
    service_addresses: dict[str, str] = Field(
        default_factory=dict, description='host:port of each peer service as JSON, {"card": "card:7443"}'
    )
    message_bytes_max: int = Field(4 * 1024 * 1024, ge=1024, description="Longest gRPC message, in bytes")
    drain_timeout_s: float = Field(20.0, ge=0, description="How long calls in flight may take after SIGTERM, seconds")
    database_url: str = Field(repr=False, description="PostgreSQL URL of the application role")
    database_password_file: Path | None = Field(None, description="File with the password for database_url")
    migration_database_url: str | None = Field(None, repr=False, description="The same as the owner role")
    migration_database_password_file: Path | None = Field(None, description="File with the password of the owner role")
    database_pool_size_max: int = Field(5, ge=1, le=200, description="Most connections of one process")
    database_statement_timeout_s: float = Field(30.0, ge=0, description="Longest statement, seconds; 0 is no limit")
    database_lock_timeout_s: float = Field(10.0, ge=0, description="Longest wait for a lock, seconds; 0 is no limit")
    nats_url: str = Field(repr=False, description="NATS servers, comma separated")
    nats_credentials_file: Path | None = Field(None, description="NATS credentials (JWT and seed)")
    nats_stream_replicas: int = Field(1, ge=1, le=5, description="Copies of a stream that we create")
    redis_url: str | None = Field(None, repr=False, description="Redis URL; only for services that use it")
    clock_offset_s: float = Field(0.0, description="Seconds added to the machine's clock; test deployments only")
    log_format: Literal["json", "console"] = Field("json", description="One JSON line per event, or colours for people")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is written")
    otlp_endpoint: str | None = Field(None, description="OTLP gRPC collector, http://host:4317; none without it")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then variables, then mounted secrets; no .env file is ever read by surprise."""
        return init_settings, env_settings, file_secret_settings

    @field_validator("listen_address", "health_address")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is not None and (not _ADDRESS.fullmatch(value) or int(value.rpartition(":")[2]) > 65535):
            raise ValueError("must be host:port")
        return value

    @field_validator("service_addresses")
    @classmethod
    def _check_addresses(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = [name for name, address in value.items() if not _ADDRESS.fullmatch(address)]
        if wrong:
            raise ValueError("must be host:port for " + ", ".join(wrong))
        return value

    @field_validator(
        "tls_ca_file", "tls_cert_file", "tls_key_file", "tls_revoked_file", "staff_keys_file", "nats_credentials_file"
    )
    @classmethod
    def _check_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("there is no such file")
        return value

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _check_database(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgresql+psycopg://", "postgres://")):
            raise ValueError("must be postgresql://user:password@host:port/database")
        return value

    @field_validator("nats_url")
    @classmethod
    def _check_nats(cls, value: str) -> str:
        if not all(url.startswith(("nats://", "tls://")) for url in value.split(",")):
            raise ValueError("must be nats://host:port or tls://host:port, comma separated")
        return value

    @model_validator(mode="after")
    def _check_clock(self) -> Self:
        if self.clock_offset_s and self.deployment != "test":
            raise ValueError("clock_offset_s is refused unless deployment is test")
        return self

    def clock(self) -> SystemClock:
        """The clock of this process, shifted in a test deployment."""
        return SystemClock(timedelta(seconds=self.clock_offset_s))


def load_settings(cls: type[S], **overrides: Any) -> S:
    """Read the settings from the environment and from mounted secrets.

    Args:
        cls: The settings class of the program.
        overrides: Values that win over the environment, for tests and launchers.

    Raises:
        SettingsInvalid: Naming every mistaken variable at once.
    """
    secrets_dir = os.environ.get(SECRETS_DIR_VARIABLE)
    if secrets_dir and not Path(secrets_dir).is_dir():
        raise SettingsInvalid([f"{SECRETS_DIR_VARIABLE}: there is no such folder"])
    try:
        return cls(_secrets_dir=secrets_dir, **overrides)
    except ValidationError as error:
        raise SettingsInvalid([_mistake(cls, detail) for detail in error.errors(include_input=False)]) from None
    except ValueError as error:
        # A variable that should hold JSON and does not: the source gives up before the fields are checked.
        raise SettingsInvalid([_json_mistake(error)]) from None


def _mistake(cls: type[BaseSettings], detail: Any) -> str:
    text = "must be set" if detail["type"] == "missing" else str(detail["msg"]).removeprefix("Value error, ")
    where = detail["loc"]
    if not where:
        # A rule between fields: it is reported under the one that its text names first.
        named = sorted((name for name in cls.model_fields if name in text), key=text.index)
        return f"{(ENV_PREFIX + named[0]).upper() if named else 'settings'}: {text}"
    name = (ENV_PREFIX + str(where[0])).upper()
    inside = ".".join(str(part) for part in where[1:])
    return f"{name}: {inside + ': ' if inside else ''}{text}"


def _json_mistake(error: ValueError) -> str:
    field = re.search(r'field "([a-z0-9_]+)"', str(error))
    return f"{(ENV_PREFIX + field.group(1)).upper() if field else 'settings'}: must be JSON"
