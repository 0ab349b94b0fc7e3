"""First floor: participants, registries, files, records, positions, windows, statements."""

import re

from alembic import op

from libs.runtime.migrate import create_runtime_tables, drop_runtime_tables, revoke

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE participant (
    number          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              text NOT NULL UNIQUE,
    display_name_zh text NOT NULL,
    display_name_en text NOT NULL,
    institution_id  text NOT NULL,
    operator_number bigint NOT NULL,
    cut_off         time NOT NULL,
    time_zone       text NOT NULL,
    fee_rate_bp     integer NOT NULL,
    served          text[] NOT NULL,
    created_at      timestamptz NOT NULL,
    UNIQUE (institution_id, operator_number)
);

CREATE TABLE issuer_key (
    issuer_id    text NOT NULL,
    key_version  smallint NOT NULL,
    algorithm_id smallint NOT NULL,
    PRIMARY KEY (issuer_id, key_version, algorithm_id)
);

-- industry -1 holds for all industries without a limit of their own
CREATE TABLE industry_limit (
    industry         integer NOT NULL,
    effective_at     timestamptz NOT NULL,
    amount_limit_fen bigint NOT NULL,
    PRIMARY KEY (industry, effective_at)
);

-- What the card service tells: one row for each life of a number.
CREATE TABLE card (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number        bytea NOT NULL,
    generation    integer NOT NULL,
    jt            boolean NOT NULL,
    issuer_id     text NOT NULL,
    issued_s      bigint NOT NULL,
    start_day     integer NOT NULL,
    expiry_day    integer NOT NULL,
    counter_first integer NOT NULL DEFAULT 0,
    UNIQUE (number, jt, generation)
);

CREATE TABLE card_load (
    load_id    text PRIMARY KEY,
    number     bytea NOT NULL,
    jt         boolean NOT NULL,
    generation integer NOT NULL,
    load_s     bigint NOT NULL,
    amount_fen bigint NOT NULL
);
CREATE INDEX card_load_number ON card_load (number, jt, generation, load_s);

-- What the gateway tells.
CREATE TABLE terminal (
    number      bigint PRIMARY KEY,
    participant text NOT NULL
);
CREATE TABLE psam (
    number    bytea PRIMARY KEY,
    revoked_s bigint
);

-- What the blacklist tells: one row for each time that a card was listed.
CREATE TABLE listing (
    number      bytea NOT NULL,
    jt          boolean NOT NULL,
    generation  integer NOT NULL,
    version     bigint NOT NULL,
    effective_s bigint NOT NULL,
    removed_s   bigint,
    PRIMARY KEY (number, jt, generation, version)
);
CREATE TABLE list_state (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version     bigint NOT NULL
);
INSERT INTO list_state (version) VALUES (0);

CREATE TABLE file (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    participant        text NOT NULL,
    sha256             bytea NOT NULL,
    state              smallint NOT NULL,
    file_code          smallint NOT NULL DEFAULT 0,
    upload_sequence    bigint NOT NULL,
    stored_at          timestamptz NOT NULL,
    sender_institution text NOT NULL,
    batch_number       bigint NOT NULL,
    business_date      date,
    record_count       bigint NOT NULL,
    total_fen          numeric(20) NOT NULL,
    settlement_date    date,
    settlement_dates   jsonb NOT NULL DEFAULT '{}',
    judged_count       bigint NOT NULL DEFAULT 0,
    -- one byte per record: its first result code
    codes              bytea NOT NULL DEFAULT '',
    reference_first    bigint NOT NULL DEFAULT 0,
    result_number      integer,
    judged_at          timestamptz,
    UNIQUE (participant, sha256)
);
CREATE INDEX file_sequence ON file (upload_sequence);
CREATE INDEX file_open ON file (id) WHERE state = 1;
CREATE INDEX file_batch_number ON file (sender_institution, batch_number);
ALTER TABLE file ALTER COLUMN codes SET STORAGE EXTERNAL;

