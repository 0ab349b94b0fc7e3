"""Products, cards and their moves, stock levels, holders, loads.

Revision ID: 0001
"""

from alembic import op

from libs.runtime.migrate import create_runtime_tables, drop_runtime_tables, revoke

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Numbers compare byte by byte: pages and locks go in the same order on every machine, whatever its locale.
TABLES = """
CREATE TABLE product (
    name              text COLLATE "C" NOT NULL,
    version           integer NOT NULL CHECK (version > 0),
    display_name_zh   text NOT NULL,
    display_name_en   text NOT NULL,
    kind              text NOT NULL,
    card_main_type    smallint NOT NULL CHECK (card_main_type BETWEEN 1 AND 255),
    deposit_fen       bigint NOT NULL CHECK (deposit_fen >= 0),
    price_fen         bigint NOT NULL CHECK (price_fen >= 0),
    load_step_fen     bigint NOT NULL CHECK (load_step_fen > 0),
    balance_limit_fen bigint NOT NULL CHECK (balance_limit_fen > 0),
    validity_days     integer NOT NULL CHECK (validity_days > 0),
    create_time       timestamptz NOT NULL,
    PRIMARY KEY (name, version),
    CHECK (deposit_fen = 0 OR price_fen = 0)
);

CREATE TABLE card (
    number          text COLLATE "C" PRIMARY KEY,
    generation      integer NOT NULL DEFAULT 1 CHECK (generation > 0),
    state           text NOT NULL,
    product         text COLLATE "C" NOT NULL,
    product_version integer NOT NULL DEFAULT 0,
    issuer_id       text NOT NULL,
    key_version     smallint NOT NULL,
    algorithm_id    smallint NOT NULL,
    outlet          text COLLATE "C" NOT NULL,
    printed_number  text NOT NULL DEFAULT '',
    opening_fen     bigint NOT NULL DEFAULT 0 CHECK (opening_fen >= 0),
    deposit_fen     bigint NOT NULL DEFAULT 0 CHECK (deposit_fen >= 0),
    price_fen       bigint NOT NULL DEFAULT 0 CHECK (price_fen >= 0),
    registered      boolean NOT NULL DEFAULT false,
    start_date      date,
    expiry_date     date,
    create_time     timestamptz NOT NULL,
    state_time      timestamptz NOT NULL,
    issue_time      timestamptz
) WITH (fillfactor = 50); -- Every card is updated once, at its issue: beside its old row, no index need be touched.
CREATE INDEX card_outlet_product ON card (outlet, product, number);

-- Every move of every card, never changed: where the state comes from. No foreign key: each row is selected from its
-- card in the same transaction, and a check per row would double the time of a batch.
CREATE TABLE card_move (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number     text COLLATE "C" NOT NULL,
    generation integer NOT NULL,
    state_from text,
    state_to   text NOT NULL,
    verb       text NOT NULL,
    move_time  timestamptz NOT NULL
);
CREATE INDEX card_move_number ON card_move (number, id);

CREATE TABLE stock_level (
    outlet       text COLLATE "C" NOT NULL,
    product      text COLLATE "C" NOT NULL,
    stock_count  bigint NOT NULL CHECK (stock_count >= 0),
    issued_count bigint NOT NULL CHECK (issued_count >= 0),
    PRIMARY KEY (outlet, product)
);

-- Enciphered: a copy of this table names nobody.
CREATE TABLE holder (
    number     text COLLATE "C" NOT NULL REFERENCES card (number),
    generation integer NOT NULL,
    sealed     bytea NOT NULL,
    PRIMARY KEY (number, generation)
);

CREATE TABLE load (
    id               uuid PRIMARY KEY,
    card             text COLLATE "C" NOT NULL REFERENCES card (number),
    generation       integer NOT NULL,
    state            text NOT NULL,
    verdict          text,
    evidence         text,
    amount_fen       bigint NOT NULL CHECK (amount_fen > 0),
    outlet           text NOT NULL,
    terminal_number  text NOT NULL,
    tender           text NOT NULL,
    answer_a         bytea NOT NULL CHECK (octet_length(answer_a) = 16),
    online_counter   integer NOT NULL,
    card_balance_fen bigint NOT NULL,
    reservation      text NOT NULL DEFAULT '',
    mac2             bytea NOT NULL DEFAULT '',
    tac              bytea NOT NULL DEFAULT '',
    host_time        timestamptz,
    create_time      timestamptz NOT NULL,
    expire_time      timestamptz,
    resolve_time     timestamptz,
    CHECK ((verdict IS NULL) = (evidence IS NULL)),
    CHECK ((resolve_time IS NULL) = (state IN ('REQUESTED', 'AUTHORISED', 'UNCERTAIN'))),
    CHECK (octet_length(mac2) = CASE WHEN state IN ('REQUESTED', 'REFUSED') THEN 0 ELSE 4 END)
);
-- Two MAC2s for one sight of a card can never be out undecided.
CREATE UNIQUE INDEX load_undecided ON load (card)
    WHERE verdict IS NULL AND state IN ('REQUESTED', 'AUTHORISED', 'UNCERTAIN');
-- As small as what is open: what the sweep looks at.
CREATE INDEX load_open ON load (create_time)
    WHERE state IN ('REQUESTED', 'AUTHORISED', 'UNCERTAIN');
CREATE INDEX load_card ON load (card, create_time DESC, id DESC);
CREATE INDEX load_newest ON load (create_time DESC, id DESC);
"""


def upgrade() -> None:
    create_runtime_tables(op)
    op.execute(TABLES)
    # Added to, never changed.
    for table in ("card_move", "product"):
        revoke(op, "UPDATE, DELETE", table, "card")


def downgrade() -> None:
    op.execute("DROP TABLE load, holder, stock_level, card_move, card, product")
    drop_runtime_tables(op)
