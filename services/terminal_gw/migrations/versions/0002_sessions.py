"""Pairings, assignments, revoked certificates, sessions, states, events, commands, work keys, repair slips."""

from alembic import op

from libs.runtime.migrate import revoke

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE pairing (
            terminal_number text NOT NULL REFERENCES terminal,
            valid_from timestamptz NOT NULL,
            valid_until timestamptz,
            device_number bigint NOT NULL,
            PRIMARY KEY (terminal_number, valid_from),
            CHECK (valid_until > valid_from)
        )""")
    op.execute("""
        INSERT INTO pairing (terminal_number, valid_from, device_number)
        SELECT terminal_number, register_time, device_number FROM terminal""")
    # Apart from the terminal: what it is never changes, where it stands does.
    op.execute("""
        CREATE TABLE assignment (
            terminal_number text PRIMARY KEY REFERENCES terminal,
            device_kind smallint NOT NULL DEFAULT 0,
            group_name text NOT NULL DEFAULT '',
            collection_point text NOT NULL DEFAULT ''
        )""")
    op.execute("CREATE INDEX assignment_group ON assignment (group_name) WHERE group_name <> ''")
    op.execute("CREATE INDEX assignment_point ON assignment (collection_point) WHERE collection_point <> ''")
    # `sha256:{hex}` of one certificate, or the name of all certificates of a party.
    op.execute("""
        CREATE TABLE revoked_certificate (
            subject text PRIMARY KEY,
            revoke_time timestamptz NOT NULL,
            reason text NOT NULL,
            revoker text NOT NULL
        )""")
    # One row a terminal: the newest session wins, in whatever process.
    op.execute("""
        CREATE TABLE terminal_session (
            terminal_number text PRIMARY KEY REFERENCES terminal,
            session_id text NOT NULL,
            instance text NOT NULL,
            open_time timestamptz NOT NULL,
            beat_time timestamptz NOT NULL
        ) WITH (fillfactor = 70)""")
    op.execute("CREATE INDEX terminal_session_instance ON terminal_session (instance)")
    # Rewritten by every heartbeat, in sets; room in the page keeps the index out of it.
    op.execute("""
        CREATE TABLE terminal_state (
            terminal_number text PRIMARY KEY REFERENCES terminal,
            contact_time timestamptz NOT NULL,
            clock_ahead_ms bigint NOT NULL,
            mode smallint NOT NULL DEFAULT 0,
            blacklist_version bigint NOT NULL DEFAULT 0,
            program_version text NOT NULL DEFAULT '',
            device_seq_last bigint NOT NULL DEFAULT 0,
            terminal_seq_last bigint NOT NULL DEFAULT 0,
            unsent_count bigint NOT NULL DEFAULT 0,
            oldest_unsent_time timestamptz,
            free_count bigint NOT NULL DEFAULT -1,
            last_record_time timestamptz
        ) WITH (fillfactor = 70)""")
    op.execute("""
        CREATE TABLE device_event (
            terminal_number text NOT NULL,
            event_seq bigint NOT NULL,
            receive_time timestamptz NOT NULL,
            code text NOT NULL,
            severity smallint NOT NULL,
            mode smallint,
            body bytea NOT NULL,
            PRIMARY KEY (terminal_number, event_seq)
        )""")
    op.execute("""
        CREATE TABLE command (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            terminal_number text NOT NULL REFERENCES terminal,
            kind text NOT NULL,
            body bytea NOT NULL,
            state smallint NOT NULL CHECK (state BETWEEN 1 AND 7),
            issuer text NOT NULL,
            issue_time timestamptz NOT NULL,
            expire_time timestamptz NOT NULL,
            send_time timestamptz,
            answer_time timestamptz,
            detail text NOT NULL DEFAULT ''
        )""")
    op.execute("CREATE INDEX command_terminal ON command (terminal_number, id)")
    op.execute("CREATE INDEX command_pending ON command (terminal_number) WHERE state = 1")
    op.execute("CREATE INDEX command_open ON command (expire_time) WHERE state <= 3")
    op.execute("""
        CREATE TABLE work_key (
            terminal_number text NOT NULL REFERENCES terminal,
            business_date date NOT NULL,
            use smallint NOT NULL,
            psam_number text NOT NULL,
            wrapped bytea NOT NULL,
            check_value bytea NOT NULL,
            mac bytea NOT NULL,
            key_label text NOT NULL,
            expire_time timestamptz NOT NULL,
            PRIMARY KEY (terminal_number, business_date, use)
        )""")
    op.execute("""
        CREATE TABLE repair (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            terminal_number text NOT NULL REFERENCES terminal,
            fault text NOT NULL,
            opener text NOT NULL,
            open_time timestamptz NOT NULL,
            remedy text NOT NULL DEFAULT '',
            close_time timestamptz
        )""")
    revoke(op, "UPDATE, DELETE", "device_event", "terminal_gw")
    revoke(op, "UPDATE, DELETE", "work_key", "terminal_gw")
    revoke(op, "UPDATE, DELETE", "revoked_certificate", "terminal_gw")


def downgrade() -> None:
    for table in (
        "repair", "work_key", "command", "device_event", "terminal_state", "terminal_session", "revoked_certificate",
        "assignment", "pairing",
    ):  # fmt: skip
        op.execute(f"DROP TABLE {table}")
