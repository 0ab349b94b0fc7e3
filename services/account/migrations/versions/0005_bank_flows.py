"""Banks, flows against them, their daily files and what does not agree.

Revision ID: 0005
Revises: 0002
"""

from alembic import op

from libs.runtime.migrate import revoke

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE bank (
    participant text COLLATE "C" PRIMARY KEY,
    address text NOT NULL,
    settlement_account text NOT NULL,
    currency text NOT NULL,
    operation_limit_fen bigint NOT NULL CHECK (operation_limit_fen >= 0),
    day_limit_fen bigint NOT NULL CHECK (day_limit_fen >= 0),
    cut_off time NOT NULL,
    holidays date[] NOT NULL,
    make_up_days date[] NOT NULL,
    works_weekends boolean NOT NULL,
    call_timeout_s double precision NOT NULL CHECK (call_timeout_s > 0),
    patience_s double precision NOT NULL CHECK (patience_s > 0),
    suspended boolean NOT NULL
);

-- What the operations of a business day have used of its limit; its row is the line in which new flows of a bank wait.
CREATE TABLE bank_day (
    participant text COLLATE "C" NOT NULL REFERENCES bank,
    business_date date NOT NULL,
    used_fen bigint NOT NULL CHECK (used_fen >= 0),
    PRIMARY KEY (participant, business_date)
) WITH (fillfactor = 50);

-- What the books hold and post stands in the reservation of the same id.
CREATE TABLE bank_flow (
    flow_id uuid PRIMARY KEY REFERENCES reservation,
    flow_number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    kind text NOT NULL CHECK (kind IN ('LOAD', 'UNLOAD', 'PURCHASE', 'CASH_WITHDRAWAL', 'TRANSFER')),
    state text NOT NULL
        CHECK (state IN ('AUTHORISING', 'CAPTURING', 'POSTED', 'GIVING_UP', 'VOIDED', 'UNDOING', 'UNDONE')),
    create_time timestamptz NOT NULL,
    deadline timestamptz NOT NULL,
    next_time timestamptz,
    refusal text NOT NULL DEFAULT '',
    undo_id uuid UNIQUE REFERENCES reservation,
    -- The card that a load waits for, as in its name: `jt-….1`.
    purse text NOT NULL DEFAULT '',
    CHECK ((next_time IS NULL) = (state IN ('POSTED', 'VOIDED', 'UNDONE'))),
    CHECK ((undo_id IS NOT NULL) = (state IN ('UNDOING', 'UNDONE')))
) WITH (fillfactor = 70);
-- Stays as small as what is under way.
CREATE INDEX bank_flow_due ON bank_flow (next_time) WHERE next_time IS NOT NULL;

CREATE TABLE bank_leg (
    operation_id uuid PRIMARY KEY,
    flow_id uuid NOT NULL REFERENCES bank_flow,
    leg_number smallint NOT NULL CHECK (leg_number IN (1, 2)),
    bank text COLLATE "C" NOT NULL REFERENCES bank,
    direction text NOT NULL CHECK (direction IN ('DEBIT', 'CREDIT')),
    account_token text NOT NULL,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    business_date date NOT NULL,
    state text NOT NULL CHECK (state IN ('PLANNED', 'ASKED', 'AUTHORISED', 'CAPTURING', 'CAPTURED', 'DECLINED',
        'REVERSING', 'REVERSED')),
    sent boolean NOT NULL,
    doubt boolean NOT NULL,
    promised boolean NOT NULL,
    attempts integer NOT NULL,
    reference text NOT NULL,
    refusal text NOT NULL,
    UNIQUE (flow_id, leg_number)
) WITH (fillfactor = 70);
CREATE INDEX bank_leg_day ON bank_leg (bank, business_date);

-- Every file that was taken, for ever; the one of the highest revision stands for its day.
CREATE TABLE bank_file (
    file_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bank text COLLATE "C" NOT NULL REFERENCES bank,
    business_date date NOT NULL,
    revision integer NOT NULL CHECK (revision > 0),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    line_count bigint NOT NULL,
    debit_total_fen bigint NOT NULL,
    credit_total_fen bigint NOT NULL,
    import_time timestamptz NOT NULL,
    -- Replaced by a higher revision.
    current boolean NOT NULL,
    -- An operation of the day moved since it was matched.
    stale boolean NOT NULL,
    UNIQUE (bank, business_date, revision)
);
CREATE UNIQUE INDEX bank_file_current ON bank_file (bank, business_date) WHERE current;
CREATE INDEX bank_file_stale ON bank_file (file_id) WHERE stale AND current;

CREATE TABLE bank_file_line (
    file_id bigint NOT NULL REFERENCES bank_file,
    operation_id uuid NOT NULL,
    direction text NOT NULL,
    amount_fen bigint NOT NULL,
    state text NOT NULL,
    reference text NOT NULL,
    event_time timestamptz NOT NULL,
    PRIMARY KEY (file_id, operation_id)
);
CREATE INDEX bank_file_line_operation ON bank_file_line (operation_id);

CREATE TABLE bank_break (
    break_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bank text COLLATE "C" NOT NULL REFERENCES bank,
    business_date date NOT NULL,
    operation_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('ONLY_OURS', 'ONLY_BANK', 'AMOUNT_DIFFERS', 'STATE_DIFFERS', 'CONTRADICTION',
        'STUCK')),
    -- Those that comparing a file finds: an operation has at most one of them open.
    matched boolean GENERATED ALWAYS AS (kind NOT IN ('CONTRADICTION', 'STUCK')) STORED,
    our_amount_fen bigint NOT NULL,
    bank_amount_fen bigint NOT NULL,
    our_state text NOT NULL,
    bank_state text NOT NULL,
    owner text NOT NULL,
    open_time timestamptz NOT NULL,
    close_time timestamptz,
    outcome text CHECK (outcome IN ('RESOLVED', 'DECIDED')),
    note text NOT NULL DEFAULT '',
    -- The bank was asked once more because of it.
    chased boolean NOT NULL DEFAULT false,
    CHECK ((close_time IS NULL) = (outcome IS NULL))
);
CREATE UNIQUE INDEX bank_break_matched ON bank_break (bank, operation_id) WHERE matched AND close_time IS NULL;
CREATE UNIQUE INDEX bank_break_said ON bank_break (bank, operation_id, kind) WHERE NOT matched AND close_time IS NULL;
-- Closed ones too: what a person has decided is looked up for every difference of a file.
CREATE INDEX bank_break_operation ON bank_break (operation_id);
CREATE INDEX bank_break_bank ON bank_break (bank, break_id);
"""


def upgrade() -> None:
    """Create what is new."""
    op.execute(TABLES)
    for table in ("bank", "bank_day", "bank_flow", "bank_leg", "bank_file", "bank_break"):
        revoke(op, "DELETE, TRUNCATE", table, "account")
    revoke(op, "UPDATE, DELETE, TRUNCATE", "bank_file_line", "account")


def downgrade() -> None:
    """Remove it."""
    op.execute("DROP TABLE bank_break, bank_file_line, bank_file, bank_leg, bank_flow, bank_day, bank")
