"""Signatures of statements, and how participants are settled."""

from alembic import op

from libs.runtime.migrate import revoke

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE statement_signature (participant integer NOT NULL, settlement_date date NOT NULL, "
        "body bytea NOT NULL, PRIMARY KEY (participant, settlement_date))"
    )
    op.execute(
        "CREATE TABLE settlement_model (participant integer NOT NULL, effective_on date NOT NULL, "
        "model smallint NOT NULL, PRIMARY KEY (participant, effective_on))"
    )
    revoke(op, "UPDATE, DELETE", "statement_signature", "clearing")


def downgrade() -> None:
    op.execute("DROP TABLE settlement_model")
    op.execute("DROP TABLE statement_signature")
