"""The tables that the queries speak of; the schema itself is made by `migrations/`."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
)

METADATA = MetaData()
_Moment = DateTime(timezone=True)

PRODUCT = Table(
    "product",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("display_name_zh", Text),
    Column("display_name_en", Text),
    Column("kind", Text),
    Column("card_main_type", SmallInteger),
    Column("deposit_fen", BigInteger),
    Column("price_fen", BigInteger),
    Column("load_step_fen", BigInteger),
    Column("balance_limit_fen", BigInteger),
    Column("validity_days", Integer),
    Column("create_time", _Moment),
)

CARD = Table(
    "card",
    METADATA,
    Column("number", Text, primary_key=True),
    Column("generation", Integer),
    Column("state", Text),
    Column("product", Text),
    Column("product_version", Integer),
    Column("issuer_id", Text),
    Column("key_version", SmallInteger),
    Column("algorithm_id", SmallInteger),
    Column("outlet", Text),
    Column("printed_number", Text),
    Column("opening_fen", BigInteger),
    Column("deposit_fen", BigInteger),
    Column("price_fen", BigInteger),
    Column("registered", Boolean),
    Column("start_date", Date),
    Column("expiry_date", Date),
    Column("create_time", _Moment),
    Column("state_time", _Moment),
    Column("issue_time", _Moment),
)

CARD_MOVE = Table(
    "card_move",
    METADATA,
    Column("id", BigInteger, primary_key=True),
    Column("number", Text),
    Column("generation", Integer),
    Column("state_from", Text),
    Column("state_to", Text),
    Column("verb", Text),
    Column("move_time", _Moment),
)

STOCK_LEVEL = Table(
    "stock_level",
    METADATA,
    Column("outlet", Text, primary_key=True),
    Column("product", Text, primary_key=True),
    Column("stock_count", BigInteger),
    Column("issued_count", BigInteger),
)

HOLDER = Table(
    "holder",
    METADATA,
    Column("number", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("sealed", LargeBinary),
)

LOAD = Table(
    "load",
    METADATA,
    Column("id", Uuid, primary_key=True),
    Column("card", Text),
    Column("generation", Integer),
    Column("state", Text),
    Column("verdict", Text),
    Column("evidence", Text),
    Column("amount_fen", BigInteger),
    Column("outlet", Text),
    Column("terminal_number", Text),
    Column("tender", Text),
    Column("answer_a", LargeBinary),
    Column("online_counter", Integer),
    Column("card_balance_fen", BigInteger),
    Column("reservation", Text),
    Column("mac2", LargeBinary),
    Column("tac", LargeBinary),
    Column("host_time", _Moment),
    Column("create_time", _Moment),
    Column("expire_time", _Moment),
    Column("resolve_time", _Moment),
)
