"""Parameter packs with their bytes, roll-outs, and what devices report of them."""

from alembic import op

from libs.runtime.migrate import revoke

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE pack (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            kind smallint NOT NULL,
            device_kind smallint NOT NULL,
            participant text NOT NULL,
            version bigint NOT NULL,
            effect_time timestamptz NOT NULL,
            sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
            size_bytes bigint NOT NULL,
            signature bytea NOT NULL,
            certificate bytea NOT NULL,
            publish_time timestamptz NOT NULL,
            title text NOT NULL,
            UNIQUE (kind, device_kind, participant, version)
        )""")
    op.execute("""
        CREATE TABLE pack_part (
            pack_id bigint NOT NULL REFERENCES pack,
            part_offset bigint NOT NULL,
            data bytea NOT NULL,
            PRIMARY KEY (pack_id, part_offset)
        )""")
    op.execute("ALTER TABLE pack_part ALTER COLUMN data SET STORAGE EXTERNAL")
    op.execute("""
        CREATE TABLE rollout (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            pack_id bigint NOT NULL REFERENCES pack,
            stages jsonb NOT NULL,
            stage integer NOT NULL,
            state smallint NOT NULL CHECK (state IN (1, 2, 3)),
            failure_count_max integer NOT NULL,
            start_time timestamptz NOT NULL,
            starter text NOT NULL
        )""")
    op.execute("""
        CREATE TABLE pack_report (
            terminal_number text NOT NULL REFERENCES terminal,
            kind smallint NOT NULL,
            version bigint NOT NULL,
            outcome smallint NOT NULL,
            since timestamptz,
            detail text NOT NULL,
            report_time timestamptz NOT NULL,
            PRIMARY KEY (terminal_number, kind, outcome)
        )""")
    # Published is published.
    revoke(op, "UPDATE, DELETE", "pack", "terminal_gw")
    revoke(op, "UPDATE, DELETE", "pack_part", "terminal_gw")


def downgrade() -> None:
    for table in ("pack_report", "rollout", "pack_part", "pack"):
        op.execute(f"DROP TABLE {table}")
