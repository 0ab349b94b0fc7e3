"""Settings of the terminal gateway."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from libs.runtime.settings import ServiceSettings

_MIB = 1024 * 1024


class TerminalGatewaySettings(ServiceSettings):
    """What the gateway needs to know beside the common settings."""

    service: ClassVar[str] = "terminal_gw"

    clock_set_above_ms: int = Field(2_000, ge=0, description="Clocks farther off than this are set, milliseconds")
    clock_alarm_above_ms: int = Field(120_000, ge=0, description="And farther off than this somebody is told, ms")
    clock_stop_above_ms: int = Field(600_000, ge=0, description="And farther off than this no card is taken, ms")
    clock_period_s: int = Field(3600, ge=1, description="How often a terminal compares its clock, seconds")
    sessions_max: int = Field(4_000, ge=1, description="Most sessions of one process, refused ones not counted")
    session_heartbeat_s: int = Field(30, ge=1, description="A terminal says something so often, seconds")
    session_message_bytes_max: int = Field(64 * 1024, ge=1024, description="Largest message of a terminal, bytes")
    session_write_timeout_s: float = Field(20.0, gt=0, description="A terminal that reads nothing so long is dropped")
    session_flush_s: float = Field(0.5, ge=0, description="What terminals say waits so long to be kept, seconds")
    session_rows_max: int = Field(20_000, ge=1, description="Rows that wait to be kept, in memory")
    session_watch_s: float = Field(1.0, gt=0, description="How often to look who is trusted and whose session it is")
    session_news_s: float = Field(0.25, gt=0, description="How often to look for a blacklist version and commands")
    recollect_period_s: float = Field(600.0, gt=0, description="How often to ask for missing serials, seconds")
    pack_bytes_max: int = Field(64 * _MIB, ge=1, description="Largest parameter pack, bytes")
    work_key_file: Path | None = Field(None, description="Sealed key file with the master key of work keys")
    work_key_passphrase_file: Path | None = Field(None, description="File whose content opens work_key_file")
    work_key_label: str = Field("", description="Label of that master key, cj.01019901ffffffff.maintenance.01.00")
    completeness_key_file: Path | None = Field(
        None, description="PEM key (P-256) that signs certificates of completeness; that of the service without it"
    )
    upload_bytes_max: int = Field(64 * _MIB, ge=256, description="Largest upload, bytes")
    chunk_bytes_max: int = Field(_MIB, ge=1024, le=_MIB, description="Largest chunk of an upload, bytes")
    upload_streams_max: int = Field(512, ge=1, description="Most uploads received by one process at once")
    upload_group_bytes: int = Field(4 * _MIB, ge=1, description="Bytes of one upload kept in one transaction")
    upload_buffer_bytes_max: int = Field(64 * _MIB, ge=0, description="Bytes of all uploads in memory at once")
    upload_flush_s: float = Field(2.0, ge=0, description="Longest time that received bytes wait to be kept, seconds")
    upload_idle_timeout_s: float = Field(60.0, gt=0, description="A stream silent for so long is over, seconds")
    upload_finishing_max: int = Field(2, ge=1, description="Large files looked at in memory at once")
    upload_abandoned_after_s: float = Field(
        7 * 86400.0, gt=0, description="Unfinished uploads nobody went on with for so long are removed, seconds"
    )
    housekeeping_s: float = Field(3600.0, gt=0, description="How often to look for abandoned uploads, seconds")
    blacklist_poll_s: float = Field(30.0, gt=0, description="How often to ask the blacklist for its version, seconds")

    @model_validator(mode="after")
    def _check_clock_thresholds(self) -> Self:
        if self.clock_alarm_above_ms < self.clock_set_above_ms:
            raise ValueError("clock_alarm_above_ms must not be below clock_set_above_ms")
        if self.clock_stop_above_ms < self.clock_alarm_above_ms:
            raise ValueError("clock_stop_above_ms must not be below clock_alarm_above_ms")
        return self

    @model_validator(mode="after")
    def _check_work_keys(self) -> Self:
        said = [self.work_key_file is not None, self.work_key_passphrase_file is not None, bool(self.work_key_label)]
        if any(said) and not all(said):
            raise ValueError("work_key_file, work_key_passphrase_file and work_key_label go together")
        return self

    @field_validator("work_key_file", "work_key_passphrase_file", "completeness_key_file")
    @classmethod
    def _check_key_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("there is no such file")
        return value
