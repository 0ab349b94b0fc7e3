"""The float by product and age, day by day; dormant cards by rule; the bank's statements and what differs from them.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

from libs.runtime.migrate import application_role, revoke

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# What was counted, told or decided stays as it was.
APPEND_ONLY = (
    "product",
    "float_close",
    "float_day",
    "float_line",
    "float_book",
    "dormancy_rule",
    "bank_statement",
    "bank_line",
    "bank_match",
)

CHANGES = """
CREATE TABLE product (
    product_id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE CHECK (name <> '')
);
-- Null for cards that were issued before anybody kept their product.
ALTER TABLE purse_opening ADD COLUMN product_id smallint REFERENCES product;

-- Whether a counter was there before say the items of what is missing: every counter up to the highest that stands in
-- none of them. An index by purse and counter cost a fifth of folding and told the same.
INSERT INTO purse_item (purse_id, kind, counter_from, counter_to, open_time)
SELECT purse_id, 1, before + 1, counter - 1, now()
FROM (SELECT movement.purse_id, counter, lag(counter, 1, -1) OVER (PARTITION BY movement.purse_id ORDER BY counter)
        AS before
    FROM movement JOIN purse USING (purse_id) WHERE counter_count < counter_max + 1
        AND NOT EXISTS (SELECT FROM purse_item WHERE purse_item.purse_id = movement.purse_id AND kind = 1)) AS seen
WHERE counter > before + 1;
CREATE INDEX purse_item_missing ON purse_item (purse_id) WHERE kind = 1 AND outcome IS DISTINCT FROM 'FILLED';
DROP INDEX movement_counter;
-- Which movements came behind a place of the book: batches come in the order of their numbers, so a few pages tell.
CREATE INDEX movement_batch ON movement USING brin (batch_number) WITH (pages_per_range = 16, autosummarize = on);

-- The last journal of a day. No later journal may bear an earlier time: closing moves the book's clock on.
CREATE TABLE float_close (
    day date PRIMARY KEY,
    place bigint NOT NULL CHECK (place >= 0),
    close_time timestamptz NOT NULL
);
CREATE TABLE float_day (
    day date PRIMARY KEY REFERENCES float_close,
    issued_fen bigint NOT NULL,
    used_fen bigint NOT NULL,
    refunded_fen bigint NOT NULL,
    take_time timestamptz NOT NULL,
    digest bytea NOT NULL CHECK (octet_length(digest) = 32)
);
CREATE TABLE float_line (
    day date NOT NULL REFERENCES float_day,
    product text COLLATE "C" NOT NULL,
    age_days_min integer NOT NULL,
    card_count bigint NOT NULL,
    issued_fen bigint NOT NULL,
    used_fen bigint NOT NULL,
    refunded_fen bigint NOT NULL,
    liability_fen bigint NOT NULL,
    dormant_count bigint NOT NULL,
    dormant_fen bigint NOT NULL,
    PRIMARY KEY (day, product, age_days_min)
);
CREATE TABLE float_book (
    day date NOT NULL REFERENCES float_day,
    chart_number text COLLATE "C" NOT NULL,
    balance_fen bigint NOT NULL,
    PRIMARY KEY (day, chart_number)
);

CREATE TABLE dormancy_rule (
    rule_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product text COLLATE "C" NOT NULL,
    silence_days integer NOT NULL CHECK (silence_days > 0),
    from_day date NOT NULL,
    set_by text NOT NULL,
    set_time timestamptz NOT NULL
);
-- The standard's: no transaction for 360 days.
INSERT INTO dormancy_rule (product, silence_days, from_day, set_by, set_time)
VALUES ('', 360, '0001-01-01', 'standard', '2000-01-01T00:00:00Z');
CREATE TABLE dormant_purse (
    sleep_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    purse_id integer NOT NULL REFERENCES purse,
    since date NOT NULL,
    seen_time timestamptz NOT NULL,
    balance_fen bigint NOT NULL,
    revive_time timestamptz
);
CREATE UNIQUE INDEX dormant_purse_asleep ON dormant_purse (purse_id) WHERE revive_time IS NULL;

