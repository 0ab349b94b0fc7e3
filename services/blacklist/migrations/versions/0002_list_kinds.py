"""Five kinds of lists, their published files, their way to the terminals, and what was met."""

from alembic import op

from libs.runtime.migrate import revoke

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MADE = (
    "hit_count",
    "delay_bucket",
    "terminal_list",
    "version_hop",
    "list_ranking",
    "artefact",
    "publication",
    "kind_row",
    "kind_change",
    "kind_version",
    "kind_head",
)


def upgrade() -> None:
    op.execute("ALTER TABLE list_change ADD COLUMN until_time timestamptz")
    op.execute("ALTER TABLE entry ADD COLUMN until_time timestamptz")
    op.execute("CREATE INDEX entry_until ON entry (until_time) WHERE listed AND until_time IS NOT NULL")
    _kinds()
    _files()
    _journeys()


def _kinds() -> None:
    # Ranges, staff and issuers: each a chain of its own, with one version for each request and not for each row.
    op.execute("""
        CREATE TABLE kind_head (
            list smallint PRIMARY KEY CHECK (list IN (2, 3, 4)),
            version bigint NOT NULL CHECK (version >= 0),
            row_count bigint NOT NULL CHECK (row_count >= 0),
            chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
            create_time timestamptz
        )""")
    op.execute("""
        INSERT INTO kind_head (list, version, row_count, chain_hash)
        SELECT list, 0, 0, decode(repeat('00', 32), 'hex') FROM unnest(ARRAY[2, 3, 4]) AS list""")
    op.execute("""
        CREATE TABLE kind_version (
            list smallint NOT NULL,
            version bigint NOT NULL CHECK (version > 0),
            row_count bigint NOT NULL,
            change_count integer NOT NULL CHECK (change_count > 0),
            create_time timestamptz NOT NULL,
            chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
            PRIMARY KEY (list, version)
        )""")
    columns = """
            list smallint NOT NULL,
            key bytea NOT NULL,
            mode smallint NOT NULL,
            reason smallint NOT NULL,
            effective_time timestamptz NOT NULL,
            until_time timestamptz"""
    op.execute(f"""
        CREATE TABLE kind_change ({columns},
            version bigint NOT NULL,
            place integer NOT NULL,
            put boolean NOT NULL,
            PRIMARY KEY (list, version, place)
        )""")
    op.execute("CREATE INDEX kind_change_key ON kind_change (list, key, version)")
    op.execute(f"""
        CREATE TABLE kind_row ({columns},
            put_version bigint NOT NULL,
            PRIMARY KEY (list, key)
        )""")
    op.execute("CREATE INDEX kind_row_until ON kind_row (until_time) WHERE until_time IS NOT NULL")
    for table in ("kind_version", "kind_change"):
        revoke(op, "UPDATE, DELETE", table, "blacklist")
    revoke(op, "INSERT, DELETE", "kind_head", "blacklist")


def _files() -> None:
    # Which versions have files; for ever, for a terminal may come back after years.
    op.execute("""
        CREATE TABLE publication (
            list smallint NOT NULL CHECK (list BETWEEN 1 AND 4),
            version bigint NOT NULL CHECK (version > 0),
            chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
            row_count bigint NOT NULL,
            settled_until_s bigint NOT NULL,
            publish_time timestamptz NOT NULL,
            header bytea NOT NULL,
            PRIMARY KEY (list, version)
        )""")
    op.execute("""
        CREATE TABLE artefact (
            list smallint NOT NULL,
            version bigint NOT NULL,
            base_version bigint NOT NULL CHECK (base_version >= 0 AND base_version < version),
            entry_count_max bigint NOT NULL CHECK (entry_count_max >= 0),
            left_out_count bigint NOT NULL,
            size_bytes bigint NOT NULL,
            sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
            make_time timestamptz NOT NULL,
            data bytea NOT NULL,
            PRIMARY KEY (list, version, base_version, entry_count_max),
            FOREIGN KEY (list, version) REFERENCES publication (list, version)
        )""")
    # Packed already, and read from an offset.
    op.execute("ALTER TABLE artefact ALTER COLUMN data SET STORAGE EXTERNAL")
    # A published file is made once and never changes; it may be dropped when nobody needs it any more.
    revoke(op, "UPDATE", "artefact", "blacklist")
    revoke(op, "UPDATE, DELETE", "publication", "blacklist")
    op.execute("""
        CREATE TABLE list_ranking (
            single boolean PRIMARY KEY DEFAULT true CHECK (single),
            reasons smallint[] NOT NULL,
            home_prefixes text[] NOT NULL
        )""")
    # Counterfeit and stolen first, then lost, then what only costs money.
    op.execute("INSERT INTO list_ranking (reasons, home_prefixes) VALUES ('{4,8,1,7,5,2,3,6}', '{}')")


def _journeys() -> None:
    # One row for each version that lists a card which was not listed before.
    op.execute("""
        CREATE TABLE version_hop (
            version bigint PRIMARY KEY,
            report_time timestamptz NOT NULL,
            version_time timestamptz NOT NULL,
            effective_time timestamptz NOT NULL,
            publish_version bigint,
            publish_time timestamptz,
            liability_time timestamptz,
            fetch_time timestamptz,
            first_offer_time timestamptz,
            first_acknowledge_time timestamptz,
            last_acknowledge_time timestamptz,
            acknowledge_count bigint NOT NULL DEFAULT 0
        )""")
    op.execute("CREATE INDEX version_hop_unpublished ON version_hop (version) WHERE publish_version IS NULL")
    op.execute("CREATE INDEX version_hop_unfetched ON version_hop (version) WHERE fetch_time IS NULL")
    op.execute("""
        CREATE TABLE terminal_list (
            terminal_number bytea NOT NULL CHECK (octet_length(terminal_number) = 6),
            list smallint NOT NULL,
            version bigint NOT NULL,
            acknowledge_time timestamptz NOT NULL,
            PRIMARY KEY (list, terminal_number)
        )""")
    op.execute("CREATE INDEX terminal_list_version ON terminal_list (list, version)")
    # Delays in buckets of five per cent: sums of days are percentiles of weeks.
    op.execute("""
        CREATE TABLE delay_bucket (
            day date NOT NULL,
            hop smallint NOT NULL CHECK (hop BETWEEN 1 AND 6),
            bucket smallint NOT NULL,
            delay_count bigint NOT NULL,
            PRIMARY KEY (day, hop, bucket)
        )""")
    op.execute("""
        CREATE TABLE hit_count (
            number bytea NOT NULL CHECK (octet_length(number) = 10),
            generation integer NOT NULL CHECK (generation >= 0),
            locked_count bigint NOT NULL,
            refused_count bigint NOT NULL,
            passed_count bigint NOT NULL,
            first_time timestamptz NOT NULL,
            last_time timestamptz NOT NULL,
            last_terminal_number bytea NOT NULL,
            PRIMARY KEY (number, generation)
        )""")


def downgrade() -> None:
    for table in _MADE:
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP INDEX entry_until")
    op.execute("ALTER TABLE entry DROP COLUMN until_time")
    op.execute("ALTER TABLE list_change DROP COLUMN until_time")