-- Only records whose TAC is right are here: they took U1 (the primary key) and U2 (the second index).
CREATE TABLE record (
    terminal_number    bigint NOT NULL,
    terminal_seq       bigint NOT NULL,
    card_id            bigint NOT NULL,
    card_counter       integer NOT NULL,
    transaction_s      bigint NOT NULL,
    amount_fen         bigint NOT NULL,
    list_price_fen     bigint NOT NULL,
    balance_before_fen bigint NOT NULL,
    file_id            bigint NOT NULL,
    file_index         integer NOT NULL,
    participant        integer NOT NULL,
    settlement_date    date NOT NULL,
    kind               smallint NOT NULL,
    code               smallint NOT NULL,
    digest             bytea NOT NULL,
    PRIMARY KEY (terminal_number, terminal_seq)
);
CREATE UNIQUE INDEX record_card_counter ON record (card_id, card_counter);
CREATE INDEX record_window ON record (settlement_date, participant);

-- Records that took no key but are not forgotten: pending ones, and kinds that post nothing.
CREATE TABLE waiting_record (
    digest          bytea PRIMARY KEY,
    content         bytea NOT NULL,
    file_id         bigint NOT NULL,
    file_index      integer NOT NULL,
    participant     integer NOT NULL,
    kind            smallint NOT NULL,
    code            smallint NOT NULL,
    terminal_number bigint NOT NULL,
    terminal_seq    bigint NOT NULL,
    card_number     bytea NOT NULL,
    opened_at       timestamptz NOT NULL,
    closed_at       timestamptz,
    final_code      smallint
);
CREATE INDEX waiting_record_open ON waiting_record (code, digest) WHERE closed_at IS NULL AND code <> 0;
CREATE INDEX waiting_record_key ON waiting_record (terminal_number, terminal_seq) WHERE closed_at IS NULL;

CREATE TABLE settlement_window (
    participant     integer NOT NULL REFERENCES participant,
    settlement_date date NOT NULL,
    closed_at       timestamptz,
    PRIMARY KEY (participant, settlement_date)
);

-- Deltas are appended per posted set and summed when read: no hot row, nothing to contend for.
CREATE TABLE position_delta (
    batch_id        uuid NOT NULL,
    participant     integer NOT NULL,
    settlement_date date NOT NULL,
    issuer          text NOT NULL,
    acquirer        text NOT NULL,
    operator        bigint NOT NULL,
    industry        integer NOT NULL,
    kind            smallint NOT NULL,
    card_main_type  smallint NOT NULL,
    code            smallint NOT NULL,
    record_count    bigint NOT NULL,
    amount_fen      bigint NOT NULL,
    list_price_fen  bigint NOT NULL
);
CREATE INDEX position_delta_window ON position_delta (participant, settlement_date);

CREATE TABLE batch (
    id                 uuid PRIMARY KEY,
    posted_at          timestamptz NOT NULL,
    movement_count     bigint NOT NULL,
    movement_total_fen bigint NOT NULL,
    folded_at          timestamptz
);
CREATE INDEX batch_unfolded ON batch (posted_at) WHERE folded_at IS NULL;

CREATE TABLE batch_line (
    batch_id       uuid NOT NULL REFERENCES batch,
    debit_account  text NOT NULL,
    credit_account text NOT NULL,
    amount_fen     bigint NOT NULL,
    record_count   bigint NOT NULL,
    PRIMARY KEY (batch_id, debit_account, credit_account)
);

CREATE TABLE statement (
    participant      integer NOT NULL REFERENCES participant,
    settlement_date  date NOT NULL,
    number           integer NOT NULL,
    fee_rate_bp      integer NOT NULL,
    body             bytea NOT NULL,
    st_file          bytea NOT NULL,
    chain_hash       bytea NOT NULL,
    PRIMARY KEY (participant, settlement_date),
    UNIQUE (participant, number)
);

-- Numbers without gaps: clearing references and result files.
CREATE TABLE counter (
    name text PRIMARY KEY,
    next bigint NOT NULL
);
INSERT INTO counter (name, next) VALUES ('clearing_reference', 1), ('result_file', 1);
"""


def upgrade() -> None:
    create_runtime_tables(op)
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    # A statement, a record and a position never change: the application's role may not even try.
    for table in ("record", "position_delta", "batch_line", "statement"):
        revoke(op, "UPDATE, DELETE", table, "clearing")


def downgrade() -> None:
    for table in reversed(re.findall(r"CREATE TABLE (\w+)", _TABLES)):
        op.execute(f"DROP TABLE {table}")
    drop_runtime_tables(op)
