"""Rules of apportionment, shares and discounts in SQL."""

from datetime import date
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.runtime.requests import decode_answer, encode_answer
from services.clearing.domain.adjustment import Adjustment, AdjustmentKind
from services.clearing.domain.apportion import Apportioned, Discount, Rules, Share

# Versions read before, by their first day: a version is never changed, and every set asks for all of them.
_READ: dict[bytes, Rules] = {}


class SqlApportionment:
    """Apportionment on one open transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def rules(self) -> list[Rules]:
        """All versions, by first day."""
        rows = await self._connection.execute(text("SELECT body FROM apportionment_rules ORDER BY effective_on"))
        versions = []
        for row in rows:
            body = bytes(row.body)
            if body not in _READ:
                _READ[body] = decode_answer(body, Rules)
            versions.append(_READ[body])
        return versions

    async def add_rules(self, rules: Rules) -> bool:
        """Store a version; False when another begins on the same day."""
        statement = text(
            "INSERT INTO apportionment_rules VALUES (:day, :body) ON CONFLICT DO NOTHING RETURNING effective_on"
        )
        values = {"day": rules.effective_on, "body": encode_answer(rules)}
        return (await self._connection.execute(statement, values)).first() is not None

    async def window_since(self, day: date) -> tuple[str, date] | None:
        """A window on or after a day: one that rules from that day on would come too late for."""
        query = text(
            "SELECT p.id, w.settlement_date FROM settlement_window w JOIN participant p ON p.number = w.participant "
            "WHERE w.settlement_date >= :day ORDER BY w.settlement_date, p.id LIMIT 1"
        )
        row = (await self._connection.execute(query, {"day": day})).first()
        return (row.id, row.settlement_date) if row else None

    async def add(self, batch_id: UUID, made: Apportioned) -> None:
        """Store the shares and discounts of a set."""
        if made.shares:
            await self._connection.execute(
                text(
                    "INSERT INTO fare_share VALUES (:batch, :owner, :owner_day, :party, :party_day, :clause, "
                    ":operator, :industry, :line, :records, :amount)"
                ),
                [
                    {
                        "batch": batch_id, "owner": one.owner, "owner_day": one.owner_day, "party": one.party,
                        "party_day": one.party_day or one.owner_day,
                        "clause": one.clause, "operator": one.operator, "industry": one.industry, "line": one.line,
                        "records": one.record_count, "amount": one.amount_fen,
                    }
                    for one in made.shares
                ],
            )  # fmt: skip
        if made.discounts:
            await self._connection.execute(
                text(
                    "INSERT INTO discount_sum VALUES (:batch, :owner, :day, :clause, :issuer, :acquirer, :operator, "
                    ":records, :amount)"
                ),
                [
                    {
                        "batch": batch_id, "owner": one.owner, "day": one.owner_day, "clause": one.clause,
                        "issuer": one.issuer, "acquirer": one.acquirer, "operator": one.operator,
                        "records": one.record_count, "amount": one.amount_fen,
                    }
                    for one in made.discounts
                ],
            )  # fmt: skip

    async def moves(self, participant: int, day: date, issuer: str) -> list[Adjustment]:
        """What of a window's fares belongs to others, and what of theirs fell into it; sums by other party.

        Args:
            participant: Surrogate.
            day: The window.
            issuer: That stands on the line of the statement.
        """
        query = text(
            "SELECT p.id AS other, -sum(s.amount_fen) AS amount, s.owner_day AS original FROM fare_share s "
            "JOIN participant p ON p.number = s.party WHERE s.owner = :participant AND s.owner_day = :day "
            "AND s.party <> s.owner GROUP BY p.id, s.owner_day UNION ALL "
            "SELECT p.id, sum(s.amount_fen), s.owner_day FROM fare_share s JOIN participant p ON p.number = s.owner "
            "WHERE s.party = :participant AND s.party_day = :day AND s.party <> s.owner GROUP BY p.id, s.owner_day "
            "ORDER BY other, original, amount"
        )
        rows = await self._connection.execute(query, {"participant": participant, "day": day})
        return [
            Adjustment(
                participant=participant,
                kind=AdjustmentKind.APPORTIONED,
                amount_fen=int(row.amount),
                reference=f"participants/{row.other}",
                original_date=row.original,
                issuer=issuer,
            )
            for row in rows
            if row.amount
        ]

    async def discounts(self, participant: int, day: date) -> list[Discount]:
        """Discounts of a window that clauses are about, by clause and line."""
        query = text(
            "SELECT clause, issuer, acquirer, operator, sum(record_count) AS records, sum(amount_fen) AS amount "
            "FROM discount_sum WHERE owner = :participant AND owner_day = :day GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
        )
        rows = await self._connection.execute(query, {"participant": participant, "day": day})
        return [
            Discount(
                participant, day, row.clause, row.issuer, row.acquirer, row.operator, int(row.records), int(row.amount)
            )
            for row in rows
        ]

    async def shares(self, participant: str | None, day: date) -> list[tuple[str, str, Share]]:
        """Shares of a day with the ids of owner and party, by owner, operator, industry, line, party."""
        query = text(
            "SELECT o.id AS owner_id, q.id AS party_id, s.owner, s.party, s.clause, s.operator, s.industry, s.line, "
            "sum(s.record_count) AS records, sum(s.amount_fen) AS amount FROM fare_share s "
            "JOIN participant o ON o.number = s.owner JOIN participant q ON q.number = s.party "
            "WHERE s.owner_day = :day AND (CAST(:participant AS text) IS NULL OR :participant IN (o.id, q.id)) "
            "GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 6, 7, 8, 2, 5"
        )
        rows = await self._connection.execute(query, {"participant": participant, "day": day})
        return [
            (
                row.owner_id, row.party_id,
                Share(row.owner, day, row.party, row.clause, row.operator, row.industry, row.line, int(row.records),
                      int(row.amount)),
            )
            for row in rows
        ]  # fmt: skip

    async def share_sums(self) -> dict[tuple[int, date], int]:
        """All shares by owner and day, in fen."""
        query = text("SELECT owner, owner_day, sum(amount_fen) AS amount FROM fare_share GROUP BY 1, 2")
        return {(row.owner, row.owner_day): int(row.amount) for row in await self._connection.execute(query)}
