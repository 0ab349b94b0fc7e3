"""The record table for ten million records and more: less is written per record, and nothing is read row by row."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Records come in the order of days and files: ranges of pages say as much as a row-by-row index, for nothing.
    op.execute(
        "CREATE INDEX record_arrival ON record USING brin (settlement_date, file_id) "
        "WITH (pages_per_range = 32, autosummarize = on)"
    )
    op.execute("DROP INDEX record_window")
    op.execute(
        "CREATE INDEX waiting_record_grey ON waiting_record (terminal_number, terminal_seq) "
        "WHERE closed_at IS NULL AND kind = 8"
    )


def downgrade() -> None:
    op.execute("DROP INDEX waiting_record_grey")
    op.execute("CREATE INDEX record_window ON record (settlement_date, participant)")
    op.execute("DROP INDEX record_arrival")
