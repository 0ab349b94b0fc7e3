"""Payment accounts, instructions, bank returns, caps, alarms, period lock, disputes, adjustments by two persons."""

from alembic import op

from libs.runtime.migrate import revoke

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE payment_account (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    participant integer NOT NULL,
    bank        integer NOT NULL,
    account     text NOT NULL,
    holder      text NOT NULL
);
CREATE TABLE instruction (
    key             text PRIMARY KEY,
    participant     integer NOT NULL,
    settlement_date date NOT NULL,
    part            text NOT NULL,
    amount_fen      bigint NOT NULL CHECK (amount_fen <> 0),
    payout_date     date NOT NULL,
    account_id      bigint NOT NULL REFERENCES payment_account,
    state           smallint NOT NULL,
    paid_fen        bigint NOT NULL DEFAULT 0,
    bank_note       text NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL
);
CREATE INDEX instruction_day ON instruction (settlement_date);
CREATE INDEX instruction_unsent ON instruction (account_id) WHERE state IN (1, 5);
CREATE TABLE bank_file (
    bank     integer NOT NULL,
    sha256   bytea NOT NULL,
    content  bytea NOT NULL,
    taken_at timestamptz NOT NULL,
    taken    integer NOT NULL,
    known    integer NOT NULL,
    unknown  integer NOT NULL,
    PRIMARY KEY (bank, sha256)
);
-- Every row that a bank ever sent; known is false for what nobody instructed.
CREATE TABLE bank_return (
    bank           integer NOT NULL,
    bank_reference text NOT NULL,
    key            text NOT NULL,
    amount_fen     bigint NOT NULL,
    paid           boolean NOT NULL,
    booked_on      date NOT NULL,
    note           text NOT NULL,
    known          boolean NOT NULL,
    sha256         bytea NOT NULL,
    PRIMARY KEY (bank, bank_reference)
);
CREATE INDEX bank_return_unknown ON bank_return (booked_on) WHERE NOT known;
CREATE TABLE net_debit_cap (participant integer PRIMARY KEY, cap_fen bigint NOT NULL);
CREATE TABLE alarm (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        text NOT NULL,
    participant integer NOT NULL,
    limit_fen   bigint NOT NULL,
    found_fen   bigint NOT NULL,
    raised_at   timestamptz NOT NULL,
    ended_at    timestamptz
);
CREATE UNIQUE INDEX alarm_open ON alarm (kind, participant) WHERE ended_at IS NULL;
CREATE TABLE period_lock (until date PRIMARY KEY, locked_by text NOT NULL, locked_at timestamptz NOT NULL);
CREATE TABLE adjustment_request (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    participant   integer NOT NULL,
    amount_fen    bigint NOT NULL CHECK (amount_fen <> 0),
    contra        smallint NOT NULL,
    kind          text NOT NULL,
    original_date date,
    reason        text NOT NULL,
    state         smallint NOT NULL DEFAULT 1,
    made_by       text NOT NULL,
    made_at       timestamptz NOT NULL,
    decided_by    text NOT NULL DEFAULT '',
    decided_at    timestamptz,
    posted_on     date
);
CREATE TABLE dispute (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    participant     integer NOT NULL,
    dispute_number  numeric(20) NOT NULL,
    terminal_number bigint NOT NULL,
    terminal_seq    bigint NOT NULL,
    reason          smallint NOT NULL,
    request         smallint NOT NULL,
    claimed_fen     bigint NOT NULL,
    settlement_date date,
    state           smallint NOT NULL DEFAULT 1,
    filed_at        timestamptz NOT NULL,
    answer_date     date NOT NULL,
    answer          text NOT NULL DEFAULT '',
    adjustment_id   bigint REFERENCES adjustment_request,
    UNIQUE (participant, dispute_number)
)
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        op.execute(statement)
    # The body of a statement is JSON (a list of one): its fee, without reading it in Python.
    op.execute(
        "CREATE VIEW statement_fee AS SELECT participant, settlement_date, "
        "(convert_from(body, 'UTF8')::jsonb -> 0 -> 'totals' ->> 'fee_fen')::bigint AS fee_fen FROM statement"
    )
    for table in ("payment_account", "bank_file", "bank_return", "period_lock"):
        revoke(op, "UPDATE, DELETE", table, "clearing")


def downgrade() -> None:
    op.execute("DROP VIEW statement_fee")
    for table in ("dispute", "adjustment_request", "period_lock", "alarm", "net_debit_cap", "bank_return", "bank_file",
                  "instruction", "payment_account"):  # fmt: skip
        op.execute(f"DROP TABLE {table}")
