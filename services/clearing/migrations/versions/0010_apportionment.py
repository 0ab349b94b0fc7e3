"""Rules of apportionment, shares of fares, discounts by clause."""

from alembic import op

from libs.runtime.migrate import revoke

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE TABLE apportionment_rules (effective_on date PRIMARY KEY, body bytea NOT NULL)")
    # Deltas of sets, as positions are; party_day is the window that the party's share fell into.
    op.execute(
        "CREATE TABLE fare_share (batch_id uuid NOT NULL, owner integer NOT NULL, owner_day date NOT NULL, "
        "party integer NOT NULL, party_day date NOT NULL, clause integer NOT NULL, operator bigint NOT NULL, "
        "industry integer NOT NULL, line text NOT NULL, record_count bigint NOT NULL, amount_fen bigint NOT NULL)"
    )
    op.execute("CREATE INDEX fare_share_owner ON fare_share (owner, owner_day)")
    op.execute("CREATE INDEX fare_share_party ON fare_share (party, party_day) WHERE party <> owner")
    op.execute(
        "CREATE TABLE discount_sum (batch_id uuid NOT NULL, owner integer NOT NULL, owner_day date NOT NULL, "
        "clause integer NOT NULL, issuer text NOT NULL, acquirer text NOT NULL, operator bigint NOT NULL, "
        "record_count bigint NOT NULL, amount_fen bigint NOT NULL)"
    )
    op.execute("CREATE INDEX discount_sum_owner ON discount_sum (owner, owner_day)")
    for table in ("apportionment_rules", "fare_share", "discount_sum"):
        revoke(op, "UPDATE, DELETE", table, "clearing")


def downgrade() -> None:
    for table in ("discount_sum", "fare_share", "apportionment_rules"):
        op.execute(f"DROP TABLE {table}")
