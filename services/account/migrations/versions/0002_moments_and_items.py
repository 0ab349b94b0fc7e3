"""Balances of any moment, floors, parts of reservations, sealed details, and what does not add up on a card.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

from libs.runtime.migrate import application_role, revoke

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CHANGES = """
-- None: no floor.
ALTER TABLE account ADD COLUMN overdraft_fen bigint CHECK (overdraft_fen >= 0);

-- Sums of the account after the journal: a balance of the past is one look into an index instead of a sum over
-- history. Null on what an earlier version posts while this one is rolled out; readers add those up.
ALTER TABLE entry ADD COLUMN debits_after_fen bigint, ADD COLUMN credits_after_fen bigint;

ALTER TABLE journal
    ADD COLUMN participant text NOT NULL DEFAULT '',
    ADD COLUMN purpose text NOT NULL DEFAULT '',
    ADD COLUMN member text NOT NULL DEFAULT '',
    ADD COLUMN detail_hash bytea CHECK (octet_length(detail_hash) = 32);
-- A journal is reversed once.
CREATE UNIQUE INDEX journal_reversal ON journal (reference) WHERE event = 'reversal';

-- Posting times never go back along the book, so that a moment is found by halving.
ALTER TABLE book ADD COLUMN post_time timestamptz;

ALTER TABLE reservation
    ADD COLUMN participant text NOT NULL DEFAULT '',
    ADD COLUMN purpose text NOT NULL DEFAULT '',
    ADD COLUMN member text NOT NULL DEFAULT '',
    ADD COLUMN partial boolean NOT NULL DEFAULT false;

-- Debits under a counter that was seen before: taken from the book, never from the card twice.
ALTER TABLE purse
    ADD COLUMN repeats_fen bigint NOT NULL DEFAULT 0 CHECK (repeats_fen >= 0),
    ADD COLUMN last_load_time timestamptz;
UPDATE purse SET last_load_time = loaded.newest
FROM (SELECT purse_id, max(event_time) AS newest FROM entry JOIN journal USING (sequence)
    WHERE side = 2 AND event IN ('load', 'supplementary_load') AND purse_id IS NOT NULL GROUP BY purse_id) AS loaded
WHERE purse.purse_id = loaded.purse_id;

-- The digest of the batch's movements, sealed by the chain when money moved.
ALTER TABLE batch_fold ADD COLUMN detail_hash bytea CHECK (octet_length(detail_hash) = 32);

-- What does not add up on a card: 1 counters missing, 2 a counter that came again, 3 a balance that is not explained.
CREATE TABLE purse_item (
    item_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    amount_fen bigint NOT NULL DEFAULT 0,
    open_time timestamptz NOT NULL,
    close_time timestamptz,
    purse_id integer NOT NULL REFERENCES purse,
    counter_from integer NOT NULL,
    counter_to integer NOT NULL,
    batch_number integer,
    kind smallint NOT NULL CHECK (kind IN (1, 2, 3)),
    outcome text CHECK (outcome IN ('FILLED', 'EXPLAINED', 'DECIDED')),
    note text NOT NULL DEFAULT '',
    CHECK ((close_time IS NULL) = (outcome IS NULL)),
    CHECK (counter_from <= counter_to)
);
CREATE INDEX purse_item_open ON purse_item (purse_id, kind) WHERE close_time IS NULL;
CREATE UNIQUE INDEX purse_item_balance ON purse_item (purse_id) WHERE close_time IS NULL AND kind = 3;
"""


def upgrade() -> None:
    """Add what is new; what is there stays as it is."""
    op.execute(CHANGES)
    revoke(op, "DELETE, TRUNCATE", "purse_item", "account")
    role = application_role("account")
    op.execute(
        f"DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}' AND rolname <> current_user) THEN"
        f" GRANT UPDATE (partial) ON reservation TO {role}; END IF; END $$"
    )


def downgrade() -> None:
    """Remove it."""
    op.execute(
        "DROP TABLE purse_item;"
        " ALTER TABLE batch_fold DROP COLUMN detail_hash;"
        " ALTER TABLE purse DROP COLUMN repeats_fen, DROP COLUMN last_load_time;"
        " ALTER TABLE reservation DROP COLUMN participant, DROP COLUMN purpose, DROP COLUMN member,"
        " DROP COLUMN partial;"
        " ALTER TABLE book DROP COLUMN post_time;"
        " DROP INDEX journal_reversal;"
        " ALTER TABLE journal DROP COLUMN participant, DROP COLUMN purpose, DROP COLUMN member,"
        " DROP COLUMN detail_hash;"
        " ALTER TABLE entry DROP COLUMN debits_after_fen, DROP COLUMN credits_after_fen;"
        " ALTER TABLE account DROP COLUMN overdraft_fen"
    )
