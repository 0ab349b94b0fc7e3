"""Suspense items with their history, corrections, liability rules, adjustments and postings of the book."""

from alembic import op
from sqlalchemy import text

from libs.runtime.migrate import revoke

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE suspense_item (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest          bytea NOT NULL UNIQUE,
    participant     integer NOT NULL,
    payee           integer NOT NULL,
    settlement_date date,
    code            smallint NOT NULL,
    debited         boolean NOT NULL,
    amount_fen      bigint NOT NULL CHECK (amount_fen >= 0),
    issuer          text NOT NULL,
    jt              boolean NOT NULL,
    card_number     bytea NOT NULL,
    terminal_number bigint NOT NULL,
    terminal_seq    bigint NOT NULL,
    file_id         bigint NOT NULL,
    file_index      integer NOT NULL,
    opened_at       timestamptz NOT NULL,
    state           smallint NOT NULL DEFAULT 1,
    decision        smallint NOT NULL DEFAULT 0,
    pay_fen         bigint NOT NULL DEFAULT 0,
    return_fen      bigint NOT NULL DEFAULT 0,
    write_off_fen   bigint NOT NULL DEFAULT 0,
    reason          text NOT NULL DEFAULT '',
    decided_by      text NOT NULL DEFAULT '',
    decided_at      timestamptz,
    approved_by     text NOT NULL DEFAULT '',
    posted_at       timestamptz,
    posted_on       date,
    final_code      smallint,
    result_number   bigint,
    CHECK (state < 4 OR (posted_at IS NOT NULL AND final_code IS NOT NULL))
);
CREATE INDEX suspense_item_open ON suspense_item (participant, opened_at) WHERE state < 4;
CREATE INDEX suspense_item_untold ON suspense_item (participant, file_id) WHERE state = 4 AND result_number IS NULL;

CREATE TABLE suspense_event (
    item_id bigint NOT NULL REFERENCES suspense_item,
    id      bigint GENERATED ALWAYS AS IDENTITY,
    at      timestamptz NOT NULL,
    person  text NOT NULL,
    action  text NOT NULL,
    note    text NOT NULL,
    PRIMARY KEY (item_id, id)
);

-- Beside the record, which is kept as it came.
CREATE TABLE record_correction (
    item_id    bigint NOT NULL REFERENCES suspense_item,
    id         bigint GENERATED ALWAYS AS IDENTITY,
    digest     bytea NOT NULL,
    payee      integer NOT NULL,
    amount_fen bigint NOT NULL,
    reason     text NOT NULL,
    made_by    text NOT NULL,
    made_at    timestamptz NOT NULL,
    PRIMARY KEY (item_id, id)
);

CREATE TABLE liability_rule (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code      smallint NOT NULL,
    condition smallint NOT NULL,
    decision  smallint NOT NULL,
    text_zh   text NOT NULL,
    text_en   text NOT NULL
);
CREATE INDEX liability_rule_of ON liability_rule (code, condition, id);

-- What the card ledger did not cover of a late record (code 26).
CREATE TABLE late_rest (
    terminal_number bigint NOT NULL,
    terminal_seq    bigint NOT NULL,
    file_id         bigint NOT NULL,
    file_index      integer NOT NULL,
    rest_fen        bigint NOT NULL CHECK (rest_fen > 0),
    PRIMARY KEY (terminal_number, terminal_seq)
);
CREATE INDEX late_rest_file ON late_rest (file_id);

CREATE TABLE book_posting (
    id        uuid PRIMARY KEY,
    event     text NOT NULL,
    reference text NOT NULL,
    posted_at timestamptz NOT NULL,
    UNIQUE (event, reference)
);
CREATE TABLE book_posting_line (
    posting_id     uuid NOT NULL REFERENCES book_posting,
    place          smallint NOT NULL,
    debit_account  text NOT NULL,
    credit_account text NOT NULL,
    amount_fen     bigint NOT NULL CHECK (amount_fen > 0),
    record_count   bigint NOT NULL,
    PRIMARY KEY (posting_id, place)
);
CREATE TABLE adjustment (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    participant     integer NOT NULL,
    settlement_date date NOT NULL,
    kind            text NOT NULL,
    amount_fen      bigint NOT NULL CHECK (amount_fen <> 0),
    reference       text NOT NULL,
    original_date   date,
    issuer          text NOT NULL,
    posting_id      uuid NOT NULL REFERENCES book_posting
);
CREATE INDEX adjustment_window ON adjustment (participant, settlement_date);

