"""Terminals as devices in PostgreSQL: sets of rows in, sets of rows out."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.terminal_gw.adapters.sql_commands import command_of_row
from services.terminal_gw.application.ports_field import Beat, Known, SignInRow
from services.terminal_gw.domain.device import (
    DeviceEvent,
    DeviceSerials,
    PackOutcome,
    PackReport,
    Pairing,
    Repair,
    Revoked,
    TerminalState,
    WorkKey,
)
from services.terminal_gw.domain.errors import RepairUnknown
from services.terminal_gw.domain.packs import Place
from services.terminal_gw.domain.serials import of_multirange
from services.terminal_gw.domain.terminal import Terminal, TerminalSpec

_COMMANDS_MAX: Final = 100
_KNOWN: Final = """
    SELECT t.*, p.device_number AS paired_number, p.valid_from, p.valid_until,
        coalesce(a.device_kind, 0) AS device_kind, coalesce(a.group_name, '') AS group_name,
        coalesce(c.covered, '{}') AS covered, coalesce(c.declared_void, '{}') AS declared_void,
        r.first AS register_first, r.last AS register_last,
        EXISTS (SELECT FROM audit_register d WHERE d.terminal_number = t.terminal_number
            AND d.business_date = :yesterday AND d.day_closed) AS day_closed,
        coalesce((SELECT max(event_seq) FROM device_event e WHERE e.terminal_number = t.terminal_number), 0)
            AS event_seq
    FROM terminal t
    LEFT JOIN pairing p ON p.terminal_number = t.terminal_number
        AND p.valid_from <= :at AND (p.valid_until IS NULL OR p.valid_until > :at)
    LEFT JOIN assignment a ON a.terminal_number = t.terminal_number
    LEFT JOIN serial_coverage c ON c.participant = t.participant AND c.kind = 1 AND c.subject = p.device_number::text
    LEFT JOIN LATERAL (SELECT min(device_seq_first) AS first, max(device_seq_last) AS last FROM audit_register g
        WHERE g.participant = t.participant AND g.device_number = p.device_number) r ON true
    WHERE t.terminal_number = ANY(:numbers)"""
_SIGN_INS: Final = """
    INSERT INTO sign_in (subject, caller, sign_in_time, clock_ahead_ms, blacklist_version, program_version)
    SELECT * FROM unnest(CAST(:subjects AS text[]), CAST(:callers AS text[]), CAST(:times AS timestamptz[]),
        CAST(:aheads AS bigint[]), CAST(:lists AS bigint[]), CAST(:programs AS text[])) ORDER BY 1
    ON CONFLICT (subject) DO UPDATE SET caller = EXCLUDED.caller, sign_in_time = EXCLUDED.sign_in_time,
        clock_ahead_ms = EXCLUDED.clock_ahead_ms, blacklist_version = EXCLUDED.blacklist_version,
        program_version = EXCLUDED.program_version"""
# What a message does not say (null) stays as it was said before.
_STATES: Final = """
    INSERT INTO terminal_state AS s (terminal_number, contact_time, clock_ahead_ms, mode, blacklist_version,
        program_version, device_seq_last, terminal_seq_last, unsent_count, oldest_unsent_time, free_count,
        last_record_time)
    SELECT number, time, coalesce(ahead, 0), coalesce(mode, 0), coalesce(list, 0), coalesce(program, ''),
        coalesce(device_seq, 0), coalesce(terminal_seq, 0), coalesce(unsent, 0), oldest, coalesce(free, -1), last_record
    FROM unnest(CAST(:numbers AS text[]), CAST(:times AS timestamptz[]), CAST(:aheads AS bigint[]),
        CAST(:modes AS smallint[]), CAST(:lists AS bigint[]), CAST(:programs AS text[]), CAST(:device_seqs AS bigint[]),
        CAST(:terminal_seqs AS bigint[]), CAST(:unsents AS bigint[]), CAST(:oldests AS timestamptz[]),
        CAST(:frees AS bigint[]), CAST(:last_records AS timestamptz[]))
        AS said (number, time, ahead, mode, list, program, device_seq, terminal_seq, unsent, oldest, free, last_record)
    ORDER BY number
    ON CONFLICT (terminal_number) DO UPDATE SET contact_time = greatest(s.contact_time, EXCLUDED.contact_time)"""
_STATES_SAID: Final = """
    UPDATE terminal_state s SET
        clock_ahead_ms = coalesce(said.ahead, s.clock_ahead_ms), mode = coalesce(said.mode, s.mode),
        blacklist_version = coalesce(said.list, s.blacklist_version),
        program_version = coalesce(said.program, s.program_version),
        device_seq_last = coalesce(said.device_seq, s.device_seq_last),
        terminal_seq_last = coalesce(said.terminal_seq, s.terminal_seq_last),
        unsent_count = coalesce(said.unsent, s.unsent_count),
        oldest_unsent_time = CASE WHEN said.unsent IS NULL THEN s.oldest_unsent_time ELSE said.oldest END,
        free_count = coalesce(said.free, s.free_count),
        last_record_time = greatest(s.last_record_time, said.last_record)
    FROM unnest(CAST(:numbers AS text[]), CAST(:aheads AS bigint[]), CAST(:modes AS smallint[]),
        CAST(:lists AS bigint[]), CAST(:programs AS text[]), CAST(:device_seqs AS bigint[]),
        CAST(:terminal_seqs AS bigint[]), CAST(:unsents AS bigint[]), CAST(:oldests AS timestamptz[]),
        CAST(:frees AS bigint[]), CAST(:last_records AS timestamptz[]))
        AS said (number, ahead, mode, list, program, device_seq, terminal_seq, unsent, oldest, free, last_record)
    WHERE s.terminal_number = said.number"""
_LISTED: Final = """
    SELECT t.terminal_number, t.participant, coalesce(a.collection_point, '') AS collection_point,
        coalesce(a.group_name, '') AS group_name, coalesce(a.device_kind, 0) AS device_kind,
        (w.beat_time IS NOT NULL AND w.beat_time >= :live_since) AS connected, s.contact_time, s.clock_ahead_ms, s.mode,
        s.blacklist_version, s.program_version, s.device_seq_last, s.terminal_seq_last, s.unsent_count,
        s.oldest_unsent_time, s.free_count, s.last_record_time
    FROM terminal t
    LEFT JOIN assignment a ON a.terminal_number = t.terminal_number
    LEFT JOIN terminal_session w ON w.terminal_number = t.terminal_number
    LEFT JOIN terminal_state s ON s.terminal_number = t.terminal_number
    WHERE t.terminal_number > :after AND (CAST(:participant AS text) IS NULL OR t.participant = :participant)
        AND (:point = '' OR a.collection_point = :point)
    ORDER BY t.terminal_number LIMIT :size"""
_PLACES: Final = """
    SELECT t.terminal_number, t.participant, coalesce(a.device_kind, 0) AS device_kind,
        coalesce(a.group_name, '') AS group_name,
        coalesce((SELECT array_agg(ARRAY[r.kind, r.version]) FROM pack_report r
            WHERE r.terminal_number = t.terminal_number AND r.outcome = 2), '{}') AS packs
    FROM terminal t LEFT JOIN assignment a ON a.terminal_number = t.terminal_number
    WHERE CAST(:participant AS text) IS NULL OR t.participant = :participant ORDER BY t.terminal_number"""
_ASSIGN: Final = """
    INSERT INTO assignment AS a (terminal_number, device_kind, group_name, collection_point)
    SELECT number, coalesce(CAST(:kind AS smallint), 0), coalesce(CAST(:group AS text), ''),
        coalesce(CAST(:point AS text), '')
    FROM unnest(CAST(:numbers AS text[])) number ORDER BY number
    ON CONFLICT (terminal_number) DO UPDATE SET device_kind = coalesce(CAST(:kind AS smallint), a.device_kind),
        group_name = coalesce(CAST(:group AS text), a.group_name),
        collection_point = coalesce(CAST(:point AS text), a.collection_point)"""


class SqlDevices:
    """The port `Devices` on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def _run(self, statement: str, **values: Any) -> Any:
        return await self._connection.execute(text(statement), values)

    async def known(self, numbers: Sequence[str], at: datetime, today: date) -> Mapping[str, Known]:
        """Three statements, however many terminals."""
        asked = list(numbers)
        rows = (await self._run(_KNOWN, numbers=asked, at=at, yesterday=today - timedelta(days=1))).all()
        commands: dict[str, list[Any]] = {}
        statement = """
            SELECT * FROM (SELECT c.*, row_number() OVER (PARTITION BY terminal_number ORDER BY id) AS place
                FROM command c WHERE state <= 3 AND expire_time > :at AND terminal_number = ANY(:numbers)) one
            WHERE place <= :most ORDER BY id"""
        for row in await self._run(statement, numbers=asked, at=at, most=_COMMANDS_MAX):
            commands.setdefault(row.terminal_number, []).append(command_of_row(row))
        keys: dict[str, list[WorkKey]] = {}
        statement = (
            "SELECT * FROM work_key WHERE terminal_number = ANY(:numbers) AND business_date = :today ORDER BY use"
        )
        for row in await self._run(statement, numbers=asked, today=today):
            keys.setdefault(row.terminal_number, []).append(_work_key(row))
        return {
            row.terminal_number: Known(
                terminal=_terminal(row),
                pairing=_pairing(row) if row.valid_from is not None else None,
                place=Place(row.terminal_number, row.participant, row.device_kind, row.group_name),
                covered=of_multirange(row.covered),
                declared_void=of_multirange(row.declared_void),
                register_first=row.register_first or 0,
                register_last=row.register_last or 0,
                day_closed=row.day_closed,
                commands=tuple(commands.get(row.terminal_number, ())),
                keys=tuple(keys.get(row.terminal_number, ())),
                event_seq=row.event_seq,
            )
            for row in rows
        }

    async def keep_sign_ins(self, rows: Sequence[SignInRow]) -> None:
        """One row a subject: of two sign-ins of one terminal in one set the later counts."""
        last = list({row.subject: row for row in rows}.values())
        await self._run(
            _SIGN_INS,
            subjects=[row.subject for row in last],
            callers=[row.caller for row in last],
            times=[row.at for row in last],
            aheads=[row.clock_ahead_ms for row in last],
            lists=[row.said.blacklist_version for row in last],
            programs=[row.said.program_version for row in last],
        )
        said = [row for row in last if row.said.terminal_number]
        await self._keep_states(
            [row.said.terminal_number for row in said],
            [row.at for row in said],
            [row.clock_ahead_ms for row in said],
            [None] * len(said),
            [row.said.blacklist_version for row in said],
            [row.said.program_version for row in said],
            [row.said.serials for row in said],
        )

    async def beat(self, beats: Sequence[Beat]) -> None:
        """One row a terminal."""
        await self._keep_states(
            [one.terminal_number for one in beats],
            [one.at for one in beats],
            [one.clock_ahead_ms for one in beats],
            [one.mode or None for one in beats],
            [one.blacklist_version or None for one in beats],
            [None] * len(beats),
            [one.serials for one in beats],
        )

    async def _keep_states(
        self,
        numbers: list[str],
        times: list[datetime],
        aheads: Sequence[int | None],
        modes: Sequence[int | None],
        lists: Sequence[int | None],
        programs: Sequence[str | None],
        serials: Sequence[DeviceSerials | None],
    ) -> None:
        if not numbers:
            return
        values = {
            "numbers": numbers,
            "aheads": list(aheads),
            "modes": list(modes),
            "lists": list(lists),
            "programs": list(programs),
            "device_seqs": [one and one.device_seq_last for one in serials],
            "terminal_seqs": [one and one.terminal_seq_last for one in serials],
            "unsents": [one and one.unsent_count for one in serials],
            "oldests": [one and one.oldest_unsent_time for one in serials],
            "frees": [one and one.free_count for one in serials],
            "last_records": [one and one.last_record_time for one in serials],
        }
        # The first statement makes what is missing and locks in order; the second says what was said.
        await self._run(_STATES, times=times, **values)
        await self._run(_STATES_SAID, **values)

    async def open_sessions(self, sessions: Sequence[tuple[str, str]], instance: str, at: datetime) -> None:
        """The newest wins, whoever had it."""
        await self._run(
            """INSERT INTO terminal_session (terminal_number, session_id, instance, open_time, beat_time)
            SELECT number, id, :instance, :at, :at FROM unnest(CAST(:numbers AS text[]), CAST(:ids AS text[]))
                AS new (number, id) ORDER BY number
            ON CONFLICT (terminal_number) DO UPDATE SET session_id = EXCLUDED.session_id,
                instance = EXCLUDED.instance, open_time = EXCLUDED.open_time, beat_time = EXCLUDED.beat_time""",
            numbers=[number for number, _ in sessions],
            ids=[session_id for _, session_id in sessions],
            instance=instance,
            at=at,
        )

    async def close_sessions(self, session_ids: Sequence[str], at: datetime) -> None:
        """Only where the row is still theirs."""
        await self._run("DELETE FROM terminal_session WHERE session_id = ANY(:ids)", ids=list(session_ids))

    async def beat_sessions(self, instance: str, at: datetime) -> None:
        """One statement for all of a process."""
        await self._run(
            "UPDATE terminal_session SET beat_time = :at WHERE instance = :instance", instance=instance, at=at
        )

    async def sessions_of(self, instance: str) -> set[str]:
        """Ids."""
        rows = await self._run("SELECT session_id FROM terminal_session WHERE instance = :instance", instance=instance)
        return {row.session_id for row in rows}

    async def lapsed(self, numbers: Sequence[str], at: datetime) -> set[str]:
        """One statement."""
        rows = await self._run(
            """SELECT terminal_number FROM terminal t WHERE terminal_number = ANY(:numbers)
                AND (psam_revoke_time <= :at OR NOT EXISTS (SELECT FROM pairing p
                    WHERE p.terminal_number = t.terminal_number AND p.valid_from <= :at
                        AND (p.valid_until IS NULL OR p.valid_until > :at)))""",
            numbers=list(numbers),
            at=at,
        )
        return {row.terminal_number for row in rows}

    async def keep_events(self, terminal_numbers: Sequence[str], events: Sequence[DeviceEvent], at: datetime) -> None:
        """What is known stays as it is."""
        if events:
            await self._run(
                """INSERT INTO device_event (terminal_number, event_seq, receive_time, code, severity, mode, body)
                SELECT number, seq, :at, code, severity, mode, body FROM unnest(CAST(:numbers AS text[]),
                    CAST(:seqs AS bigint[]), CAST(:codes AS text[]), CAST(:severities AS smallint[]),
                    CAST(:modes AS smallint[]), CAST(:bodies AS bytea[]))
                    AS new (number, seq, code, severity, mode, body) ORDER BY number, seq
                ON CONFLICT DO NOTHING""",
                at=at,
                numbers=list(terminal_numbers),
                seqs=[one.event_seq for one in events],
                codes=[one.code for one in events],
                severities=[one.severity for one in events],
                modes=[one.mode for one in events],
                bodies=[one.body for one in events],
            )

    async def keep_packs(self, reports: Sequence[tuple[str, PackReport]], at: datetime) -> None:
        """One row a terminal, kind and outcome; a version that is in force is no longer waiting or failed."""
        last = list({(number, one.kind, one.outcome): (number, one) for number, one in reports}.values())
        if not last:
            return
        values: dict[str, Any] = {
            "numbers": [number for number, _ in last],
            "kinds": [one.kind for _, one in last],
            "versions": [one.version for _, one in last],
            "outcomes": [int(one.outcome) for _, one in last],
        }
        await self._run(
            """INSERT INTO pack_report AS r (terminal_number, kind, version, outcome, since, detail, report_time)
            SELECT number, kind, version, outcome, since, detail, :at FROM unnest(CAST(:numbers AS text[]),
                CAST(:kinds AS smallint[]), CAST(:versions AS bigint[]), CAST(:outcomes AS smallint[]),
                CAST(:sinces AS timestamptz[]), CAST(:details AS text[]))
                AS new (number, kind, version, outcome, since, detail) ORDER BY number, kind, outcome
            ON CONFLICT (terminal_number, kind, outcome) DO UPDATE SET version = EXCLUDED.version,
                since = EXCLUDED.since, detail = EXCLUDED.detail, report_time = EXCLUDED.report_time""",
            at=at,
            sinces=[one.since for _, one in last],
            details=[one.detail for _, one in last],
            **values,
        )
        await self._run(
            """DELETE FROM pack_report r USING unnest(CAST(:numbers AS text[]), CAST(:kinds AS smallint[]),
                CAST(:versions AS bigint[]), CAST(:outcomes AS smallint[])) AS new (number, kind, version, outcome)
            WHERE r.terminal_number = new.number AND r.kind = new.kind AND new.outcome = 2 AND r.outcome <> 2
                AND r.version = new.version""",
            **values,
        )

    async def events(self, terminal_number: str, after: int, size: int) -> Sequence[DeviceEvent]:
        """A page."""
        rows = await self._run(
            """SELECT * FROM device_event WHERE terminal_number = :number AND event_seq > :after
            ORDER BY event_seq LIMIT :size""",
            number=terminal_number,
            after=after,
            size=size,
        )
        return [DeviceEvent(row.event_seq, row.code, row.severity, row.mode, bytes(row.body)) for row in rows]

    async def states(
        self, participant: str | None, point: str, after: str, size: int, live_since: datetime
    ) -> Sequence[TerminalState]:
        """A page, with what is in force in each."""
        values = {"participant": participant, "point": point, "after": after, "size": size, "live_since": live_since}
        rows = (await self._run(_LISTED, **values)).mappings().all()
        packs: dict[str, list[PackReport]] = {}
        numbers = [str(row["terminal_number"]) for row in rows]
        statement = "SELECT * FROM pack_report WHERE terminal_number = ANY(:numbers) ORDER BY kind, outcome DESC"
        for one in await self._run(statement, numbers=numbers):
            report = PackReport(one.kind, one.version, PackOutcome(one.outcome), one.since, one.detail)
            packs.setdefault(one.terminal_number, []).append(report)
        return [_state(number, row, packs.get(number, ())) for number, row in zip(numbers, rows, strict=True)]

    async def owners(self, numbers: Sequence[str]) -> Mapping[str, str]:
        """Participant by number."""
        rows = await self._run(
            "SELECT terminal_number, participant FROM terminal WHERE terminal_number = ANY(:numbers)",
            numbers=list(numbers),
        )
        return {row.terminal_number: row.participant for row in rows}

    async def numbers_of(self, participant: str | None, group: str, point: str) -> Sequence[str]:
        """By number."""
        rows = await self._run(
            """SELECT a.terminal_number FROM assignment a JOIN terminal t USING (terminal_number)
            WHERE (:group = '' OR a.group_name = :group) AND (:point = '' OR a.collection_point = :point)
                AND (CAST(:participant AS text) IS NULL OR t.participant = :participant) ORDER BY 1""",
            participant=participant,
            group=group,
            point=point,
        )
        return [row.terminal_number for row in rows]

    async def places(self, participant: str | None) -> Sequence[tuple[Place, Mapping[int, int]]]:
        """Every terminal."""
        rows = await self._run(_PLACES, participant=participant)
        return [
            (Place(row.terminal_number, row.participant, row.device_kind, row.group_name), dict(row.packs))
            for row in rows
        ]

    async def assign(
        self, numbers: Sequence[str], device_kind: int | None, group: str | None, point: str | None
    ) -> None:
        """One statement."""
        await self._run(_ASSIGN, numbers=list(numbers), kind=device_kind, group=group, point=point)

    async def pairings(self, terminal_number: str) -> Sequence[Pairing]:
        """Locked by the terminal's row: two that pair at once go one after the other."""
        await self._run("SELECT FROM terminal WHERE terminal_number = :number FOR UPDATE", number=terminal_number)
        rows = await self._run(
            "SELECT *, device_number AS paired_number FROM pairing WHERE terminal_number = :number ORDER BY valid_from",
            number=terminal_number,
        )
        return [_pairing(row) for row in rows]

    async def save_pairing(self, terminal_number: str, ended: Pairing | None, pairing: Pairing) -> None:
        """The end of the one before, then the new one."""
        if ended is not None:
            await self._run(
                "UPDATE pairing SET valid_until = :until WHERE terminal_number = :number AND valid_from = :start",
                until=ended.valid_until,
                number=terminal_number,
                start=ended.valid_from,
            )
        await self._run(
            "INSERT INTO pairing (terminal_number, valid_from, valid_until, device_number)"
            " VALUES (:number, :start, :until, :device)",
            number=terminal_number,
            start=pairing.valid_from,
            until=pairing.valid_until,
            device=pairing.device_number,
        )

    async def revoked(self) -> Sequence[Revoked]:
        """All of them: there are few."""
        rows = await self._run("SELECT subject, revoke_time, reason FROM revoked_certificate")
        return [Revoked(row.subject, row.revoke_time, row.reason) for row in rows]

    async def revoke(self, revoked: Revoked, revoker: str) -> Revoked:
        """The first stands."""
        await self._run(
            """INSERT INTO revoked_certificate (subject, revoke_time, reason, revoker)
            VALUES (:subject, :time, :reason, :revoker) ON CONFLICT DO NOTHING""",
            subject=revoked.subject,
            time=revoked.revoke_time,
            reason=revoked.reason,
            revoker=revoker,
        )
        row = (
            await self._run("SELECT * FROM revoked_certificate WHERE subject = :subject", subject=revoked.subject)
        ).one()
        return Revoked(row.subject, row.revoke_time, row.reason)

    async def keep_work_keys(self, rows: Sequence[tuple[str, str, WorkKey]]) -> None:
        """Those that are there stay: two sign-ins at once must not leave two keys."""
        if not rows:
            return
        await self._run(
            """INSERT INTO work_key (terminal_number, psam_number, business_date, use, wrapped, check_value, mac,
                key_label, expire_time)
            SELECT * FROM unnest(CAST(:numbers AS text[]), CAST(:psams AS text[]), CAST(:dates AS date[]),
                CAST(:uses AS smallint[]), CAST(:wrapped AS bytea[]), CAST(:checks AS bytea[]), CAST(:macs AS bytea[]),
                CAST(:labels AS text[]), CAST(:expires AS timestamptz[])) ORDER BY 1, 4 ON CONFLICT DO NOTHING""",
            numbers=[number for number, _, _ in rows],
            psams=[psam for _, psam, _ in rows],
            dates=[key.business_date for _, _, key in rows],
            uses=[key.use for _, _, key in rows],
            wrapped=[key.wrapped for _, _, key in rows],
            checks=[key.check_value for _, _, key in rows],
            macs=[key.mac for _, _, key in rows],
            labels=[key.key_label for _, _, key in rows],
            expires=[key.expire_time for _, _, key in rows],
        )

    async def work_keys(self, terminal_number: str, business_date: date) -> Sequence[WorkKey]:
        """By use."""
        rows = await self._run(
            "SELECT * FROM work_key WHERE terminal_number = :number AND business_date = :day ORDER BY use",
            number=terminal_number,
            day=business_date,
        )
        return [_work_key(row) for row in rows]

    async def open_repair(self, terminal_number: str, fault: str, opener: str, at: datetime) -> Repair:
        """A new row."""
        values = {"number": terminal_number, "fault": fault, "opener": opener, "at": at}
        statement = """INSERT INTO repair (terminal_number, fault, opener, open_time)
            VALUES (:number, :fault, :opener, :at) RETURNING *"""
        return _repair((await self._run(statement, **values)).one())

    async def close_repair(self, terminal_number: str, number: int, remedy: str, at: datetime) -> Repair:
        """The first closing stands."""
        await self._run(
            """UPDATE repair SET remedy = :remedy, close_time = :at
            WHERE id = :id AND terminal_number = :number AND close_time IS NULL""",
            remedy=remedy,
            at=at,
            id=number,
            number=terminal_number,
        )
        row = (
            await self._run(
                "SELECT * FROM repair WHERE id = :id AND terminal_number = :number", id=number, number=terminal_number
            )
        ).one_or_none()
        if row is None:
            raise RepairUnknown(repair=f"terminals/{terminal_number}/repairs/{number}")
        return _repair(row)

    async def repairs(self, participant: str | None, before: int, size: int, *, open_only: bool) -> Sequence[Repair]:
        """A page."""
        rows = await self._run(
            """SELECT r.* FROM repair r JOIN terminal t USING (terminal_number)
            WHERE r.id < :before AND (CAST(:participant AS text) IS NULL OR t.participant = :participant)
                AND (NOT :open_only OR r.close_time IS NULL) ORDER BY r.id DESC LIMIT :size""",
            participant=participant,
            before=before,
            size=size,
            open_only=open_only,
        )
        return [_repair(row) for row in rows]


