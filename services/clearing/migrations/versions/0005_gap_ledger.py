"""The gap ledger."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE counter_gap (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind smallint NOT NULL, "
        "key bigint NOT NULL, first bigint NOT NULL, last bigint NOT NULL, participant integer NOT NULL, "
        "opened_at timestamptz NOT NULL, closed_at timestamptz, reason smallint, CHECK (first <= last), "
        "CHECK ((closed_at IS NULL) = (reason IS NULL)))"
    )
    op.execute("CREATE UNIQUE INDEX counter_gap_open ON counter_gap (kind, key, first) WHERE closed_at IS NULL")
    op.execute("INSERT INTO counter (name, next) VALUES ('gap_file', 0)")


def downgrade() -> None:
    op.execute("DELETE FROM counter WHERE name = 'gap_file'")
    op.execute("DROP TABLE counter_gap")
