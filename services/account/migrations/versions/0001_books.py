"""The books: accounts, the journal with its chain, reservations, purses with their openings and movements.

Revision ID: 0001
Revises:
"""

from alembic import op

from libs.runtime.migrate import application_role, create_runtime_tables, drop_runtime_tables, revoke

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# What is written once and for ever: the application role may insert and read, nothing else.
APPEND_ONLY = ("journal", "entry", "movement", "purse_opening", "batch_fold", "reservation_leg")
MOVEMENT_PARTITIONS = 8

TABLES = """
-- Balances are sums that only grow; the pending ones alone may shrink. Free room in each page keeps the many updates
-- of a hot account on its page, without touching an index.
CREATE TABLE account (
    account_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    chart_number text COLLATE "C" NOT NULL,
    owner text COLLATE "C" NOT NULL,
    create_time timestamptz NOT NULL,
    balance_limit_fen bigint NOT NULL DEFAULT 0 CHECK (balance_limit_fen >= 0),
    debits_fen bigint NOT NULL DEFAULT 0 CHECK (debits_fen >= 0),
    credits_fen bigint NOT NULL DEFAULT 0 CHECK (credits_fen >= 0),
    pending_debits_fen bigint NOT NULL DEFAULT 0 CHECK (pending_debits_fen >= 0),
    pending_credits_fen bigint NOT NULL DEFAULT 0 CHECK (pending_credits_fen >= 0)
) WITH (fillfactor = 50);

CREATE TABLE purse (
    purse_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    generation integer NOT NULL CHECK (generation > 0),
    scheme smallint NOT NULL CHECK (scheme IN (0, 1)),
    card_number bytea NOT NULL CHECK (octet_length(card_number) = 10),
    opening_fen bigint NOT NULL DEFAULT 0 CHECK (opening_fen >= 0),
    loads_fen bigint NOT NULL DEFAULT 0 CHECK (loads_fen >= 0),
    debits_fen bigint NOT NULL DEFAULT 0 CHECK (debits_fen >= 0),
    corrections_debit_fen bigint NOT NULL DEFAULT 0 CHECK (corrections_debit_fen >= 0),
    corrections_credit_fen bigint NOT NULL DEFAULT 0 CHECK (corrections_credit_fen >= 0),
    pending_loads_fen bigint NOT NULL DEFAULT 0 CHECK (pending_loads_fen >= 0),
    pending_debits_fen bigint NOT NULL DEFAULT 0 CHECK (pending_debits_fen >= 0),
    counter_count bigint NOT NULL DEFAULT 0,
    printed_balance_fen bigint NOT NULL DEFAULT 0,
    last_time timestamptz,
    counter_max integer NOT NULL DEFAULT -1,
    CONSTRAINT purse_key UNIQUE (scheme, card_number, generation)
) WITH (fillfactor = 70);

-- The head of the book: one row, locked from the moment a journal gets its place until it is committed. That is what
-- makes the sequence gapless and pages of entries complete.
CREATE TABLE book (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    sequence bigint NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32)
) WITH (fillfactor = 10);
INSERT INTO book (sequence, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

CREATE TABLE journal (
    sequence bigint PRIMARY KEY CHECK (sequence > 0),
    event_time timestamptz NOT NULL,
    post_time timestamptz NOT NULL,
    journal_id uuid NOT NULL UNIQUE,
    event text NOT NULL,
    reference text NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32)
);
CREATE INDEX journal_reference ON journal (reference);
-- A window pays its fee once, whatever is redelivered under whatever event id.
CREATE UNIQUE INDEX journal_window_fee ON journal (reference) WHERE event = 'window_fee';

CREATE TABLE entry (
    sequence bigint NOT NULL REFERENCES journal,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    account_id integer NOT NULL REFERENCES account,
    purse_id integer REFERENCES purse,
    leg_number smallint NOT NULL CHECK (leg_number > 0),
    side smallint NOT NULL CHECK (side IN (1, 2)),
    PRIMARY KEY (sequence, leg_number)
);
CREATE INDEX entry_account ON entry (account_id, sequence, leg_number);
CREATE INDEX entry_purse ON entry (purse_id, sequence) WHERE purse_id IS NOT NULL;

CREATE TABLE reservation (
    reservation_id uuid PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('PENDING', 'COMMITTED', 'VOIDED', 'EXPIRED')),
    event text NOT NULL,
    reference text NOT NULL,
    event_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL,
    expire_time timestamptz,
    resolve_time timestamptz,
    journal_id uuid UNIQUE,
    CHECK ((state = 'COMMITTED') = (journal_id IS NOT NULL)),
    CHECK ((state = 'PENDING') = (resolve_time IS NULL))
) WITH (fillfactor = 80);
-- Both stay as small as what is pending.
CREATE INDEX reservation_due ON reservation (expire_time) WHERE state = 'PENDING' AND expire_time IS NOT NULL;
CREATE INDEX reservation_pending ON reservation (reservation_id) WHERE state = 'PENDING';

CREATE TABLE reservation_leg (
    reservation_id uuid NOT NULL REFERENCES reservation,
    amount_fen bigint NOT NULL CHECK (amount_fen > 0),
    account_id integer NOT NULL REFERENCES account,
    purse_id integer REFERENCES purse,
    leg_number smallint NOT NULL CHECK (leg_number > 0),
    side smallint NOT NULL CHECK (side IN (1, 2)),
    PRIMARY KEY (reservation_id, leg_number)
);

CREATE TABLE batch_fold (
    batch_number integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    movement_count integer NOT NULL CHECK (movement_count >= 0),
    movement_total_fen bigint NOT NULL CHECK (movement_total_fen >= 0),
    post_time timestamptz NOT NULL,
    fold_time timestamptz NOT NULL,
    batch_id uuid NOT NULL UNIQUE,
    journal_id uuid UNIQUE
);

-- The detail of the float entries of cards_issued journals. A purse is opened once.
CREATE TABLE purse_opening (
    purse_id integer PRIMARY KEY REFERENCES purse,
    opening_fen bigint NOT NULL CHECK (opening_fen >= 0),
    deposit_fen bigint NOT NULL CHECK (deposit_fen >= 0),
    event_time timestamptz NOT NULL,
    journal_id uuid
);
CREATE INDEX purse_opening_journal ON purse_opening (journal_id);

-- The detail of the float entries of records_posted journals. No foreign keys: both ids are read under lock in the
-- transaction that writes the row, nothing is ever deleted, and a trigger per movement would double the cost.
CREATE TABLE movement (
    amount_fen bigint NOT NULL,
    balance_before_fen bigint NOT NULL,
    event_time timestamptz NOT NULL,
    purse_id integer NOT NULL,
    counter integer NOT NULL,
    batch_number integer NOT NULL
) PARTITION BY HASH (purse_id);
-- Not unique: a counter that comes twice is a fact to keep (a clone), not a row to refuse.
CREATE INDEX movement_counter ON movement (purse_id, counter);
"""


