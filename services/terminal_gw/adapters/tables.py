"""The gateway's tables as SQLAlchemy knows them; `migrations/` makes them."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
)

METADATA: Final = MetaData()
_MOMENT: Final = DateTime(timezone=True)

TERMINAL: Final = Table(
    "terminal",
    METADATA,
    Column("terminal_number", Text, primary_key=True),
    Column("participant", Text),
    Column("psam_number", Text),
    Column("operator_number", BigInteger),
    Column("device_number", BigInteger),
    Column("industry_code", Text),
    Column("register_time", _MOMENT),
    Column("psam_revoke_time", _MOMENT),
)
SIGN_IN: Final = Table(
    "sign_in",
    METADATA,
    Column("subject", Text, primary_key=True),
    Column("caller", Text),
    Column("sign_in_time", _MOMENT),
    Column("clock_ahead_ms", BigInteger),
    Column("blacklist_version", BigInteger),
    Column("program_version", Text),
)
PAIRING: Final = Table(
    "pairing",
    METADATA,
    Column("terminal_number", Text, primary_key=True),
    Column("valid_from", _MOMENT, primary_key=True),
    Column("valid_until", _MOMENT),
    Column("device_number", BigInteger),
)
BLACKLIST_HEAD: Final = Table(
    "blacklist_head", METADATA, Column("single", Boolean, primary_key=True), Column("version", BigInteger)
)
UPLOAD: Final = Table(
    "upload",
    METADATA,
    Column("id", BigInteger, primary_key=True),
    Column("participant", Text),
    Column("sha256", LargeBinary),
    Column("state", SmallInteger),
    Column("size_bytes", BigInteger),
    Column("received_bytes", BigInteger),
    Column("sender", Text),
    Column("certificate", LargeBinary),
    Column("signature", LargeBinary),
    Column("file_name", Text),
    Column("carrier", SmallInteger),
    Column("touch_time", _MOMENT),
    Column("store_time", _MOMENT),
    Column("sequence", BigInteger),
    Column("sender_institution", Text),
    Column("batch_number", BigInteger),
    Column("record_count", BigInteger),
    Column("total_fen", Numeric(20)),
    Column("terminal_count", Integer),
    Column("device_seq_first", BigInteger),
    Column("device_seq_last", BigInteger),
)
UPLOAD_PART: Final = Table(
    "upload_part",
    METADATA,
    Column("upload_id", BigInteger, primary_key=True),
    Column("part_offset", BigInteger, primary_key=True),
    Column("data", LargeBinary),
)
UPLOAD_JOURNAL: Final = Table(
    "upload_journal", METADATA, Column("single", Boolean, primary_key=True), Column("sequence", BigInteger)
)
REFUSED_UPLOAD: Final = Table(
    "refused_upload",
    METADATA,
    Column("id", BigInteger, primary_key=True),
    Column("participant", Text),
    Column("sha256", LargeBinary),
    Column("size_bytes", BigInteger),
    Column("sender", Text),
    Column("file_name", Text),
    Column("carrier", SmallInteger),
    Column("refuse_time", _MOMENT),
    Column("reason", Text),
    Column("file_code", Text),
    Column("detail", Text),
)
