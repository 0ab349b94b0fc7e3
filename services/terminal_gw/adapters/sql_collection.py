"""Serials and registers in PostgreSQL: ranges are multiranges, and the database does their arithmetic in sets."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.clock import Clock
from services.terminal_gw.application.ports_field import Backlog, Gap, MissingFiles
from services.terminal_gw.domain.completeness import Register
from services.terminal_gw.domain.device import CommandAnswer
from services.terminal_gw.domain.errors import RegisterConflict
from services.terminal_gw.domain.serials import Indexed, Ranges, merged, multirange, of_multirange
from services.terminal_gw.domain.upload import UploadKey

_DEVICE, _PSAM, _SENDER = 1, 2, 3
_INDEX: Final = """
    INSERT INTO upload_serials (upload_id, terminal_number, device_number, participant, record_count, device_seqs,
        terminal_seqs)
    SELECT upload, terminal, device, participant, records, CAST(devices AS int8multirange),
        CAST(terminals AS int8multirange)
    FROM unnest(CAST(:uploads AS bigint[]), CAST(:terminals AS text[]), CAST(:devices AS bigint[]),
        CAST(:participants AS text[]), CAST(:records AS bigint[]), CAST(:device_seqs AS text[]),
        CAST(:terminal_seqs AS text[]))
        AS new (upload, terminal, device, participant, records, devices, terminals)"""
_COVER: Final = """
    INSERT INTO serial_coverage AS c (participant, kind, subject, covered, declared_void)
    SELECT participant, kind, subject, CAST(covered AS int8multirange), CAST(void AS int8multirange)
    FROM unnest(CAST(:participants AS text[]), CAST(:kinds AS smallint[]), CAST(:subjects AS text[]),
        CAST(:covered AS text[]), CAST(:void AS text[])) AS new (participant, kind, subject, covered, void)
    ORDER BY participant, kind, subject
    ON CONFLICT (participant, kind, subject) DO UPDATE SET covered = c.covered + EXCLUDED.covered,
        declared_void = c.declared_void + EXCLUDED.declared_void"""
# From the lowest serial that anybody spoke of to the highest: what is neither stored nor declared void.
_GAPS: Final = """
    SELECT t.terminal_number, t.participant, p.device_number,
        coalesce(c.covered, '{}') AS covered, coalesce(c.declared_void, '{}') AS void,
        CASE WHEN coalesce(lower(c.covered), r.first) IS NULL THEN CAST('{}' AS int8multirange)
            ELSE int8multirange(int8range(least(lower(c.covered), r.first),
                    greatest(upper(c.covered), r.last + 1, least(lower(c.covered), r.first))))
                - coalesce(c.covered, '{}') - coalesce(c.declared_void, '{}') END AS missing,
        coalesce(upper(q.covered) - 1, 0) AS terminal_seq_last,
        CASE WHEN q.covered IS NULL OR isempty(q.covered) THEN CAST('{}' AS int8multirange)
            ELSE int8multirange(range_merge(q.covered)) - q.covered - q.declared_void END AS missing_terminal,
        CASE WHEN s.covered IS NULL OR isempty(s.covered) THEN CAST('{}' AS int8multirange)
            ELSE int8multirange(int8range(1, upper(s.covered))) - s.covered END AS missing_files,
        greatest(upper(c.covered) - 1, 0) AS device_seq_last,
        least(lower(c.covered), r.first) AS lowest
    FROM terminal t
    LEFT JOIN pairing p ON p.terminal_number = t.terminal_number AND p.valid_from <= :at
        AND (p.valid_until IS NULL OR p.valid_until > :at)
    LEFT JOIN serial_coverage c ON c.participant = t.participant AND c.kind = 1 AND c.subject = p.device_number::text
    LEFT JOIN serial_coverage q ON q.participant = t.participant AND q.kind = 2 AND q.subject = t.terminal_number
    LEFT JOIN serial_coverage s ON s.participant = t.participant AND s.kind = 3
        AND s.subject = 'citycard://terminal/' || t.participant || '/' || t.terminal_number
    LEFT JOIN LATERAL (SELECT min(device_seq_first) AS first, max(device_seq_last) AS last FROM audit_register g
        WHERE g.participant = t.participant AND g.device_number = p.device_number) r ON true"""
_BACKLOG: Final = f"""
    SELECT coalesce(a.collection_point, '') AS point, g.participant, count(*) AS terminals,
        count(*) FILTER (WHERE w.beat_time >= :live_since) AS connected,
        count(*) FILTER (WHERE s.contact_time IS NULL OR s.contact_time < :silent_before) AS silent,
        CASE WHEN bool_or(s.contact_time IS NULL) THEN NULL ELSE min(s.contact_time) END AS oldest_contact,
        coalesce(sum(s.unsent_count), 0) AS unsent, min(s.oldest_unsent_time) AS oldest_unsent,
        coalesce(sum((SELECT sum(upper(one) - lower(one)) FROM unnest(g.missing) one)), 0) AS missing
    FROM ({_GAPS} WHERE CAST(:participant AS text) IS NULL OR t.participant = :participant) g
    LEFT JOIN assignment a ON a.terminal_number = g.terminal_number
    LEFT JOIN terminal_session w ON w.terminal_number = g.terminal_number
    LEFT JOIN terminal_state s ON s.terminal_number = g.terminal_number
    GROUP BY 1, 2 ORDER BY missing DESC, silent DESC, 2, 1"""
_REGISTER_COLUMNS: Final = """business_date, device_number, device_seq_first, device_seq_last, record_count, total_fen,
    running_count, running_total_fen, shift_number, staff_number, close_time, day_closed"""
_ABOUT: Final = (
    "business_date, shift_number, device_seq_first, device_seq_last, record_count, total_fen, running_count, \
running_total_fen, staff_number, close_time, day_closed"
)
_PROVE: Final = """
    SELECT count(*) AS checked, count(*) FILTER (WHERE kept IS DISTINCT FROM parts) AS broken,
        min(participant || ' ' || kind || ' ' || subject) FILTER (WHERE kept IS DISTINCT FROM parts) AS first
    FROM (
        SELECT coalesce(c.participant, a.participant) AS participant, coalesce(c.kind, a.kind) AS kind,
            coalesce(c.subject, a.subject) AS subject, c.covered AS kept,
            coalesce(a.parts, CAST('{}' AS int8multirange)) AS parts
        FROM (
            SELECT participant, 1 AS kind, device_number::text AS subject, range_agg(device_seqs) AS parts
            FROM upload_serials GROUP BY 1, 2, 3
            UNION ALL
            SELECT participant, 2, terminal_number, range_agg(terminal_seqs) FROM upload_serials GROUP BY 1, 2, 3
            UNION ALL
            SELECT participant, 3, sender, range_agg(int8multirange(int8range(batch_number, batch_number + 1)))
            FROM upload WHERE state = 2 AND terminal_count IS NOT NULL GROUP BY 1, 2, 3) a
        FULL JOIN serial_coverage c ON c.participant = a.participant AND c.kind = a.kind AND c.subject = a.subject
    ) compared"""


class SqlCollection:
    """The serials and registers of the port `Collection` on one open transaction; the clock tells who is paired now."""

    def __init__(self, connection: AsyncConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    async def _run(self, statement: str, **values: Any) -> Any:
        return await self._connection.execute(text(statement), values)

    async def index(self, stored: Sequence[Indexed]) -> None:
        """Three statements for any number of uploads; coverage is locked in one order."""
        await self._run(
            """UPDATE upload u SET terminal_count = new.terminals, device_seq_first = new.first,
                device_seq_last = new.last
            FROM unnest(CAST(:ids AS bigint[]), CAST(:counts AS integer[]), CAST(:firsts AS bigint[]),
                CAST(:lasts AS bigint[])) AS new (id, terminals, first, last) WHERE u.id = new.id""",
            ids=[one.upload_id for one in stored],
            counts=[one.serials.terminal_count for one in stored],
            firsts=[one.serials.device_seq_first for one in stored],
            lasts=[one.serials.device_seq_last for one in stored],
        )
        runs = [(one, run) for one in stored for run in one.serials.runs]
        if runs:
            await self._run(
                _INDEX,
                uploads=[one.upload_id for one, _ in runs],
                terminals=[run.terminal_number for _, run in runs],
                devices=[run.device_number for _, run in runs],
                participants=[one.key.participant for one, _ in runs],
                records=[run.record_count for _, run in runs],
                device_seqs=[multirange(run.device_seqs) for _, run in runs],
                terminal_seqs=[multirange(run.terminal_seqs) for _, run in runs],
            )
        covered: list[tuple[str, int, str, Ranges]] = []
        for one in stored:
            number = one.batch_number
            covered.append((one.key.participant, _SENDER, one.sender, ((number, number),)))
        for one, run in runs:
            covered.append((one.key.participant, _DEVICE, str(run.device_number), run.device_seqs))
            covered.append((one.key.participant, _PSAM, run.terminal_number, run.terminal_seqs))
        await self._cover(covered, ())

    async def declare_void(self, answers: Sequence[CommandAnswer]) -> None:
        """For the machine that the terminal is paired with."""
        said = [one for one in answers if one.void_device_seqs or one.void_terminal_seqs]
        if not said:
            return
        rows = await self._run(
            """SELECT t.terminal_number, t.participant, p.device_number FROM terminal t
            LEFT JOIN pairing p ON p.terminal_number = t.terminal_number AND p.valid_from <= :at
                AND (p.valid_until IS NULL OR p.valid_until > :at)
            WHERE t.terminal_number = ANY(:numbers)""",
            numbers=[one.terminal_number for one in said],
            at=self._clock.now(),
        )
        places = {row.terminal_number: row for row in rows}
        void: list[tuple[str, int, str, Ranges]] = []
        for one in said:
            row = places.get(one.terminal_number)
            if row is None:
                continue
            if row.device_number is not None:
                void.append((row.participant, _DEVICE, str(row.device_number), one.void_device_seqs))
            void.append((row.participant, _PSAM, one.terminal_number, one.void_terminal_seqs))
        await self._cover((), void)

    async def _cover(
        self, covered: Iterable[tuple[str, int, str, Ranges]], void: Iterable[tuple[str, int, str, Ranges]]
    ) -> None:
        rows: dict[tuple[str, int, str], tuple[list[tuple[int, int]], list[tuple[int, int]]]] = {}
        for place, some in enumerate((covered, void)):
            for participant, kind, subject, ranges in some:
                rows.setdefault((participant, kind, subject), ([], []))[place].extend(ranges)
        if rows:
            await self._run(
                _COVER,
                participants=[key[0] for key in rows],
                kinds=[key[1] for key in rows],
                subjects=[key[2] for key in rows],
                covered=[multirange(merged(one)) for one, _ in rows.values()],
                void=[multirange(merged(one)) for _, one in rows.values()],
            )

    async def unindexed(self, most: int) -> Sequence[tuple[int, UploadKey, str, int]]:
        """Oldest first."""
        rows = await self._run(
            """SELECT id, participant, sha256, sender, batch_number FROM upload
            WHERE state = 2 AND terminal_count IS NULL ORDER BY sequence LIMIT :most FOR UPDATE SKIP LOCKED""",
            most=most,
        )
        return [(row.id, UploadKey(row.participant, bytes(row.sha256)), row.sender, row.batch_number) for row in rows]

    async def keep_registers(
        self, participant: str, terminal_number: str, registers: Sequence[Register], at: datetime
    ) -> int:
        """A device's registers are kept one after the other: its rows are few and their order matters."""
        # One at a time per device: two that overlap must not both find nothing.
        for device in sorted({one.device_number for one in registers}):
            await self._run(
                "SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))", key=f"register {participant} {device}"
            )
        kept = 0
        for one in registers:
            values = {
                "participant": participant,
                "device": one.device_number,
                "day": one.business_date,
                "shift": one.shift_number,
                "first": one.device_seq_first,
                "last": one.device_seq_last,
            }
            rows = await self._run(
                f"""SELECT {_REGISTER_COLUMNS} FROM audit_register
                WHERE participant = :participant AND device_number = :device AND (
                    (business_date = :day AND shift_number = :shift AND device_seq_first = :first)
                    OR int8range(device_seq_first, device_seq_last + 1) && int8range(:first, :last + 1))""",
                **values,
            )
            known = [register_of_row(row) for row in rows]
            if known == [one]:
                continue
            if known:
                raise RegisterConflict(device=one.device_number, first=one.device_seq_first)
            await self._run(
                f"""INSERT INTO audit_register (participant, device_number, terminal_number, receive_time, {_ABOUT})
                VALUES (:participant, :device, :terminal, :at, :day, :shift, :first, :last, :count, :total,
                    :running_count, :running_total, :staff, :close_time, :day_closed)""",
                **values,
                terminal=terminal_number,
                at=at,
                count=one.record_count,
                total=one.total_fen,
                running_count=one.running_count,
                running_total=one.running_total_fen,
                staff=one.staff_number,
                close_time=one.close_time,
                day_closed=one.day_closed,
            )
            kept += 1
        return kept

    async def gaps(
        self, participant: str | None, after: str, size: int, *, only: str = "", missing_only: bool = True
    ) -> Sequence[Gap]:
        """The arithmetic is the database's, so that a page holds only who misses something."""
        rows = await self._run(
            f"""SELECT * FROM ({_GAPS}
                WHERE t.terminal_number > :after AND (:only = '' OR t.terminal_number = :only)
                    AND (CAST(:participant AS text) IS NULL OR t.participant = :participant)) gap
            WHERE NOT :missing_only OR NOT isempty(missing) OR NOT isempty(missing_terminal)
                OR NOT isempty(missing_files) ORDER BY terminal_number LIMIT :size""",
            participant=participant,
            at=self._clock.now(),
            after=after,
            only=only,
            size=size,
            missing_only=missing_only,
        )
        return [_gap(row) for row in rows]

    async def missing_files(self, participant: str | None, after: str, size: int) -> Sequence[MissingFiles]:
        """From the lowest number that a sender used."""
        rows = await self._run(
            """SELECT *, upper(covered) - 1 AS last FROM (
                SELECT *, int8multirange(range_merge(covered)) - covered AS missing FROM serial_coverage
                WHERE kind = 3 AND (CAST(:participant AS text) IS NULL OR participant = :participant)
                    AND subject > :after) one
            WHERE NOT isempty(missing) ORDER BY subject LIMIT :size""",
            participant=participant,
            after=after,
            size=size,
        )
        return [MissingFiles(row.subject, row.participant, row.last, of_multirange(row.missing)) for row in rows]

    async def recollecting(self) -> set[str]:
        """Open commands of that kind."""
        rows = await self._run(
            "SELECT DISTINCT terminal_number FROM command WHERE state <= 3 AND kind = 'recollect_records'"
        )
        return {row.terminal_number for row in rows}

    async def backlog(
        self, participant: str | None, silent_before: datetime, live_since: datetime
    ) -> Sequence[Backlog]:
        """One statement."""
        rows = await self._run(
            _BACKLOG, at=self._clock.now(), participant=participant, silent_before=silent_before, live_since=live_since
        )
        return [
            Backlog(
                row.point,
                row.participant,
                row.terminals,
                row.connected,
                row.silent,
                row.oldest_contact,
                int(row.unsent),
                row.oldest_unsent,
                int(row.missing),
            )
            for row in rows
        ]

    async def serials_of_upload(self, key: UploadKey) -> Sequence[tuple[str, int, int, Ranges, Ranges]]:
        """What was noted of an upload, for the proof."""
        rows = await self._run(
            """SELECT s.* FROM upload_serials s JOIN upload u ON u.id = s.upload_id
            WHERE u.participant = :participant AND u.sha256 = :sha256 ORDER BY s.terminal_number, s.device_number""",
            participant=key.participant,
            sha256=key.sha256,
        )
        return [
            (
                row.terminal_number,
                row.device_number,
                row.record_count,
                of_multirange(row.device_seqs),
                of_multirange(row.terminal_seqs),
            )
            for row in rows
        ]

    async def prove_serials(self) -> tuple[int, int, str]:
        """Coverage against the sum of its parts."""
        row = (await self._run(_PROVE)).one()
        return row.checked, row.broken, row.first or ""


def register_of_row(row: Any) -> Register:
    """A row as a register."""
    return Register(
        row.business_date,
        row.device_number,
        row.device_seq_first,
        row.device_seq_last,
        row.record_count,
        row.total_fen,
        row.running_count,
        row.running_total_fen,
        row.shift_number,
        row.staff_number,
        row.close_time,
        row.day_closed,
    )


def _gap(row: Any) -> Gap:
    missing, void = of_multirange(row.missing), of_multirange(row.void)
    contiguous = 0
    if row.lowest is not None:
        contiguous = missing[0][0] - 1 if missing else max(row.device_seq_last or 0, row.lowest - 1)
    return Gap(
        row.terminal_number,
        row.participant,
        row.device_number or 0,
        row.device_seq_last or 0,
        missing,
        void,
        row.terminal_seq_last,
        of_multirange(row.missing_terminal),
        of_multirange(row.missing_files),
        contiguous,
    )
