"""Settings of the account service."""

from typing import ClassVar

from pydantic import Field

from libs.runtime.settings import ServiceSettings


class AccountSettings(ServiceSettings):
    """What the ledger needs beside what every service needs."""

    service: ClassVar[str] = "account"

    expiry_sweep_s: float = Field(5.0, gt=0, description="Pause between looks for overdue reservations, seconds")
    terminal_clock_tolerance_s: float = Field(
        300.0,
        ge=0,
        description="How far a terminal's clock may be off when the proof compares printed balances, seconds",
    )
    float_sweep_s: float = Field(
        60.0, gt=0, description="Pause between looks whether a day is over whose float is to be closed, seconds"
    )
    bank_sweep_s: float = Field(1.0, gt=0, description="Pause between looks for bank flows to bring on, seconds")
    bank_retry_first_s: float = Field(1.0, gt=0, description="Pause before a silent bank is asked again, seconds")
    bank_retry_last_s: float = Field(300.0, gt=0, description="Longest such pause; it doubles up to here, seconds")
    bank_wait_s: float = Field(
        10.0, ge=0, le=15, description="How long a caller waits for the end of its flow, seconds"
    )