def upgrade() -> None:
    """Create everything."""
    create_runtime_tables(op)
    op.execute(TABLES)
    names = [f"movement_{number}" for number in range(MOVEMENT_PARTITIONS)]
    for number, name in enumerate(names):
        op.execute(
            f"CREATE TABLE {name} PARTITION OF movement "
            f"FOR VALUES WITH (MODULUS {MOVEMENT_PARTITIONS}, REMAINDER {number})"
        )
    # What the ledger never does, its own role may not do. A deployment of one role has nobody to narrow.
    for table in (*APPEND_ONLY, *names):
        revoke(op, "UPDATE, DELETE, TRUNCATE", table, "account")
    for table in ("account", "purse", "reservation"):
        revoke(op, "DELETE, TRUNCATE", table, "account")
    revoke(op, "INSERT, DELETE, TRUNCATE", "book", "account")
    # Of a reservation only its end is ever written; the rest is what was asked for.
    revoke(op, "UPDATE", "reservation", "account")
    role = application_role("account")
    op.execute(
        f"DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}' AND rolname <> current_user) THEN"
        f" GRANT UPDATE (state, resolve_time, journal_id) ON reservation TO {role}; END IF; END $$"
    )


def downgrade() -> None:
    """Remove everything."""
    op.execute(
        "DROP TABLE movement, purse_opening, batch_fold, reservation_leg, reservation, entry, journal, book, purse, "
        "account"
    )
    drop_runtime_tables(op)
