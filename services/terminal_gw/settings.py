"""Settings of the terminal gateway."""

from typing import ClassVar

from pydantic import Field

from libs.runtime.settings import ServiceSettings


class TerminalGatewaySettings(ServiceSettings):
    """What the gateway needs to know beyond the runtime's settings."""

    service: ClassVar[str] = "terminal_gw"

    upload_bytes_max: int = Field(64 * 1024 * 1024, ge=512, description="Largest upload, in bytes")
    chunk_bytes_max: int = Field(
        1024 * 1024, ge=1024, le=1024 * 1024, description="Largest chunk of an upload, in bytes"
    )
    uploads_at_once_max: int = Field(64, ge=1, description="Most uploads received at the same time by one process")
    clock_set_above_ms: int = Field(2_000, ge=0, description="Terminals set their clock beyond this difference, ms")
    clock_alarm_above_ms: int = Field(120_000, ge=0, description="And raise an alarm beyond this difference, ms")