def _terminal(row: Any) -> Terminal:
    number = row.device_number if row.paired_number is None else row.paired_number
    spec = TerminalSpec(row.terminal_number, row.psam_number, row.operator_number, number, row.industry_code)
    return Terminal(spec, row.participant, row.register_time, row.psam_revoke_time)


def _pairing(row: Any) -> Pairing:
    return Pairing(row.paired_number, row.valid_from, row.valid_until)


def _work_key(row: Any) -> WorkKey:
    return WorkKey(
        row.use,
        row.business_date,
        bytes(row.wrapped),
        bytes(row.check_value),
        row.expire_time,
        row.key_label,
        bytes(row.mac),
    )


def _repair(row: Any) -> Repair:
    return Repair(row.id, row.terminal_number, row.fault, row.opener, row.open_time, row.remedy, row.close_time)


def _state(number: str, row: Any, packs: Sequence[PackReport]) -> TerminalState:
    heard = row["contact_time"] is not None
    serials = DeviceSerials(
        row["device_seq_last"], row["terminal_seq_last"], row["unsent_count"], row["oldest_unsent_time"],
        row["free_count"], row["last_record_time"],
    ) if heard else DeviceSerials()  # fmt: skip
    return TerminalState(
        number,
        row["participant"],
        row["collection_point"],
        row["group_name"],
        row["device_kind"],
        row["connected"],
        row["contact_time"],
        row["clock_ahead_ms"] or 0,
        row["mode"] or 0,
        row["blacklist_version"] or 0,
        row["program_version"] or "",
        serials,
        tuple(packs),
    )
