"""The way of entries to the terminals and what was met there, in PostgreSQL. Batches come and go as columns."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.blacklist.adapters.rows import entry_of_row
from services.blacklist.application.list_ports import Hit, Journey, Met, Reach, Words
from services.blacklist.domain.delays import I64, NOT_YET, Arrivals, Counts, Hop, Journeys, Moves, arrive
from services.blacklist.domain.entry import CardKey
from services.blacklist.domain.rows import ListKind

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BLACKLIST: Final = int(ListKind.BLACKLIST)
# Reports of one list follow one another, or two of them would count the same move.
_LOCK: Final = 5_840_3000
_MS: Final = "CAST(extract(epoch FROM {0}) * 1000 AS bigint)"


class SqlJourneys:
    """The port `Journeys` on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fetched(self, version: int, at: datetime, counts: Counts) -> None:
        """Stamp what the gateway holds for the first time."""
        rows = await self._connection.execute(
            text("""
                UPDATE version_hop SET fetch_time = greatest(publish_time, CAST(:at AS timestamptz))
                WHERE fetch_time IS NULL AND publish_version <= :version
                RETURNING extract(epoch FROM fetch_time - publish_time) * 1000 AS fetched_ms"""),
            {"version": version, "at": at},
        )
        counts.add(Hop.FETCHED, np.array([int(row.fetched_ms) for row in rows], dtype=np.int64))

    async def said(self, kind: ListKind, words: Words, counts: Counts) -> int:
        """Move the terminals, and of the blacklist the journeys of what they moved over."""
        await self._execute("SELECT pg_advisory_xact_lock(:lock)", lock=_LOCK + int(kind))
        terminals, moves, known = await self._moves(kind, words)
        if not len(moves.after):
            return 0
        if kind is ListKind.BLACKLIST and known.any():
            await self._arrive(_where(moves, known), counts)
        await self._execute(
            """
            INSERT INTO terminal_list (list, terminal_number, version, acknowledge_time)
            SELECT CAST(:list AS smallint), t.number, max(t.version), max(to_timestamp(t.at_ms / 1000.0))
            FROM unnest(CAST(:numbers AS bytea[]), CAST(:versions AS bigint[]), CAST(:at_ms AS bigint[]))
                AS t(number, version, at_ms)
            GROUP BY t.number
            ON CONFLICT (list, terminal_number) DO UPDATE
                SET version = excluded.version, acknowledge_time = excluded.acknowledge_time
                WHERE terminal_list.version < excluded.version""",
            list=int(kind),
            numbers=terminals,
            versions=moves.after.tolist(),
            at_ms=moves.acknowledged_ms.tolist(),
        )
        return len(moves.after)

    async def _moves(self, kind: ListKind, words: Words) -> tuple[list[bytes], Moves, npt.NDArray[np.bool_]]:
        """The words that are news, each with the version that the terminal had; and whether it was known at all."""
        # As numbers: to NumPy's texts a terminal number that ends in zero bytes would be a shorter one.
        packed = np.frombuffer(words.terminals, dtype=np.uint8).reshape(-1, 6).astype(np.int64)
        keys = packed @ (256 ** np.arange(5, -1, -1))
        names, place = np.unique(keys, return_inverse=True)
        texts = [int(name).to_bytes(6, "big") for name in names]
        rows = await self._execute(
            """
            SELECT terminal_number, version
            FROM terminal_list WHERE list = :list AND terminal_number = ANY(CAST(:numbers AS bytea[]))""",
            list=int(kind),
            numbers=texts,
        )
        stored = {int.from_bytes(bytes(row.terminal_number), "big"): int(row.version) for row in rows}
        had = np.array([stored.get(int(name), -1) for name in names], dtype=np.int64)
        newest = await self._newest(kind)
        order = np.lexsort((words.acknowledged_ms, words.versions, place))
        place, versions = place[order], words.versions[order]
        offered, said = words.offered_ms[order], words.acknowledged_ms[order]
        # The word before in the same batch, else what is stored.
        before = had[place]
        same = np.zeros(len(order), dtype=np.bool_)
        same[1:] = place[1:] == place[:-1]
        before[same] = np.maximum(before[same], versions[np.flatnonzero(same) - 1])
        # A version that the list never had is no word about it: it would hide every one to come.
        news = (versions > before) & (versions <= newest) & (versions > 0)
        chosen = [texts[at] for at in place[news]]
        moves = Moves(before[news], versions[news], offered[news], said[news])
        return chosen, moves, before[news] >= 0

    async def _newest(self, kind: ListKind) -> int:
        statement = (
            "SELECT version FROM list_head"
            if kind is ListKind.BLACKLIST
            else "SELECT version FROM kind_head WHERE list = :list"
        )
        return int((await self._execute(statement, list=int(kind))).scalar_one())

    async def _arrive(self, moves: Moves, counts: Counts) -> None:
        journeys = await self._journeys(int(moves.before.min()), int(moves.after.max()))
        arrivals = arrive(journeys, moves, counts)
        await self._add(journeys, arrivals)

    async def _journeys(self, after: int, last: int) -> Journeys:
        row = (
            await self._execute(
                f"""
                SELECT string_agg(int8send(version), ''::bytea ORDER BY version) AS versions,
                    string_agg(int8send({_MS.format("report_time")}), ''::bytea ORDER BY version) AS reported,
                    string_agg(int8send(coalesce({_MS.format("coalesce(fetch_time, publish_time)")}, :none)),
                        ''::bytea ORDER BY version) AS held
                FROM version_hop WHERE version > :after AND version <= :last""",
                after=after,
                last=last,
                none=NOT_YET,
            )
        ).one()
        columns = (np.frombuffer(packed or b"", dtype=">i8").astype(np.int64) for packed in row)
        return Journeys(*columns)

    async def _add(self, journeys: Journeys, arrivals: Arrivals) -> None:
        reached = arrivals.counts > 0
        if not reached.any():
            return
        offered = arrivals.first_offered_ms[reached].tolist()
        await self._execute(
            """
            UPDATE version_hop h SET acknowledge_count = h.acknowledge_count + d.reached,
                first_offer_time = least(h.first_offer_time, to_timestamp(d.offered_ms / 1000.0)),
                first_acknowledge_time = least(h.first_acknowledge_time, to_timestamp(d.first_ms / 1000.0)),
                last_acknowledge_time = greatest(h.last_acknowledge_time, to_timestamp(d.last_ms / 1000.0))
            FROM unnest(CAST(:versions AS bigint[]), CAST(:reached AS bigint[]), CAST(:offered_ms AS bigint[]),
                CAST(:first_ms AS bigint[]), CAST(:last_ms AS bigint[]))
                AS d(version, reached, offered_ms, first_ms, last_ms)
            WHERE h.version = d.version""",
            versions=journeys.versions[reached].tolist(),
            reached=arrivals.counts[reached].tolist(),
            offered_ms=[None if value == NOT_YET else value for value in offered],
            first_ms=arrivals.first_ms[reached].tolist(),
            last_ms=arrivals.last_ms[reached].tolist(),
        )

    async def count(self, day: date, counts: Counts) -> None:
        """Add to the buckets of a day."""
        hops, buckets, numbers = counts.columns()
        if len(hops):
            await self._execute(
                """
                INSERT INTO delay_bucket (day, hop, bucket, delay_count)
                SELECT CAST(:day AS date), * FROM unnest(CAST(:hops AS smallint[]), CAST(:buckets AS smallint[]),
                    CAST(:numbers AS bigint[])) AS d(hop, bucket, n) ORDER BY hop, bucket
                ON CONFLICT (day, hop, bucket) DO UPDATE
                    SET delay_count = delay_bucket.delay_count + excluded.delay_count""",
                day=day,
                hops=hops.tolist(),
                buckets=buckets.tolist(),
                numbers=numbers.tolist(),
            )

    async def delays(self, first: date, last: date) -> Sequence[tuple[int, I64, I64]]:
        """Sums of buckets over some days."""
        rows = (
            await self._execute(
                """
                SELECT hop, bucket, CAST(sum(delay_count) AS bigint) AS n FROM delay_bucket
                WHERE day BETWEEN :first AND :last GROUP BY hop, bucket ORDER BY hop, bucket""",
                first=first,
                last=last,
            )
        ).all()
        table = np.array([tuple(row) for row in rows], dtype=np.int64).reshape(-1, 3)
        return [
            (int(hop), table[table[:, 0] == hop, 1], table[table[:, 0] == hop, 2]) for hop in np.unique(table[:, 0])
        ]

    async def reach(self, kind: ListKind) -> Reach:
        """Count terminals."""
        row = (
            await self._execute(
                """
                SELECT count(*) AS terminals, coalesce(min(version), 0) AS oldest,
                    count(*) FILTER (WHERE version >= (SELECT max(version) FROM publication WHERE list = :list)) AS here
                FROM terminal_list WHERE list = :list""",
                list=int(kind),
            )
        ).one()
        return Reach(row.terminals, row.here, row.oldest)

    async def journey(self, card: CardKey) -> Journey | None:
        """One entry and its hops."""
        row = (
            await self._execute(
                """
                SELECT e.*, h.version AS hop_version, h.report_time AS cause_time, h.version_time, h.publish_time,
                    h.liability_time, h.fetch_time, h.first_offer_time, h.first_acknowledge_time,
                    h.last_acknowledge_time, h.acknowledge_count,
                    (SELECT count(*) FROM terminal_list t
                        WHERE t.list = :list AND t.version < e.added_version) AS behind
                FROM entry e JOIN version_hop h ON h.version = e.added_version
                WHERE (e.scheme, e.number, e.generation) = (:scheme, CAST(:number AS bytea), :generation)""",
                list=_BLACKLIST,
                scheme=card.scheme,
                number=card.number,
                generation=card.generation,
            )
        ).one_or_none()
        if row is None:
            return None
        return Journey(
            entry_of_row(row), row.hop_version, row.cause_time, row.version_time, row.publish_time, row.liability_time,
            row.fetch_time, row.first_offer_time, row.first_acknowledge_time, row.last_acknowledge_time,
            row.acknowledge_count, row.behind,
        )  # fmt: skip

    async def met(self, met: Met) -> int:
        """Add the counts of each card in one statement."""
        numbers = [met.numbers[at : at + 10] for at in range(0, len(met.numbers), 10)]
        terminals = [met.terminals[at : at + 6] for at in range(0, len(met.terminals), 6)]
        row = (
            await self._execute(
                """
                WITH m AS (
                    SELECT * FROM unnest(CAST(:numbers AS bytea[]), CAST(:generations AS int[]),
                        CAST(:outcomes AS int[]), CAST(:times AS bigint[]), CAST(:terminals AS bytea[]))
                        AS m(number, generation, outcome, time_s, terminal)),
                counted AS (
                    INSERT INTO hit_count AS h (number, generation, locked_count, refused_count, passed_count,
                        first_time, last_time, last_terminal_number)
                    SELECT number, generation, count(*) FILTER (WHERE outcome = 1),
                        count(*) FILTER (WHERE outcome = 2), count(*) FILTER (WHERE outcome = 3),
                        to_timestamp(min(time_s)), to_timestamp(max(time_s)),
                        (array_agg(terminal ORDER BY time_s DESC, terminal))[1]
                    FROM m GROUP BY number, generation ORDER BY number, generation
                    ON CONFLICT (number, generation) DO UPDATE SET
                        locked_count = h.locked_count + excluded.locked_count,
                        refused_count = h.refused_count + excluded.refused_count,
                        passed_count = h.passed_count + excluded.passed_count,
                        first_time = least(h.first_time, excluded.first_time),
                        last_time = greatest(h.last_time, excluded.last_time),
                        last_terminal_number = CASE WHEN excluded.last_time >= h.last_time
                            THEN excluded.last_terminal_number ELSE h.last_terminal_number END)
                SELECT count(*) AS listed FROM m WHERE EXISTS (
                    SELECT FROM entry e WHERE e.number = m.number AND e.listed
                        AND (m.generation = 0 OR e.generation = m.generation))
                    OR EXISTS (SELECT FROM kind_row r WHERE r.list = :ranges
                        AND substr(r.key, 1, 10) <= m.number AND substr(r.key, 11, 10) >= m.number)""",
                numbers=numbers,
                generations=met.generations.tolist(),
                outcomes=met.outcomes.tolist(),
                times=met.times_s.tolist(),
                terminals=terminals,
                ranges=int(ListKind.RANGES),
            )
        ).one()
        return int(row.listed)

    async def hits(self, after: tuple[bytes, int], size: int) -> Sequence[Hit]:
        """A page of counts."""
        rows = await self._execute(
            """
            SELECT * FROM hit_count WHERE (number, generation) > (CAST(:number AS bytea), :generation)
            ORDER BY number, generation LIMIT :size""",
            number=after[0],
            generation=after[1],
            size=size,
        )
        return [_hit(row) for row in rows]

    async def hit(self, card: CardKey) -> Hit | None:
        """One count."""
        row = (
            await self._execute(
                "SELECT * FROM hit_count WHERE number = :number AND generation = :generation",
                number=card.number,
                generation=card.generation,
            )
        ).one_or_none()
        return None if row is None else _hit(row)

    async def _execute(self, statement: str, **values: Any) -> Any:
        return await self._connection.execute(text(statement), values)


def _where(moves: Moves, chosen: npt.NDArray[np.bool_]) -> Moves:
    return Moves(moves.before[chosen], moves.after[chosen], moves.offered_ms[chosen], moves.acknowledged_ms[chosen])


def _hit(row: Any) -> Hit:
    number = bytes(row.number)
    # A generation that nobody could tell is 0, which no key has.
    card = CardKey("cj" if number[:2] == bytes(2) else "jt", number.hex(), row.generation)
    return Hit(
        card, row.generation, row.locked_count, row.refused_count, row.passed_count, row.first_time, row.last_time,
        bytes(row.last_terminal_number).hex(),
    )  # fmt: skip


def moment_of_ms(milliseconds: int) -> datetime:
    """Milliseconds since 1970 UTC as a moment."""
    return _EPOCH + timedelta(milliseconds=milliseconds)
