"""Settings of the terminal gateway."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from libs.runtime.settings import ServiceSettings

_MIB = 1024 * 1024


class TerminalGatewaySettings(ServiceSettings):
    """What the gateway needs to know beside the common settings."""

    service: ClassVar[str] = "terminal_gw"

    clock_set_above_ms: int = Field(2_000, ge=0, description="Clocks farther off than this are set, milliseconds")
    clock_alarm_above_ms: int = Field(120_000, ge=0, description="And farther off than this somebody is told, ms")
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
        return self
