"""Which serials each stored upload holds, what that covers, registers, certificates of completeness."""

from alembic import op

from libs.runtime.migrate import revoke

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Expand: uploads stored by the version before have none of these until the gateway has looked at them again.
    op.execute("""
        ALTER TABLE upload ADD COLUMN terminal_count integer,
            ADD COLUMN device_seq_first bigint, ADD COLUMN device_seq_last bigint""")
    op.execute("CREATE INDEX upload_unindexed ON upload (sequence) WHERE state = 2 AND terminal_count IS NULL")
    op.execute("""
        CREATE TABLE upload_serials (
            upload_id bigint NOT NULL REFERENCES upload,
            terminal_number text NOT NULL,
            device_number bigint NOT NULL,
            participant text NOT NULL,
            record_count bigint NOT NULL,
            device_seqs int8multirange NOT NULL,
            terminal_seqs int8multirange NOT NULL,
            PRIMARY KEY (upload_id, terminal_number, device_number)
        )""")
    op.execute("CREATE INDEX upload_serials_device ON upload_serials (participant, device_number)")
    # What all uploads of a participant hold together. kind: 1 device serials, 2 PSAM serials, 3 batch numbers.
    op.execute("""
        CREATE TABLE serial_coverage (
            participant text NOT NULL,
            kind smallint NOT NULL CHECK (kind IN (1, 2, 3)),
            subject text NOT NULL,
            covered int8multirange NOT NULL DEFAULT '{}',
            declared_void int8multirange NOT NULL DEFAULT '{}',
            PRIMARY KEY (participant, kind, subject)
        ) WITH (fillfactor = 70)""")
    op.execute("""
        CREATE TABLE audit_register (
            participant text NOT NULL,
            device_number bigint NOT NULL,
            business_date date NOT NULL,
            shift_number bigint NOT NULL,
            device_seq_first bigint NOT NULL,
            device_seq_last bigint NOT NULL CHECK (device_seq_last >= device_seq_first - 1),
            terminal_number text NOT NULL REFERENCES terminal,
            record_count bigint NOT NULL,
            total_fen bigint NOT NULL,
            running_count bigint NOT NULL,
            running_total_fen bigint NOT NULL,
            staff_number bigint NOT NULL,
            close_time timestamptz,
            day_closed boolean NOT NULL,
            receive_time timestamptz NOT NULL,
            PRIMARY KEY (participant, device_number, business_date, shift_number, device_seq_first)
        )""")
    op.execute("CREATE INDEX audit_register_day ON audit_register (business_date, terminal_number)")
    op.execute("CREATE INDEX audit_register_serial ON audit_register (participant, device_number, device_seq_last)")
    op.execute("""
        CREATE TABLE completeness_certificate (
            terminal_number text NOT NULL REFERENCES terminal,
            business_date date NOT NULL,
            revision integer NOT NULL,
            participant text NOT NULL,
            content bytea NOT NULL,
            signature bytea NOT NULL,
            key_id bytea NOT NULL,
            verdict smallint NOT NULL,
            missing_count bigint NOT NULL,
            issue_time timestamptz NOT NULL,
            PRIMARY KEY (terminal_number, business_date, revision)
        )""")
    op.execute("CREATE INDEX completeness_day ON completeness_certificate (business_date, terminal_number, revision)")
    revoke(op, "UPDATE, DELETE", "upload_serials", "terminal_gw")
    revoke(op, "UPDATE, DELETE", "audit_register", "terminal_gw")
    revoke(op, "UPDATE, DELETE", "completeness_certificate", "terminal_gw")


def downgrade() -> None:
    for table in ("completeness_certificate", "audit_register", "serial_coverage", "upload_serials"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP INDEX upload_unindexed")
    op.execute("""
        ALTER TABLE upload DROP COLUMN terminal_count, DROP COLUMN device_seq_first, DROP COLUMN device_seq_last""")
