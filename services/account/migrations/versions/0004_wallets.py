"""Wallets: who holds them, their lots, their rules in versions, their debits, and top-ups by mandate.

Revision ID: 0004
Revises: 0002
"""

from alembic import op

from libs.runtime.migrate import application_role, revoke

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = """
-- What being a wallet forbids to other postings: 0 nothing, 1 debits, 2 everything.
ALTER TABLE account ADD COLUMN wallet smallint NOT NULL DEFAULT 0 CHECK (wallet IN (0, 1, 2));

CREATE TABLE wallet (
    wallet_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id integer NOT NULL UNIQUE REFERENCES account,
    create_time timestamptz NOT NULL,
    kind text COLLATE "C" NOT NULL,
    holder text COLLATE "C" NOT NULL,
    state text NOT NULL CHECK (state IN ('OPEN', 'FROZEN', 'CLOSED')),
    CONSTRAINT wallet_key UNIQUE (holder, kind)
);
CREATE INDEX wallet_kind ON wallet (kind, holder);

-- The parts of wallets that count them; all under the lock of the wallet's account.
CREATE TABLE wallet_lot (
    lot_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    taken_fen bigint NOT NULL DEFAULT 0 CHECK (taken_fen >= 0),
    held_fen bigint NOT NULL DEFAULT 0 CHECK (held_fen >= 0),
    expired_fen bigint NOT NULL DEFAULT 0 CHECK (expired_fen >= 0),
    create_time timestamptz NOT NULL,
    valid_from timestamptz,
    valid_until timestamptz,
    wallet_id integer NOT NULL REFERENCES wallet,
    source_id integer NOT NULL REFERENCES account,
    purposes text[] NOT NULL,
    reference text NOT NULL,
    CHECK (taken_fen + held_fen + expired_fen <= amount_fen)
);
CREATE INDEX wallet_lot_wallet ON wallet_lot (wallet_id, lot_id);
-- Both stay as small as what is alive.
CREATE INDEX wallet_lot_alive ON wallet_lot (wallet_id) WHERE amount_fen > taken_fen + expired_fen;
CREATE INDEX wallet_lot_due ON wallet_lot (valid_until)
    WHERE valid_until IS NOT NULL AND amount_fen > taken_fen + held_fen + expired_fen;

-- Grants (1), roles of participants (2), members (3), mandates (4): versions that are added, never changed.
CREATE TABLE wallet_rule (
    rule_kind smallint NOT NULL CHECK (rule_kind BETWEEN 1 AND 4),
    number integer NOT NULL CHECK (number > 0),
    effective_time timestamptz NOT NULL,
    until_time timestamptz,
    record_time timestamptz NOT NULL,
    ended boolean NOT NULL,
    name text COLLATE "C" NOT NULL,
    scope text COLLATE "C" NOT NULL,
    set_by text NOT NULL,
    body jsonb NOT NULL,
    PRIMARY KEY (rule_kind, name, number)
);
CREATE INDEX wallet_rule_scope ON wallet_rule (rule_kind, scope, name, number);

CREATE TABLE wallet_debit (
    debit_id uuid PRIMARY KEY,
    journal_id uuid UNIQUE,
    total_fen bigint NOT NULL CHECK (total_fen > 0),
    own_pay_fen bigint NOT NULL CHECK (own_pay_fen >= 0),
    create_time timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('HELD', 'POSTED', 'GIVEN_UP')),
    participant text NOT NULL,
    purpose text NOT NULL,
    member text NOT NULL,
    reference text NOT NULL,
    CHECK ((state = 'POSTED') = (journal_id IS NOT NULL))
);

CREATE TABLE wallet_tender (
    debit_id uuid NOT NULL REFERENCES wallet_debit,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    released_fen bigint NOT NULL DEFAULT 0 CHECK (released_fen >= 0),
    reversed_fen bigint NOT NULL DEFAULT 0 CHECK (reversed_fen >= 0),
    wallet_id integer NOT NULL REFERENCES wallet,
    account_id integer NOT NULL REFERENCES account,
    payee_id integer NOT NULL REFERENCES account,
    grant_version integer NOT NULL,
    day date NOT NULL,
    number smallint NOT NULL CHECK (number > 0),
    grant_name text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    member text COLLATE "C" NOT NULL,
    PRIMARY KEY (debit_id, number),
    CHECK (released_fen + reversed_fen <= amount_fen)
);
-- Limits are sums over these: what counts is what is neither released nor reversed.
CREATE INDEX wallet_tender_grant ON wallet_tender (grant_name, subject, day) WHERE grant_name <> '';
CREATE INDEX wallet_tender_member ON wallet_tender (wallet_id, member, day) WHERE member <> '';

CREATE TABLE wallet_tender_lot (
    debit_id uuid NOT NULL,
    lot_id bigint NOT NULL REFERENCES wallet_lot,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    released_fen bigint NOT NULL DEFAULT 0 CHECK (released_fen >= 0),
    reversed_fen bigint NOT NULL DEFAULT 0 CHECK (reversed_fen >= 0),
    number smallint NOT NULL,
    place smallint NOT NULL CHECK (place > 0),
    PRIMARY KEY (debit_id, number, place),
    FOREIGN KEY (debit_id, number) REFERENCES wallet_tender,
    CHECK (released_fen + reversed_fen <= amount_fen)
);
CREATE INDEX wallet_tender_lot_lot ON wallet_tender_lot (lot_id);

CREATE TABLE top_up (
    top_up_id uuid PRIMARY KEY,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    create_time timestamptz NOT NULL,
    resolve_time timestamptz,
    day date NOT NULL,
    mandate text COLLATE "C" NOT NULL,
    wallet text NOT NULL,
    source text NOT NULL,
    state text NOT NULL CHECK (state IN ('ASKED', 'SUCCEEDED', 'FAILED')),
    note text NOT NULL,
    CHECK ((state = 'ASKED') = (resolve_time IS NULL))
);
CREATE INDEX top_up_mandate ON top_up (mandate, create_time);
"""

# Of what was decided only the rest is ever written: the columns that may be updated, by table.
OPEN_COLUMNS = {
    "wallet": "state",
    "wallet_lot": "taken_fen, held_fen, expired_fen",
    "wallet_debit": "state, journal_id",
    "wallet_tender": "released_fen, reversed_fen",
    "wallet_tender_lot": "released_fen, reversed_fen",
    "top_up": "state, note, resolve_time",
}


def upgrade() -> None:
    """Create everything."""
    op.execute(TABLES)
    revoke(op, "UPDATE, DELETE, TRUNCATE", "wallet_rule", "account")
    role = application_role("account")
    for table, columns in OPEN_COLUMNS.items():
        revoke(op, "UPDATE, DELETE, TRUNCATE", table, "account")
        op.execute(
            f"DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}' AND rolname <> current_user) THEN"
            f" GRANT UPDATE ({columns}) ON {table} TO {role}; END IF; END $$"
        )


def downgrade() -> None:
    """Remove everything."""
    op.execute(
        "DROP TABLE top_up, wallet_tender_lot, wallet_tender, wallet_debit, wallet_rule, wallet_lot, wallet;"
        " ALTER TABLE account DROP COLUMN wallet"
    )
