"""The tables of the list as SQLAlchemy knows them; `migrations/` makes them."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, LargeBinary, MetaData, SmallInteger, Table, Text
from sqlalchemy import Uuid as UuidType

METADATA: Final = MetaData()
_MOMENT: Final = DateTime(timezone=True)

LIST_HEAD: Final = Table(
    "list_head",
    METADATA,
    Column("single", Boolean, primary_key=True),
    Column("list_id", UuidType),
    Column("version", BigInteger),
    Column("entry_count", BigInteger),
    Column("chain_hash", LargeBinary),
    Column("create_time", _MOMENT),
)
LIST_CHANGE: Final = Table(
    "list_change",
    METADATA,
    Column("version", BigInteger, primary_key=True),
    Column("scheme", Text),
    Column("number", LargeBinary),
    Column("generation", Integer),
    Column("added", Boolean),
    Column("reason", SmallInteger),
    Column("mode", SmallInteger),
    Column("effective_time", _MOMENT),
    Column("report_time", _MOMENT),
    Column("until_time", _MOMENT),
    Column("holds_from", _MOMENT),
    Column("create_time", _MOMENT),
    Column("chain_hash", LargeBinary),
)
ENTRY: Final = Table(
    "entry",
    METADATA,
    Column("scheme", Text, primary_key=True),
    Column("number", LargeBinary, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("listed", Boolean),
    Column("reason", SmallInteger),
    Column("mode", SmallInteger),
    Column("effective_time", _MOMENT),
    Column("report_time", _MOMENT),
    Column("until_time", _MOMENT),
    Column("loss_open", Boolean),
    Column("loss_time", _MOMENT),
    Column("decided", Boolean),
    Column("remove_time", _MOMENT),
    Column("added_version", BigInteger),
    Column("removed_version", BigInteger),
    Column("changed_version", BigInteger),
)
