"""Terminals, sign-ins, uploads with their bytes, refused uploads."""

from alembic import op

from libs.runtime.migrate import create_runtime_tables, drop_runtime_tables, revoke

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_runtime_tables(op)
    op.execute("""
        CREATE TABLE terminal (
            terminal_number text PRIMARY KEY CHECK (terminal_number ~ '^[0-9]{12}$'),
            participant text NOT NULL,
            psam_number text NOT NULL UNIQUE CHECK (psam_number ~ '^[0-9]{20}$'),
            operator_number bigint NOT NULL,
            device_number bigint NOT NULL,
            industry_code text NOT NULL,
            register_time timestamptz NOT NULL,
            psam_revoke_time timestamptz
        )""")
    op.execute("CREATE INDEX terminal_participant ON terminal (participant, terminal_number)")
    # Apart from the terminal: written at every sign-in, and collectors have one too.
    op.execute("""
        CREATE TABLE sign_in (
            subject text PRIMARY KEY,
            caller text NOT NULL,
            sign_in_time timestamptz NOT NULL,
            clock_ahead_ms bigint NOT NULL,
            blacklist_version bigint NOT NULL,
            program_version text NOT NULL
        )""")
    op.execute("""
        CREATE TABLE blacklist_head (
            single boolean PRIMARY KEY DEFAULT true CHECK (single),
            version bigint NOT NULL
        )""")
    op.execute("INSERT INTO blacklist_head (version) VALUES (0)")
    op.execute("""
        CREATE TABLE upload (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            participant text NOT NULL,
            sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
            state smallint NOT NULL CHECK (state IN (1, 2)),
            size_bytes bigint NOT NULL,
            received_bytes bigint NOT NULL CHECK (received_bytes BETWEEN 0 AND size_bytes),
            sender text NOT NULL,
            certificate bytea NOT NULL,
            signature bytea NOT NULL,
            file_name text NOT NULL,
            carrier smallint NOT NULL,
            touch_time timestamptz NOT NULL,
            store_time timestamptz,
            sequence bigint UNIQUE,
            sender_institution text,
            batch_number bigint,
            record_count bigint,
            total_fen numeric(20),
            UNIQUE (participant, sha256),
            CHECK (state = 1 OR (received_bytes = size_bytes AND store_time IS NOT NULL AND sequence IS NOT NULL
                AND sender_institution IS NOT NULL AND batch_number IS NOT NULL AND record_count IS NOT NULL
                AND total_fen IS NOT NULL))
        )""")
    op.execute("CREATE INDEX upload_receiving ON upload (touch_time) WHERE state = 1")
    op.execute("CREATE INDEX upload_participant ON upload (participant, sequence) WHERE state = 2")
    op.execute("""
        CREATE TABLE upload_part (
            upload_id bigint NOT NULL REFERENCES upload ON DELETE CASCADE,
            part_offset bigint NOT NULL,
            data bytea NOT NULL,
            PRIMARY KEY (upload_id, part_offset)
        )""")
    # Records hardly compress and are read in pieces.
    op.execute("ALTER TABLE upload_part ALTER COLUMN data SET STORAGE EXTERNAL")
    # One row: its lock makes positions without holes.
    op.execute("""
        CREATE TABLE upload_journal (
            single boolean PRIMARY KEY DEFAULT true CHECK (single),
            sequence bigint NOT NULL
        )""")
    op.execute("INSERT INTO upload_journal (sequence) VALUES (0)")
    op.execute("""
        CREATE TABLE refused_upload (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            participant text NOT NULL,
            sha256 bytea NOT NULL,
            size_bytes bigint NOT NULL,
            sender text NOT NULL,
            file_name text NOT NULL,
            carrier smallint NOT NULL,
            refuse_time timestamptz NOT NULL,
            reason text NOT NULL,
            file_code text NOT NULL,
            detail text NOT NULL
        )""")
    revoke(op, "UPDATE, DELETE", "refused_upload", "terminal_gw")
    # A byte that is here is never written over.
    revoke(op, "UPDATE", "upload_part", "terminal_gw")


def downgrade() -> None:
    for table in (
        "refused_upload", "upload_journal", "upload_part", "upload", "blacklist_head", "sign_in", "terminal"
    ):  # fmt: skip
        op.execute(f"DROP TABLE {table}")
    drop_runtime_tables(op)
