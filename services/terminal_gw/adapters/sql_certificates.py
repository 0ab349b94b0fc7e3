"""What certificates of completeness are made of, and the certificates, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

from services.terminal_gw.adapters.sql_collection import SqlCollection, register_of_row
from services.terminal_gw.application.ports_field import KeptCertificate
from services.terminal_gw.domain.completeness import DayFacts, Register, Verdict
from services.terminal_gw.domain.serials import of_multirange
from services.terminal_gw.domain.upload import UploadKey

_TERMINALS: Final = """
    SELECT t.terminal_number, t.participant, t.psam_number,
        coalesce(g.device_number, p.device_number, t.device_number) AS device_number,
        coalesce(c.covered, '{}') AS covered, coalesce(c.declared_void, '{}') AS declared_void
    FROM terminal t
    LEFT JOIN LATERAL (SELECT device_number FROM audit_register r
        WHERE r.terminal_number = t.terminal_number AND r.business_date = :day
        ORDER BY device_seq_last DESC, shift_number DESC LIMIT 1) g ON true
    LEFT JOIN LATERAL (SELECT device_number FROM pairing p
        WHERE p.terminal_number = t.terminal_number AND p.valid_from < :day_end
        ORDER BY valid_from DESC LIMIT 1) p ON true
    LEFT JOIN serial_coverage c ON c.participant = t.participant AND c.kind = 1
        AND c.subject = coalesce(g.device_number, p.device_number, t.device_number)::text
    WHERE t.register_time < :day_end AND (:only = '' OR t.terminal_number = :only)
        AND (CAST(:participant AS text) IS NULL OR t.participant = :participant)
    ORDER BY t.terminal_number"""
_REGISTERS: Final = """
    SELECT r.* FROM audit_register r WHERE r.business_date = :day AND (:only = '' OR r.terminal_number = :only)
        AND (CAST(:participant AS text) IS NULL OR r.participant = :participant)
    ORDER BY r.device_seq_first, r.device_seq_last, r.shift_number"""
# Of each device the last register that ends before its day begins.
_BEFORE: Final = """
    SELECT b.* FROM (
        SELECT participant, device_number, min(device_seq_first) AS first FROM audit_register r
        WHERE business_date = :day AND (:only = '' OR r.terminal_number = :only)
            AND (CAST(:participant AS text) IS NULL OR participant = :participant) GROUP BY 1, 2) today
    JOIN LATERAL (SELECT * FROM audit_register e
        WHERE e.participant = today.participant AND e.device_number = today.device_number
            AND e.device_seq_last < today.first AND e.business_date < :day
        ORDER BY e.device_seq_last DESC, e.business_date DESC, e.shift_number DESC LIMIT 1) b ON true"""
_NEWEST: Final = """
    SELECT DISTINCT ON (terminal_number) * FROM completeness_certificate
    WHERE business_date = :day AND {which} ORDER BY terminal_number, revision DESC"""


class SqlCertificates(SqlCollection):
    """The port `Collection` on one open transaction."""

    async def days(self, participant: str | None, day: date, day_end: datetime, only: str = "") -> Sequence[DayFacts]:
        """Three statements for all terminals."""
        values: dict[str, Any] = {"participant": participant, "day": day, "only": only}
        registers: dict[str, list[Register]] = {}
        for row in await self._run(_REGISTERS, **values):
            registers.setdefault(row.terminal_number, []).append(register_of_row(row))
        before = {
            (row.participant, row.device_number): register_of_row(row) for row in await self._run(_BEFORE, **values)
        }
        rows = await self._run(_TERMINALS, **values, day_end=day_end)
        return [_facts(row, day, registers.get(row.terminal_number, ()), before) for row in rows]

    async def uploads_holding(self, claims: Sequence[tuple[str, int, int, int]]) -> Sequence[tuple[UploadKey, int]]:
        """In the order of storing."""
        if not claims:
            return []
        rows = await self._run(
            """SELECT DISTINCT u.sequence, u.participant, u.sha256, u.size_bytes
            FROM unnest(CAST(:participants AS text[]), CAST(:devices AS bigint[]), CAST(:firsts AS bigint[]),
                CAST(:lasts AS bigint[])) AS claim (participant, device, first, last)
            JOIN upload_serials s ON s.participant = claim.participant AND s.device_number = claim.device
                AND s.device_seqs && int8range(claim.first, claim.last + 1)
            JOIN upload u ON u.id = s.upload_id ORDER BY u.sequence""",
            participants=[one[0] for one in claims],
            devices=[one[1] for one in claims],
            firsts=[one[2] for one in claims],
            lasts=[one[3] for one in claims],
        )
        return [(UploadKey(row.participant, bytes(row.sha256)), row.size_bytes) for row in rows]

    async def newest_certificates(self, day: date, numbers: Sequence[str]) -> Mapping[str, KeptCertificate]:
        """By terminal number."""
        statement = _NEWEST.format(which="terminal_number = ANY(:numbers)")
        rows = await self._run(statement, day=day, numbers=list(numbers))
        return {row.terminal_number: _kept(row) for row in rows}

    async def keep_certificates(self, rows: Sequence[KeptCertificate]) -> None:
        """One statement."""
        if rows:
            await self._run(
                """INSERT INTO completeness_certificate (terminal_number, business_date, revision, participant, content,
                    signature, key_id, verdict, missing_count, issue_time)
                SELECT * FROM unnest(CAST(:numbers AS text[]), CAST(:days AS date[]), CAST(:revisions AS integer[]),
                    CAST(:participants AS text[]), CAST(:contents AS bytea[]), CAST(:signatures AS bytea[]),
                    CAST(:key_ids AS bytea[]), CAST(:verdicts AS smallint[]), CAST(:missing AS bigint[]),
                    CAST(:times AS timestamptz[])) ORDER BY 1
                ON CONFLICT DO NOTHING""",
                numbers=[one.terminal_number for one in rows],
                days=[one.business_date for one in rows],
                revisions=[one.revision for one in rows],
                participants=[one.participant for one in rows],
                contents=[one.content for one in rows],
                signatures=[one.signature for one in rows],
                key_ids=[one.key_id for one in rows],
                verdicts=[one.verdict for one in rows],
                missing=[one.missing_count for one in rows],
                times=[one.issue_time for one in rows],
            )

    async def certificate(self, terminal_number: str, day: date, revision: int | None) -> KeptCertificate | None:
        """One row."""
        row = (
            await self._run(
                """SELECT * FROM completeness_certificate WHERE terminal_number = :number AND business_date = :day
                    AND (CAST(:revision AS integer) IS NULL OR revision = :revision) ORDER BY revision DESC LIMIT 1""",
                number=terminal_number,
                day=day,
                revision=revision,
            )
        ).one_or_none()
        return None if row is None else _kept(row)

    async def certificates(
        self, participant: str | None, day: date, after: str, size: int, *, incomplete_only: bool
    ) -> Sequence[KeptCertificate]:
        """A page."""
        newest = _NEWEST.format(
            which="terminal_number > :after AND (CAST(:participant AS text) IS NULL OR participant = :participant)"
        )
        rows = await self._run(
            f"""SELECT * FROM ({newest}) one WHERE NOT :incomplete_only OR verdict <> :complete
            ORDER BY terminal_number LIMIT :size""",
            day=day,
            participant=participant,
            after=after,
            size=size,
            incomplete_only=incomplete_only,
            complete=int(Verdict.COMPLETE),
        )
        return [_kept(row) for row in rows]


def _facts(row: Any, day: date, registers: Sequence[Register], before: Mapping[tuple[str, int], Register]) -> DayFacts:
    mine = tuple(one for one in registers if one.device_number == row.device_number)
    return DayFacts(
        terminal_number=row.terminal_number,
        participant=row.participant,
        psam_number=row.psam_number,
        device_number=row.device_number,
        business_date=day,
        registers=mine,
        before=before.get((row.participant, row.device_number)) if mine else None,
        covered=of_multirange(row.covered),
        declared_void=of_multirange(row.declared_void),
        other_devices=tuple(sorted({one.device_number for one in registers} - {row.device_number})),
    )


def _kept(row: Any) -> KeptCertificate:
    return KeptCertificate(
        row.terminal_number,
        row.business_date,
        row.revision,
        row.participant,
        bytes(row.content),
        bytes(row.signature),
        bytes(row.key_id),
        row.verdict,
        row.missing_count,
        row.issue_time,
    )
