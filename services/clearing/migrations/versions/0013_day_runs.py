"""Runs of settlement days and their stages; discounts that were missed."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE day_run (settlement_date date PRIMARY KEY, requested_by text NOT NULL, "
        "requested_at timestamptz NOT NULL)"
    )
    op.execute(
        "CREATE TABLE day_stage (settlement_date date NOT NULL REFERENCES day_run, participant integer NOT NULL, "
        "stage smallint NOT NULL, state smallint NOT NULL, attempts integer NOT NULL DEFAULT 0, "
        "reason text NOT NULL DEFAULT '', detail text NOT NULL DEFAULT '', started_at timestamptz, "
        "ended_at timestamptz, lease_until timestamptz, PRIMARY KEY (settlement_date, participant, stage))"
    )
    op.execute("CREATE INDEX day_stage_open ON day_stage (settlement_date) WHERE state IN (1, 2, 3)")
    op.execute(
        "CREATE TABLE missed_discount (terminal_number bigint NOT NULL, terminal_seq bigint NOT NULL, "
        "card text NOT NULL, participant integer NOT NULL, settlement_date date NOT NULL, rule_id "
        "integer NOT NULL, "
        "paid_fen bigint NOT NULL, expected_fen bigint NOT NULL CHECK (expected_fen < paid_fen), "
        "before_terminal bigint NOT NULL, before_seq bigint NOT NULL, found_at timestamptz NOT NULL, "
        "adjustment_id bigint REFERENCES adjustment_request, PRIMARY KEY (terminal_number, terminal_seq))"
    )
    op.execute("CREATE INDEX missed_discount_day ON missed_discount (participant, settlement_date)")


def downgrade() -> None:
    for table in ("missed_discount", "day_stage", "day_run"):
        op.execute(f"DROP TABLE {table}")
