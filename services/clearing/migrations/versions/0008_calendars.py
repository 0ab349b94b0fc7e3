"""Calendars, rules of days, and the terms that statements were made by."""

from alembic import op

from libs.runtime.migrate import revoke

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE calendar_version (calendar text NOT NULL, effective_on date NOT NULL, "
        "rest_weekdays smallint[] NOT NULL, holidays date[] NOT NULL, make_up_days date[] NOT NULL, "
        "PRIMARY KEY (calendar, effective_on))"
    )
    op.execute(
        "CREATE TABLE day_rule (participant integer NOT NULL REFERENCES participant, effective_on date NOT NULL, "
        "cut_off time NOT NULL, time_zone text NOT NULL, calendar text NOT NULL, "
        "PRIMARY KEY (participant, effective_on))"
    )
    op.execute(
        "CREATE TABLE statement_terms (participant integer NOT NULL, settlement_date date NOT NULL, "
        "body bytea NOT NULL, PRIMARY KEY (participant, settlement_date))"
    )
    for table in ("calendar_version", "day_rule", "statement_terms"):
        revoke(op, "UPDATE, DELETE", table, "clearing")


def downgrade() -> None:
    for table in ("statement_terms", "day_rule", "calendar_version"):
        op.execute(f"DROP TABLE {table}")
