"""Settings of the card service, `CITYCARD_<NAME>`; the common ones are in libs.runtime.settings."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from libs.runtime.settings import ServiceSettings


class CardSettings(ServiceSettings):
    """What only the card service needs to know."""

    service: ClassVar[str] = "card"

    key_file: Path = Field(description="Sealed key file with the issuer's load and TAC keys")
    key_passphrase_file: Path = Field(description="File whose whole content is the passphrase of key_file")
    holder_key_file: Path | None = Field(
        None, description="At least 32 random bytes that encipher holders; only a test deployment does without"
    )
    load_request_wait_s: float = Field(30.0, ge=1, description="A load without MAC2 is given up after so long, seconds")
    load_confirm_wait_s: float = Field(
        300.0, ge=1, description="An authorised load is uncertain when not confirmed after so long, seconds"
    )
    load_sweep_period_s: float = Field(5.0, gt=0, description="Pause between two looks at open loads, seconds")
    ledger_in_flight_s: float = Field(
        30.0, ge=1, description="Longest time that a call to the ledger can be under way, retries included, seconds"
    )

    @field_validator("key_file", "key_passphrase_file", "holder_key_file")
    @classmethod
    def _check_key_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("there is no such file")
        return value

    @model_validator(mode="after")
    def _check_holder_key(self) -> Self:
        if self.holder_key_file is None and self.deployment != "test":
            raise ValueError("holder_key_file must be set unless deployment is test")
        return self