CREATE TABLE further_result (
    participant  integer NOT NULL,
    number       bigint NOT NULL,
    file_id      bigint NOT NULL,
    record_count bigint NOT NULL,
    settled_fen  bigint NOT NULL,
    made_at      timestamptz NOT NULL,
    rs_file      bytea NOT NULL,
    sha256       bytea NOT NULL,
    PRIMARY KEY (participant, number)
)
"""

# clearing-and-ledger.md, section 7: code, condition, decision, words.
_RULES = (
    (2, 0, 5, "两条记录都须核查，先入账者不变", "Both records are shown to an officer; the first stays posted."),
    (
        20,
        1,
        4,
        "终端已有含该卡的黑名单版本，收单方承担",
        "The terminal had the list: the acquirer bears.",
    ),
    (
        20,
        2,
        4,
        "中心已按时发布而终端未更新，收单方承担",
        "Published in time, not fetched: the acquirer bears.",
    ),
    (20, 3, 1, "中心发布迟延，发卡方承担", "The centre published late: the issuer bears, the acquirer is paid."),
)


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        op.execute(statement)
    for code, condition, decision, zh, en in _RULES:
        insert = text(
            "INSERT INTO liability_rule (code, condition, decision, text_zh, text_en) "
            "VALUES (:code, :on, :do, "
            ":zh, :en)"
        )
        op.execute(insert.bindparams(code=code, on=condition, do=decision, zh=zh, en=en))
    # What a card was issued with: the beginning of its ledger. Cards heard of before this have none.
    op.execute("ALTER TABLE card ADD COLUMN opening_fen bigint")
    op.execute("INSERT INTO counter (name, next) VALUES ('further_result', 1)")
    # What was taken and not paid before there were items, and what waits.
    op.execute(
        "INSERT INTO suspense_item (digest, participant, payee, settlement_date, code, debited, amount_fen, "
        "issuer, jt, "
        "card_number, terminal_number, terminal_seq, file_id, file_index, opened_at) SELECT r.digest, r.participant, "
        "r.participant, r.settlement_date, r.code, true, r.amount_fen, c.issuer_id, c.jt, c.number, r.terminal_number, "
        "r.terminal_seq, r.file_id, r.file_index, coalesce(f.judged_at, f.stored_at) FROM record r JOIN card "
        "c ON c.id = r.card_id "
        "JOIN file f ON f.id = r.file_id WHERE r.code IN (20, 21, 22, 23, 27, 28, 32) AND r.amount_fen > 0"
    )
    op.execute(
        "INSERT INTO suspense_item (digest, participant, payee, code, debited, amount_fen, issuer, jt, card_number, "
        "terminal_number, terminal_seq, file_id, file_index, opened_at) SELECT w.digest, w.participant, w.participant, "
        "w.code, false, a.amount_fen, upper(encode(substring(w.content FROM 7 FOR 8), 'hex')), "
        "get_byte(w.content, 2) = 7, w.card_number, w.terminal_number, w.terminal_seq, w.file_id, w.file_index, "
        "w.opened_at FROM waiting_record w CROSS JOIN LATERAL (SELECT get_byte(w.content, 71)::bigint * 16777216 "
        "+ get_byte(w.content, 72) * 65536 + get_byte(w.content, 73) * 256 + get_byte(w.content, 74) AS amount_fen) a "
        "WHERE w.closed_at IS NULL AND w.code IN (2, 11, 13, 31, 50) AND a.amount_fen > 0 ON CONFLICT DO NOTHING"
    )
    for table in ("suspense_event", "record_correction", "liability_rule", "late_rest", "book_posting",
                  "book_posting_line", "adjustment", "further_result"):  # fmt: skip
        revoke(op, "UPDATE, DELETE", table, "clearing")


def downgrade() -> None:
    op.execute("DELETE FROM counter WHERE name = 'further_result'")
    op.execute("ALTER TABLE card DROP COLUMN opening_fen")
    for table in ("further_result", "adjustment", "book_posting_line", "book_posting", "late_rest", "liability_rule",
                  "record_correction", "suspense_event", "suspense_item"):  # fmt: skip
        op.execute(f"DROP TABLE {table}")
