"""The list: its head, its changes, its entries."""

from alembic import op

from libs.runtime.migrate import create_runtime_tables, drop_runtime_tables, revoke

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_runtime_tables(op)
    # One row: whoever changes the list locks it first, so that versions have no holes.
    op.execute("""
        CREATE TABLE list_head (
            single boolean PRIMARY KEY DEFAULT true CHECK (single),
            list_id uuid NOT NULL DEFAULT gen_random_uuid(),
            version bigint NOT NULL CHECK (version >= 0),
            entry_count bigint NOT NULL CHECK (entry_count >= 0),
            chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
            create_time timestamptz
        )""")
    op.execute(
        "INSERT INTO list_head (version, entry_count, chain_hash) VALUES (0, 0, decode(repeat('00', 32), 'hex'))"
    )
    op.execute("""
        CREATE TABLE list_change (
            version bigint PRIMARY KEY CHECK (version > 0),
            scheme text NOT NULL CHECK (scheme IN ('cj', 'jt')),
            number bytea NOT NULL CHECK (octet_length(number) = 10),
            generation integer NOT NULL CHECK (generation > 0),
            added boolean NOT NULL,
            reason smallint NOT NULL,
            mode smallint NOT NULL,
            effective_time timestamptz NOT NULL,
            report_time timestamptz NOT NULL,
            holds_from timestamptz NOT NULL,
            create_time timestamptz NOT NULL,
            chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32)
        )""")
    op.execute("CREATE INDEX list_change_card ON list_change (number, scheme, generation, version)")
    # Also cards that were never listed: a cancellation that came before its report is remembered here.
    op.execute("""
        CREATE TABLE entry (
            scheme text NOT NULL CHECK (scheme IN ('cj', 'jt')),
            number bytea NOT NULL CHECK (octet_length(number) = 10),
            generation integer NOT NULL CHECK (generation > 0),
            listed boolean NOT NULL,
            reason smallint,
            mode smallint,
            effective_time timestamptz,
            report_time timestamptz,
            loss_open boolean NOT NULL,
            loss_time timestamptz,
            decided boolean NOT NULL,
            remove_time timestamptz,
            added_version bigint NOT NULL,
            removed_version bigint NOT NULL,
            changed_version bigint NOT NULL,
            PRIMARY KEY (scheme, number, generation),
            CHECK (NOT listed OR (reason IS NOT NULL AND mode IS NOT NULL AND effective_time IS NOT NULL
                                  AND report_time IS NOT NULL))
        )""")
    op.execute("CREATE INDEX entry_number ON entry (number, generation) WHERE listed")
    op.execute("CREATE INDEX entry_changed_version ON entry (changed_version)")
    # The chain only grows.
    revoke(op, "UPDATE, DELETE", "list_change", "blacklist")
    revoke(op, "INSERT, DELETE", "list_head", "blacklist")


def downgrade() -> None:
    for table in ("entry", "list_change", "list_head"):
        op.execute(f"DROP TABLE {table}")
    drop_runtime_tables(op)
