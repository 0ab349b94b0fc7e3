"""Fare packs by instant, and the records that were charged otherwise."""

from alembic import op

from libs.runtime.migrate import revoke

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # participant 0 holds for all that have no pack of their own
    op.execute(
        "CREATE TABLE fare_pack (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, participant integer NOT NULL, "
        "effective_at timestamptz NOT NULL, document jsonb NOT NULL, UNIQUE (participant, effective_at))"
    )
    op.execute(
        "CREATE TABLE fare_deviation (terminal_number bigint NOT NULL, terminal_seq bigint NOT NULL, "
        "card_id bigint NOT NULL, participant integer NOT NULL, settlement_date date NOT NULL, "
        "pack_id bigint NOT NULL, kind smallint NOT NULL, rule_id integer NOT NULL, "
        "industry integer NOT NULL, card_main_type smallint NOT NULL, list_price_fen bigint NOT NULL, "
        "amount_fen bigint NOT NULL, expected_fen bigint NOT NULL, PRIMARY KEY (terminal_number, terminal_seq))"
    )
    op.execute("CREATE INDEX fare_deviation_day ON fare_deviation (participant, settlement_date)")
    for table in ("fare_pack", "fare_deviation"):
        revoke(op, "UPDATE, DELETE", table, "clearing")


def downgrade() -> None:
    op.execute("DROP TABLE fare_deviation")
    op.execute("DROP TABLE fare_pack")
