"""Publications and their files in PostgreSQL; the blacklist as columns of compact entries."""

from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from citycard.blacklist.v1 import events_pb2 as events_pb
from citycard.blacklist.v1 import list_pb2 as pb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.cardlist import ENTRY, Entries
from libs.runtime.outbox import Outbox
from services.blacklist.application.list_ports import Artefact, Publication, Ranking
from services.blacklist.domain.chain import Head
from services.blacklist.domain.delays import Counts, Hop
from services.blacklist.domain.rows import ListKind

# Any number that all publishers agree on.
_PUBLISHER: Final = 5_840_2025
# All columns are gathered over the same rows in the same order, whatever order that is.
_PACK: Final = """
    SELECT count(*) AS card_count,
        string_agg(number, ''::bytea) AS numbers,
        string_agg(int4send(generation), ''::bytea) AS generations,
        string_agg(int2send(mode), ''::bytea) AS modes,
        string_agg(int2send(reason), ''::bytea) AS reasons,
        string_agg(int8send(greatest(floor(extract(epoch FROM effective_time)), 0)::bigint), ''::bytea) AS effective_s
    FROM ({cards}) cards"""
_ALL: Final = _PACK.format(cards="SELECT * FROM entry WHERE listed ORDER BY number, generation")
# Of every card touched between two versions what it was at each of them.
_NET: Final = """
    WITH touched AS (
        SELECT DISTINCT scheme, number, generation FROM list_change WHERE version > :base AND version <= :version),
    then_any AS (
        SELECT DISTINCT ON (c.scheme, c.number, c.generation) c.*
        FROM list_change c JOIN touched USING (scheme, number, generation) WHERE c.version <= :base
        ORDER BY c.scheme, c.number, c.generation, c.version DESC),
    now_any AS (
        SELECT DISTINCT ON (c.scheme, c.number, c.generation) c.*
        FROM list_change c JOIN touched USING (scheme, number, generation) WHERE c.version <= :version
        ORDER BY c.scheme, c.number, c.generation, c.version DESC)
    """
_PUT: Final = _NET + _PACK.format(
    cards="""
        SELECT n.* FROM now_any n LEFT JOIN then_any t USING (scheme, number, generation)
        WHERE n.added AND (t.added IS NOT TRUE
            OR (n.reason, n.mode, n.effective_time) <> (t.reason, t.mode, t.effective_time))"""
)
_TAKEN: Final = _NET + _PACK.format(
    cards="SELECT t.* FROM then_any t JOIN now_any n USING (scheme, number, generation) WHERE t.added AND NOT n.added"
)
_RANK: Final = """
        SELECT * FROM ({cards}) c
        ORDER BY array_position(CAST(:reasons AS int[]), reason::int) NULLS LAST,
            array_position(CAST(:prefixes AS text[]), substr(encode(number, 'hex'), 1, 8)) NULLS LAST,
            report_time DESC, number, generation
        LIMIT :size"""
# Of the newest version the entries themselves, of an older one what its changes add up to: as true, and slower.
_RANKED_NEWEST: Final = (
    "SELECT h.version AS seen, p.* FROM list_head h CROSS JOIN ("
    + _PACK.format(cards=_RANK.format(cards="SELECT * FROM entry WHERE listed"))
    + ") p"
)
_RANKED: Final = _PACK.format(
    cards=_RANK.format(
        cards="""
            SELECT * FROM (
                SELECT DISTINCT ON (scheme, number, generation) * FROM list_change WHERE version <= :version
                ORDER BY scheme, number, generation, version DESC) n
            WHERE added"""
    )
)
_KEY: Final = "list = :list AND version = :version AND base_version = :base AND entry_count_max = :count_max"
_ARTEFACT: Final = "list, version, base_version, entry_count_max, left_out_count, size_bytes, sha256"


