"""Terminals and sign-ins in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, func, select, text, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.clock import Clock
from services.terminal_gw.adapters.tables import BLACKLIST_HEAD, PAIRING, SIGN_IN, TERMINAL
from services.terminal_gw.application.ports import SignedIn
from services.terminal_gw.domain.device import Pairing
from services.terminal_gw.domain.errors import PairingOverlaps, PsamInUse, TerminalExists, TerminalUnknown
from services.terminal_gw.domain.terminal import Terminal, TerminalSpec, check_psams

_ASKED: Final = """
    SELECT * FROM unnest(CAST(:numbers AS text[]), CAST(:psams AS text[]), CAST(:operators AS bigint[]),
        CAST(:devices AS bigint[]), CAST(:industries AS text[]))
    AS asked (terminal_number, psam_number, operator_number, device_number, industry_code)"""
# A concurrent registration of the same number or PSAM is waited for; what it leaves is then found by the two queries.
_INSERT: Final = f"""
    INSERT INTO terminal (terminal_number, psam_number, operator_number, device_number, industry_code, participant,
        register_time)
    SELECT asked.*, :participant, :at FROM ({_ASKED}) asked ORDER BY terminal_number
    ON CONFLICT DO NOTHING RETURNING terminal_number"""
_OTHER_FACTS: Final = f"""
    SELECT min(terminal_number) FROM ({_ASKED}) asked JOIN terminal USING (terminal_number)
    WHERE CAST(:participant AS text) <> terminal.participant
        OR (asked.psam_number, asked.operator_number, asked.device_number, asked.industry_code)
        <> (terminal.psam_number, terminal.operator_number, terminal.device_number, terminal.industry_code)"""
_PSAM_TAKEN: Final = f"""
    SELECT asked.psam_number, terminal.terminal_number FROM ({_ASKED}) asked JOIN terminal USING (psam_number)
    WHERE asked.terminal_number <> terminal.terminal_number ORDER BY asked.terminal_number LIMIT 1"""


_PAIR: Final = """
    INSERT INTO pairing (terminal_number, device_number, valid_from, valid_until)
    SELECT number, device, coalesce(pair_time, :at), until FROM unnest(CAST(:numbers AS text[]),
        CAST(:devices AS bigint[]), CAST(:pair_times AS timestamptz[]), CAST(:untils AS timestamptz[]))
        AS new (number, device, pair_time, until) ORDER BY number"""


class SqlTerminals:
    """The port `Terminals` on one open transaction; the clock tells which pairing has begun."""

    def __init__(self, connection: AsyncConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    async def register(self, participant: str, specs: Sequence[TerminalSpec], at: datetime) -> Sequence[Terminal]:
        """Insert those that are new, then ask whether all of them are as asked; see the port."""
        values: dict[str, Any] = {
            "numbers": [spec.terminal_number for spec in specs],
            "psams": [spec.psam_number for spec in specs],
            "operators": [spec.operator_number for spec in specs],
            "devices": [spec.device_number for spec in specs],
            "industries": [spec.industry_code for spec in specs],
            "participant": participant,
        }
        rows = await self._connection.execute(text(_INSERT), values | {"at": at})
        new = {row.terminal_number for row in rows}
        other = (await self._connection.execute(text(_OTHER_FACTS), values)).scalar_one()
        if other is not None:
            raise TerminalExists(terminal=other)
        if len(new) < len(specs):
            # Twice in the request: the insert took the first and skipped the second.
            check_psams(specs)
            taken = (await self._connection.execute(text(_PSAM_TAKEN), values)).first()
            if taken is not None:
                raise PsamInUse(psam=taken.psam_number, terminal=taken.terminal_number)
        paired = [spec for spec in specs if spec.terminal_number in new]
        for spec in paired:
            if spec.pair_until_time is not None and spec.pair_until_time <= (spec.pair_time or at):
                raise PairingOverlaps(terminal=spec.terminal_number)
        if paired:
            await self._connection.execute(
                text(_PAIR),
                {
                    "at": at,
                    "numbers": [spec.terminal_number for spec in paired],
                    "devices": [spec.device_number for spec in paired],
                    "pair_times": [spec.pair_time for spec in paired],
                    "untils": [spec.pair_until_time for spec in paired],
                },
            )
        return [Terminal(spec, participant, at) for spec in specs if spec.terminal_number in new]

    async def get(self, terminal_number: str) -> Terminal:
        """One terminal with its last sign-in."""
        return await self._one(_terminals(self._clock.now()), terminal_number)

    async def get_for_update(self, terminal_number: str) -> Terminal:
        """The same, locked."""
        return await self._one(_terminals(self._clock.now()).with_for_update(of=TERMINAL), terminal_number)

    async def _one(self, statement: Select[Any], terminal_number: str) -> Terminal:
        statement = statement.where(TERMINAL.c.terminal_number == terminal_number)
        row = (await self._connection.execute(statement)).one_or_none()
        if row is None:
            raise TerminalUnknown(terminal=terminal_number)
        return _terminal(row)

    async def save_revocation(self, terminal: Terminal) -> None:
        """Write the time of revocation."""
        statement = update(TERMINAL).where(TERMINAL.c.terminal_number == terminal.spec.terminal_number)
        await self._connection.execute(statement.values(psam_revoke_time=terminal.psam_revoke_time))

    async def list(self, participant: str | None, after: str, size: int) -> Sequence[Terminal]:
        """A page by number."""
        statement = _terminals(self._clock.now()).where(TERMINAL.c.terminal_number > after)
        if participant is not None:
            statement = statement.where(TERMINAL.c.participant == participant)
        rows = await self._connection.execute(statement.order_by(TERMINAL.c.terminal_number).limit(size))
        return [_terminal(row) for row in rows]


class SqlSignIns:
    """The port `SignIns` on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def save(self, signed_in: SignedIn) -> None:
        """Insert or overwrite."""
        values = {
            "caller": signed_in.caller,
            "sign_in_time": signed_in.at,
            "clock_ahead_ms": signed_in.clock_ahead_ms,
            "blacklist_version": signed_in.blacklist_version,
            "program_version": signed_in.program_version,
        }
        statement = insert(SIGN_IN).values(subject=signed_in.subject, **values)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=["subject"], set_=values))

    async def blacklist_version(self) -> int:
        """Newest version heard of."""
        return int((await self._connection.execute(select(BLACKLIST_HEAD.c.version))).scalar_one())

    async def raise_blacklist_version(self, version: int) -> None:
        """The larger one stays."""
        column = BLACKLIST_HEAD.c.version
        await self._connection.execute(update(BLACKLIST_HEAD).where(column < version).values(version=version))


