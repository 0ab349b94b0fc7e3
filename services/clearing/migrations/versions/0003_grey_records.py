"""Grey records are decided by the card's next sight; those that it does not decide are looked at again later."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE waiting_record ADD COLUMN look_after timestamptz")


def downgrade() -> None:
    op.execute("ALTER TABLE waiting_record DROP COLUMN look_after")