class SqlFiles:
    """The port `Files` on one open transaction.

    Args:
        connection: The transaction.
        outbox: For announcements.
        notice: How long terminals must have had to fetch a list before its acquirers bear what they accept.
    """

    def __init__(self, connection: AsyncConnection, outbox: Outbox, notice: timedelta) -> None:
        self._connection = connection
        self._outbox = outbox
        self._notice = notice

    async def only_publisher(self) -> bool:
        """Take the publisher's lock."""
        statement = text("SELECT pg_try_advisory_xact_lock(:key)")
        return bool((await self._connection.execute(statement, {"key": _PUBLISHER})).scalar_one())

    async def newest(self, kind: ListKind) -> Publication | None:
        """The newest publication."""
        statement = text("SELECT * FROM publication WHERE list = :list ORDER BY version DESC LIMIT 1")
        return _publication((await self._connection.execute(statement, {"list": int(kind)})).one_or_none())

    async def publication(self, kind: ListKind, version: int) -> Publication | None:
        """One publication."""
        statement = text("SELECT * FROM publication WHERE list = :list AND version = :version")
        values = {"list": int(kind), "version": version}
        return _publication((await self._connection.execute(statement, values)).one_or_none())

    async def publish(self, publication: Publication) -> None:
        """Write the row; stamp the journeys."""
        await self._connection.execute(
            text("""
                INSERT INTO publication
                    (list, version, chain_hash, row_count, settled_until_s, publish_time, header)
                VALUES (:list, :version, :chain_hash, :row_count, :settled_until_s, :publish_time, :header)"""),
            {
                "list": int(publication.kind),
                "version": publication.version,
                "chain_hash": publication.chain_hash,
                "row_count": publication.row_count,
                "settled_until_s": publication.settled_until_s,
                "publish_time": publication.publish_time,
                "header": publication.header,
            },
        )

    async def stamp(self, publication: Publication, counts: Counts) -> None:
        """Say of every entry that a publication brings when it was published and who bears what from when on."""
        rows = await self._connection.execute(
            text("""
                UPDATE version_hop SET publish_version = :version, publish_time = :at,
                    liability_time = greatest(effective_time, CAST(:at AS timestamptz) + CAST(:notice AS interval))
                WHERE publish_version IS NULL AND version <= :version
                RETURNING extract(epoch FROM version_time - report_time) * 1000 AS listed_ms,
                    extract(epoch FROM CAST(:at AS timestamptz) - version_time) * 1000 AS published_ms"""),
            {"version": publication.version, "at": publication.publish_time, "notice": self._notice},
        )
        delays = np.array([(int(row.listed_ms), int(row.published_ms)) for row in rows], dtype=np.int64).reshape(-1, 2)
        counts.add(Hop.LISTED, delays[:, 0])
        counts.add(Hop.PUBLISHED, delays[:, 1])

    async def keep(self, artefact: Artefact, data: bytes, at: datetime) -> None:
        """Insert a file."""
        await self._connection.execute(
            text(f"""
                INSERT INTO artefact ({_ARTEFACT}, make_time, data)
                VALUES (:list, :version, :base, :count_max, :left_out, :size, :sha256, :at, :data)
                ON CONFLICT DO NOTHING"""),
            _key(artefact)
            | {
                "left_out": artefact.left_out_count,
                "size": artefact.size_bytes,
                "sha256": artefact.sha256,
                "at": at,
                "data": data,
            },
        )

    async def artefact(self, kind: ListKind, version: int, base_version: int, entry_count_max: int) -> Artefact | None:
        """Find a file."""
        statement = text(f"SELECT {_ARTEFACT} FROM artefact WHERE {_KEY}")
        values = {"list": int(kind), "version": version, "base": base_version, "count_max": entry_count_max}
        row = (await self._connection.execute(statement, values)).one_or_none()
        if row is None:
            return None
        return Artefact(
            ListKind(row.list), row.version, row.base_version, row.entry_count_max, row.left_out_count,
            row.size_bytes, bytes(row.sha256),
        )  # fmt: skip

    async def read(self, artefact: Artefact, offset: int, size: int) -> bytes | None:
        """A slice of a file."""
        statement = text(f"SELECT substr(data, :start, :size) AS data FROM artefact WHERE {_KEY}")
        values = _key(artefact) | {"start": offset + 1, "size": size}
        row = (await self._connection.execute(statement, values)).one_or_none()
        return None if row is None else bytes(row.data)

    async def drop_old(self, before: datetime) -> int:
        """Delete files that nobody fetches any more."""
        statement = text("""
            DELETE FROM artefact a WHERE make_time < :before
            AND version < (SELECT max(version) FROM publication p WHERE p.list = a.list)""")
        return (await self._connection.execute(statement, {"before": before})).rowcount

    async def all_entries(self) -> tuple[Head, Entries]:
        """Everything, in one statement, so of one instant."""
        statement = f"SELECT h.*, c.* FROM list_head h CROSS JOIN ({_ALL}) c"
        row = (await self._connection.execute(text(statement))).one()
        return Head(row.version, row.entry_count, bytes(row.chain_hash), row.create_time), _entries(row)

    async def net(self, base_version: int, version: int) -> tuple[Entries, Entries]:
        """The difference of two versions."""
        values = {"base": base_version, "version": version}
        put = (await self._connection.execute(text(_PUT), values)).one()
        taken = (await self._connection.execute(text(_TAKEN), values)).one()
        return _entries(put), _entries(taken)

    async def ranked(self, version: int, ranking: Ranking, size: int) -> Entries:
        """The first entries of a version."""
        rule = {"reasons": list(ranking.reasons), "prefixes": list(ranking.home_prefixes), "size": size}
        newest = (await self._connection.execute(text(_RANKED_NEWEST), rule)).one()
        if newest.seen == version:
            return _entries(newest)
        return _entries((await self._connection.execute(text(_RANKED), rule | {"version": version})).one())

    async def ranking(self) -> Ranking:
        """The row."""
        row = (await self._connection.execute(text("SELECT reasons, home_prefixes FROM list_ranking"))).one()
        return Ranking(tuple(row.reasons), tuple(row.home_prefixes))

    async def set_ranking(self, ranking: Ranking) -> None:
        """Overwrite the row. A file that was cut stays as it is; the next version is cut otherwise."""
        values = {"reasons": list(ranking.reasons), "prefixes": list(ranking.home_prefixes)}
        statement = """
            UPDATE list_ranking SET reasons = CAST(:reasons AS smallint[]), home_prefixes = CAST(:prefixes AS text[])"""
        await self._connection.execute(text(statement), values)

    async def prove_files(self) -> tuple[int, int, str]:
        """Hold publications against their versions, and the digests of kept files against their bytes."""
        statement = text("""
            WITH looked AS (
                SELECT p.list, p.version, coalesce(c.chain_hash, v.chain_hash) = p.chain_hash AS "right"
                FROM publication p
                LEFT JOIN list_change c ON p.list = 1 AND c.version = p.version
                LEFT JOIN kind_version v ON v.list = p.list AND v.version = p.version
                UNION ALL
                SELECT list, version, sha256(data) = sha256 AND octet_length(data) = size_bytes FROM artefact)
            SELECT count(*) AS looked, count(*) FILTER (WHERE "right" IS NOT TRUE) AS broken,
                (SELECT list || ' version ' || version FROM looked
                    WHERE "right" IS NOT TRUE ORDER BY 1 LIMIT 1) AS first
            FROM looked""")
        row = (await self._connection.execute(statement)).one()
        return row.looked, row.broken, f"list {row.first}" if row.first else ""

    async def announce(self, publication: Publication, base_version: int) -> None:
        """The event, into the outbox."""
        event = events_pb.ListPublished(
            list=pb.ListKind.ValueType(publication.kind),
            version=publication.version,
            chain_hash=publication.chain_hash,
            base_version=base_version,
        )
        event.publish_time.FromDatetime(publication.publish_time)
        await self._outbox.add([event])


def _key(artefact: Artefact) -> dict[str, Any]:
    return {
        "list": int(artefact.kind),
        "version": artefact.version,
        "base": artefact.base_version,
        "count_max": artefact.entry_count_max,
    }


def _publication(row: Any) -> Publication | None:
    if row is None:
        return None
    return Publication(
        ListKind(row.list), row.version, bytes(row.chain_hash), row.row_count, row.settled_until_s, row.publish_time,
        bytes(row.header),
    )  # fmt: skip


def _entries(row: Any) -> Entries:
    entries = np.zeros(row.card_count, dtype=ENTRY)
    if row.card_count:
        entries["card_number"] = np.frombuffer(row.numbers, dtype=np.uint8).reshape(-1, 10)
        for field, packed, kind in (
            ("generation", row.generations, ">i4"),
            ("action", row.modes, ">i2"),
            ("reason", row.reasons, ">i2"),
            ("effective_s", row.effective_s, ">i8"),
        ):
            entries[field] = np.frombuffer(packed, dtype=kind)
    return entries
