"""What the other services told: cards, loads, terminals, the list, folded batches. Set-based, and idempotent by key."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.clearing.application.ports import RegistryCounts


class SqlRegistries:
    """Registries on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add_cards(
        self,
        numbers: Sequence[bytes],
        generations: Sequence[int],
        *,
        jt: bool,
        issuer_id: str,
        issued_s: int,
        start_day: int,
        expiry_day: int,
        openings_fen: Sequence[int] = (),
    ) -> None:
        """Cards that were issued; known ones are left as they are. Without openings their ledgers are not known."""
        counted = text("UPDATE counter SET next = next + 1 WHERE name = 'card_registration' RETURNING next")
        registration = (await self._connection.execute(counted)).scalar_one()
        statement = text(
            "INSERT INTO card (number, generation, jt, issuer_id, issued_s, start_day, expiry_day, opening_fen, "
            "registration) SELECT n, g, :jt, :issuer, :issued, :start, :expiry, o, :registration FROM unnest("
            "CAST(:numbers AS bytea[]), CAST(:generations AS int[]), CAST(:openings AS bigint[])) AS t(n, g, o) "
            "ORDER BY n, g ON CONFLICT DO NOTHING"
        )
        values = {
            "registration": registration,
            "numbers": list(numbers),
            "generations": list(generations),
            "openings": list(openings_fen),
            "jt": jt,
            "issuer": issuer_id,
            "issued": issued_s,
            "start": start_day,
            "expiry": expiry_day,
        }
        await self._connection.execute(statement, values)

    async def add_load(
        self, load_id: str, number: bytes, generation: int, *, jt: bool, load_s: int, amount_fen: int
    ) -> None:
        """A confirmed load."""
        statement = text(
            "INSERT INTO card_load (load_id, number, jt, generation, load_s, amount_fen) "
            "VALUES (:load, :number, :jt, :generation, :at, :amount) ON CONFLICT DO NOTHING"
        )
        values = {
            "load": load_id,
            "number": number,
            "jt": jt,
            "generation": generation,
            "at": load_s,
            "amount": amount_fen,
        }
        await self._connection.execute(statement, values)

    async def add_terminals(self, terminals: Sequence[tuple[int, str, bytes]]) -> None:
        """Terminals: number, participant, PSAM number."""
        numbers, participants, psams = (list(column) for column in zip(*terminals, strict=True))
        await self._connection.execute(
            text(
                "INSERT INTO terminal (number, participant) SELECT * FROM unnest(CAST(:numbers AS bigint[]), "
                "CAST(:participants AS text[])) ON CONFLICT DO NOTHING"
            ),
            {"numbers": numbers, "participants": participants},
        )
        await self._connection.execute(
            text("INSERT INTO psam (number) SELECT * FROM unnest(CAST(:psams AS bytea[])) ON CONFLICT DO NOTHING"),
            {"psams": psams},
        )

    async def revoke_psam(self, number: bytes, revoked_s: int) -> None:
        """From when on a PSAM is revoked; the earliest moment stands, and the order of events does not matter."""
        statement = text(
            "INSERT INTO psam (number, revoked_s) VALUES (:number, :at) ON CONFLICT (number) DO UPDATE "
            "SET revoked_s = least(psam.revoked_s, EXCLUDED.revoked_s)"
        )
        await self._connection.execute(statement, {"number": number, "at": revoked_s})

    async def list_card(self, number: bytes, generation: int, *, jt: bool, version: int, effective_s: int) -> None:
        """A card was listed by a version."""
        statement = text(
            "INSERT INTO listing (number, jt, generation, version, effective_s) "
            "VALUES (:number, :jt, :generation, :version, :at) "
            # The removal may have come first: it left a row that waits for its beginning.
            "ON CONFLICT (number, jt, generation, version) DO UPDATE SET effective_s = EXCLUDED.effective_s"
        )
        values = {"number": number, "jt": jt, "generation": generation, "version": version, "at": effective_s}
        await self._connection.execute(statement, values)
        await self._close_listings(number, generation, jt=jt)
        await self._seen(version)

    async def unlist_card(self, number: bytes, generation: int, *, jt: bool, version: int, removed_s: int) -> None:
        """A card was taken off by a version: every listing by an earlier version ends then."""
        statement = text(
            "INSERT INTO listing (number, jt, generation, version, effective_s, removed_s) "
            # A removal is a listing of no length at its own version, so that it is remembered whatever the order.
            "VALUES (:number, :jt, :generation, :version, :at, :at) ON CONFLICT DO NOTHING"
        )
        values = {"number": number, "jt": jt, "generation": generation, "version": version, "at": removed_s}
        await self._connection.execute(statement, values)
        await self._close_listings(number, generation, jt=jt)
        await self._seen(version)

    async def _close_listings(self, number: bytes, generation: int, *, jt: bool) -> None:
        """A listing ends with the first removal of a later version."""
        statement = text(
            "UPDATE listing l SET removed_s = (SELECT r.removed_s FROM listing r WHERE r.number = "
            "l.number AND r.jt = l.jt "
            "AND r.generation = l.generation AND r.version > l.version AND r.removed_s = r.effective_s "
            "ORDER BY r.version LIMIT 1) WHERE l.number = :number AND l.jt = :jt AND l.generation = :generation "
            "AND l.removed_s IS DISTINCT FROM l.effective_s"
        )
        await self._connection.execute(statement, {"number": number, "jt": jt, "generation": generation})

    async def _seen(self, version: int) -> None:
        await self._connection.execute(
            text("UPDATE list_state SET version = greatest(version, :version)"), {"version": version}
        )

    async def mark_folded(self, batch_id: UUID, at: datetime) -> None:
        """The ledger has folded a batch in."""
        statement = text("UPDATE batch SET folded_at = coalesce(folded_at, :at) WHERE id = :id")
        await self._connection.execute(statement, {"id": batch_id, "at": at})

    async def counts(self) -> RegistryCounts:
        """What clearing has heard of."""
        query = text(
            "SELECT (SELECT count(*) FROM card) AS cards, (SELECT count(*) FROM terminal) AS terminals, "
            "(SELECT version FROM list_state) AS version, (SELECT count(*) FROM file WHERE state = 1) AS files, "
            "(SELECT count(*) FROM waiting_record WHERE closed_at IS NULL AND code <> 0) AS records, "
            "(SELECT count(*) FROM batch WHERE folded_at IS NULL) AS batches"
        )
        row = (await self._connection.execute(query)).one()
        return RegistryCounts(row.cards, row.terminals, row.version, row.files, row.records, row.batches)
