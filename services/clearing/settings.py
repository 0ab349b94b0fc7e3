"""Settings of the clearing service."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from libs.runtime.settings import ServiceSettings


class ClearingSettings(ServiceSettings):
    """What clearing needs to know beyond the runtime's settings."""

    service: ClassVar[str] = "clearing"

    key_file: Path = Field(description="Sealed key file with the TAC keys of the own issuers")
    key_passphrase_file: Path = Field(description="File with the passphrase of the key file")
    centre_institution_id: str = Field(
        "00005840FFFFFFFF",
        pattern="^[0-9]{8}FFFFFFFF$",
        description="Institution id of this centre, sender of result files and statements",
    )
    statement_key_file: Path | None = Field(
        None, description="Ed25519 private key (PEM) that statements are signed with; without it they stay unsigned"
    )
    set_records_max: int = Field(
        20_000, ge=1, le=25_000, description="Most records judged and posted in one transaction"
    )
    reconcile_period_s: float = Field(
        15.0, gt=0, description="Pause between two comparisons with the gateway's list of uploads, seconds"
    )
    shards: int = Field(1, ge=1, le=256, description="Workers that share the judging, each a process of its own")
    shard: int = Field(
        0, ge=0, description="Which of them this one is, from 0; number 0 also does what needs doing once"
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.shard >= self.shards:
            raise ValueError(f"shard {self.shard} is none of {self.shards}, they are counted from 0")
        return self