CREATE TABLE bank_statement (
    statement_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id integer NOT NULL REFERENCES account,
    day date NOT NULL,
    opening_fen bigint NOT NULL,
    closing_fen bigint NOT NULL,
    record_time timestamptz NOT NULL,
    UNIQUE (account_id, day)
);
CREATE TABLE bank_line (
    line_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    statement_id integer NOT NULL REFERENCES bank_statement,
    line_number integer NOT NULL CHECK (line_number > 0),
    amount_fen bigint NOT NULL CHECK (amount_fen <> 0),
    reference text NOT NULL,
    words text NOT NULL,
    UNIQUE (statement_id, line_number)
);
-- A line of the bank and the entry of the book that it is; each at most once.
CREATE TABLE bank_match (
    line_id bigint PRIMARY KEY REFERENCES bank_line,
    sequence bigint NOT NULL,
    leg_number smallint NOT NULL,
    match_time timestamptz NOT NULL,
    UNIQUE (sequence, leg_number),
    FOREIGN KEY (sequence, leg_number) REFERENCES entry
);
-- 1 a line that is not in the book, 2 an entry that is not at the bank, 3 a first opening that is not the book's,
-- 4 an opening that is not the closing before.
CREATE TABLE bank_item (
    item_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id integer NOT NULL REFERENCES account,
    kind smallint NOT NULL CHECK (kind IN (1, 2, 3, 4)),
    day date NOT NULL,
    amount_fen bigint NOT NULL,
    statement_id integer REFERENCES bank_statement,
    line_id bigint REFERENCES bank_line,
    sequence bigint,
    leg_number smallint,
    open_time timestamptz NOT NULL,
    close_time timestamptz,
    outcome text CHECK (outcome IN ('MATCHED', 'DECIDED')),
    note text NOT NULL DEFAULT '',
    CHECK ((close_time IS NULL) = (outcome IS NULL)),
    CHECK ((kind = 1) = (line_id IS NOT NULL)),
    CHECK ((kind = 2) = (sequence IS NOT NULL AND leg_number IS NOT NULL)),
    CHECK ((kind IN (3, 4)) = (statement_id IS NOT NULL)),
    FOREIGN KEY (sequence, leg_number) REFERENCES entry
);
CREATE UNIQUE INDEX bank_item_line ON bank_item (line_id) WHERE line_id IS NOT NULL;
CREATE UNIQUE INDEX bank_item_entry ON bank_item (sequence, leg_number) WHERE sequence IS NOT NULL;
CREATE UNIQUE INDEX bank_item_statement ON bank_item (statement_id)
    WHERE statement_id IS NOT NULL AND close_time IS NULL;
CREATE INDEX bank_item_open ON bank_item (account_id, item_id) WHERE close_time IS NULL;
"""
# Of these only the end is ever written.
ENDED = (("dormant_purse", "revive_time"), ("bank_item", "amount_fen, close_time, outcome, note"))


def upgrade() -> None:
    """Add what is new; what is there stays as it is."""
    op.execute(CHANGES)
    for table in APPEND_ONLY:
        revoke(op, "UPDATE, DELETE, TRUNCATE", table, "account")
    role = application_role("account")
    for table, columns in ENDED:
        revoke(op, "UPDATE, DELETE, TRUNCATE", table, "account")
        op.execute(
            f"DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}' AND rolname <> current_user) THEN"
            f" GRANT UPDATE ({columns}) ON {table} TO {role}; END IF; END $$"
        )


def downgrade() -> None:
    """Remove it."""
    op.execute(
        "DROP TABLE bank_item, bank_match, bank_line, bank_statement, dormant_purse, dormancy_rule, float_book,"
        " float_line, float_day, float_close;"
        " DROP INDEX movement_batch, purse_item_missing;"
        " CREATE INDEX movement_counter ON movement (purse_id, counter);"
        " ALTER TABLE purse_opening DROP COLUMN product_id;"
        " DROP TABLE product"
    )
