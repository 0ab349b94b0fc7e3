"""Which files lie in an archive; and tables that are only appended to are frozen early, small ones kept small."""

from alembic import op

from libs.runtime.migrate import revoke

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_APPENDED = ("record", "position_delta", "batch_line")
_REWRITTEN = ("counter", "poster")


def upgrade() -> None:
    op.execute(
        "CREATE TABLE archived_file (file_id bigint PRIMARY KEY REFERENCES file, archive text NOT NULL, "
        "archived_at timestamptz NOT NULL)"
    )
    revoke(op, "UPDATE, DELETE", "archived_file", "clearing")
    for table in _APPENDED:
        # A page that is full never changes again: frozen in one go, it is never read for that again.
        op.execute(
            f"ALTER TABLE {table} SET (autovacuum_vacuum_insert_scale_factor = 0.02, "
            "autovacuum_analyze_scale_factor = 0.02, autovacuum_freeze_min_age = 0)"
        )
    for table in _REWRITTEN:
        # A few rows rewritten with every set: room beside them keeps the rewriting on the page.
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 20, autovacuum_vacuum_threshold = 1000)")


def downgrade() -> None:
    for table in _REWRITTEN:
        op.execute(f"ALTER TABLE {table} RESET (fillfactor, autovacuum_vacuum_threshold)")
    for table in _APPENDED:
        op.execute(
            f"ALTER TABLE {table} RESET (autovacuum_vacuum_insert_scale_factor, autovacuum_analyze_scale_factor, "
            "autovacuum_freeze_min_age)"
        )
    op.execute("DROP TABLE archived_file")