def _terminals(at: datetime) -> Select[Any]:
    signed_in = SIGN_IN.c.subject == func.concat("terminals/", TERMINAL.c.terminal_number)
    # The newest pairing that has begun; the registered machine where there is none.
    paired = (
        select(PAIRING.c.device_number, PAIRING.c.valid_from, PAIRING.c.valid_until)
        .where(PAIRING.c.terminal_number == TERMINAL.c.terminal_number, PAIRING.c.valid_from <= at)
        .order_by(PAIRING.c.valid_from.desc())
        .limit(1)
        .lateral("paired")
    )
    columns = (paired.c.device_number.label("paired_number"), paired.c.valid_from, paired.c.valid_until)
    joined = TERMINAL.outerjoin(SIGN_IN, signed_in).outerjoin(paired, true())
    return select(TERMINAL, SIGN_IN.c.sign_in_time, *columns).select_from(joined)


def _terminal(row: Any) -> Terminal:
    spec = TerminalSpec(
        row.terminal_number,
        row.psam_number,
        row.operator_number,
        row.device_number,
        row.industry_code,
    )
    pairing = None if row.valid_from is None else Pairing(row.paired_number, row.valid_from, row.valid_until)
    return Terminal(spec, row.participant, row.register_time, row.psam_revoke_time, row.sign_in_time, pairing)
