"""Settings of the blacklist."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from libs.runtime.settings import ServiceSettings


class BlacklistSettings(ServiceSettings):
    """What the blacklist needs to know beside the common settings."""

    service: ClassVar[str] = "blacklist"

    effective_delay_s: float = Field(
        86400.0, ge=0, description="From report or decision to the moment terminals must refuse, seconds"
    )
    centre_institution_id: str = Field(
        "00130000FFFFFFFF",
        pattern=r"^[0-9]{8}FFFFFFFF$",
        description="The centre in list files, 16 hexadecimal digits (card-files.md, section 4)",
    )
    list_signing_key_file: Path | None = Field(
        None,
        description="PEM private key (P-256) that signs compact lists; without it a test deployment signs with its"
        " certificate's key, and production publishes none",
    )
    list_other_keys_file: Path | None = Field(
        None, description="PEM public keys (P-256) that terminals shall believe too: the next one, the last one"
    )
    publish_pause_s: float = Field(0.2, gt=0, description="Shortest time between two publications, seconds")
    publish_poll_s: float = Field(1.0, gt=0, description="How often to look for versions without files, seconds")
    file_keep_s: float = Field(
        1800.0, gt=0, description="How long files that are not the newest are kept for downloads under way, seconds"
    )
    expire_poll_s: float = Field(1.0, gt=0, description="How often to take off what has come to its end, seconds")
    liability_notice_s: float = Field(
        82800.0, ge=0, description="From publication to the moment acquirers bear what their terminals accept, seconds"
    )
    version_age_s_max: float = Field(
        0.1, ge=0, description="How old the newest version may be that a check believes in, seconds; 0 asks each time"
    )
    redis_timeout_s: float = Field(0.2, gt=0, description="Longest wait for Redis, seconds; then the database answers")
    redis_poll_s: float = Field(1.0, gt=0, description="How often the copy in Redis looks for missed changes, seconds")
