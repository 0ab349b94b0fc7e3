"""What a process that remembers cards must look at: registrations are counted, and who posts leaves a mark."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The row is locked until the registration commits: numbers become visible in their order, and no one is overlooked.
    op.execute("INSERT INTO counter (name, next) VALUES ('card_registration', 0)")
    op.execute("ALTER TABLE card ADD COLUMN registration bigint NOT NULL DEFAULT 0")
    # Cards come in the order of their registrations: ranges of pages find the newest.
    op.execute("CREATE INDEX card_registration ON card USING brin (registration) WITH (autosummarize = on)")
    # One row per process that posts; its last set is a new random name each time, so that a row that was removed and
    # made again never looks like the old one.
    op.execute("CREATE TABLE poster (id uuid PRIMARY KEY, last_set uuid NOT NULL, at timestamptz NOT NULL)")


def downgrade() -> None:
    op.execute("DROP TABLE poster")
    op.execute("DROP INDEX card_registration")
    op.execute("ALTER TABLE card DROP COLUMN registration")
    op.execute("DELETE FROM counter WHERE name = 'card_registration'")
