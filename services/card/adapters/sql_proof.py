"""What must hold in the registry, recomputed by set-based queries over one consistent moment."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.card.application.ports import Proof, ProofLine
from services.card.domain.load import SETTLED
from services.card.domain.states import MOVES, WITHOUT_DEPOSIT


@dataclass(frozen=True, slots=True)
class _Question:
    """One line: the query answers how many were looked at, how many are broken, and the first of those."""

    invariant: str
    statement: str
    looked_at: str
    broken: str


def _quoted(words: Iterable[str]) -> str:
    # Only words of our own enums come here.
    return ", ".join(f"'{word}'" for word in sorted(words))


_LEGAL_MOVES = ", ".join(
    f"('{verb.value}', '{before.value}', '{after.value}')"
    for verb, moves in MOVES.items()
    for before, after in moves.items()
)
_LEGAL_OUTCOMES = _quoted(f"{final.value}/{verdict.value}" for (_, verdict), final in SETTLED.items())

QUESTIONS = (
    _Question(
        "I13",
        "every card's state is where its journal of moves leads",
        "SELECT count(*) FROM card",
        """SELECT number AS thing FROM card
           FULL JOIN (SELECT DISTINCT ON (number) number, generation, state_to FROM card_move ORDER BY number, id DESC)
               AS last USING (number)
           WHERE last.state_to IS DISTINCT FROM card.state OR last.generation IS DISTINCT FROM card.generation""",
    ),
    _Question(
        "I13",
        "every move is one that the state machine knows, and begins where the move before it ended",
        "SELECT count(*) FROM card_move",
        f"""SELECT number AS thing FROM (
               SELECT number, verb, state_from, state_to, id,
                      lag(state_to, 1, 'BLANK') OVER (PARTITION BY number ORDER BY id) AS ended
               FROM card_move) AS moves
           WHERE state_from IS DISTINCT FROM ended
              OR (verb, state_from, state_to) NOT IN (VALUES {_LEGAL_MOVES})""",
    ),
    _Question(
        "I6",
        "stock levels equal the count of the cards",
        "SELECT count(*) FROM stock_level",
        """SELECT outlet || '/' || product AS thing
           FROM (SELECT outlet, product, count(*) FILTER (WHERE state = 'STOCK') AS stock_count,
                        count(*) FILTER (WHERE issue_time IS NOT NULL) AS issued_count
                 FROM card GROUP BY outlet, product) AS counted
           FULL JOIN stock_level AS kept USING (outlet, product)
           WHERE counted.stock_count IS DISTINCT FROM kept.stock_count
              OR counted.issued_count IS DISTINCT FROM kept.issued_count""",
    ),
    _Question(
        "B5",
        "a deposit is held for issued cards only, as their product asked for",
        "SELECT count(*) FROM card WHERE issue_time IS NOT NULL",
        f"""SELECT number AS thing FROM card
            LEFT JOIN product ON product.name = card.product AND product.version = card.product_version
            WHERE card.deposit_fen <> CASE WHEN issue_time IS NULL OR state IN ({_quoted(WITHOUT_DEPOSIT)}) THEN 0
                                           ELSE COALESCE(product.deposit_fen, -1) END""",
    ),
    _Question(
        "I14",
        "every load has exactly one outcome, by one evidence, or is open",
        "SELECT count(*) FROM load",
        f"""SELECT id::text AS thing FROM load
            WHERE CASE WHEN state IN ('REQUESTED', 'AUTHORISED', 'UNCERTAIN') THEN resolve_time IS NOT NULL
                       ELSE resolve_time IS NULL OR verdict IS NULL
                            OR state || '/' || verdict NOT IN ({_LEGAL_OUTCOMES})
                  END
               OR (state = 'CONFIRMED' AND (reservation = '' OR host_time IS NULL))
               OR (evidence = 'TAC' AND octet_length(tac) <> 4)""",
    ),
    _Question(
        "I14",
        "no card has two loads that nothing decides",
        "SELECT count(DISTINCT card) FROM load",
        """SELECT card AS thing FROM load
           WHERE verdict IS NULL AND state IN ('REQUESTED', 'AUTHORISED', 'UNCERTAIN')
           GROUP BY card HAVING count(*) > 1""",
    ),
    _Question(
        "I14",
        "a load that was given back was not written: the card's next answer shows the same online counter",
        "SELECT count(*) FROM load WHERE state = 'REVERSED'",
        """SELECT id::text AS thing FROM (
               SELECT id, state, online_counter,
                      lead(online_counter) OVER (PARTITION BY card, generation ORDER BY create_time, id) AS next_counter
               FROM load) AS seen
           WHERE state = 'REVERSED' AND next_counter > online_counter""",
    ),
    _Question(
        "I5",
        "only issued cards carry money: an opening balance or a load",
        "SELECT count(*) FROM card",
        """SELECT number AS thing FROM card
           WHERE issue_time IS NULL
             AND (opening_fen <> 0 OR price_fen <> 0 OR EXISTS (SELECT FROM load WHERE load.card = card.number))""",
    ),
)

_TOTALS = text(
    """
    SELECT count(*) FILTER (WHERE issue_time IS NOT NULL) AS issued_count,
           COALESCE(sum(opening_fen), 0)::bigint AS opening_balance_total_fen,
           COALESCE(sum(deposit_fen), 0)::bigint AS deposit_total_fen,
           count(*) FILTER (WHERE state = 'LOST') AS lost_count,
           (SELECT COALESCE(sum(amount_fen), 0)::bigint FROM load WHERE state = 'CONFIRMED')
               AS confirmed_load_total_fen,
           (SELECT COALESCE(sum(amount_fen), 0)::bigint FROM load WHERE state IN ('AUTHORISED', 'UNCERTAIN'))
               AS open_load_total_fen
    FROM card
    """
)


class SqlProofs:
    """`Proofs` over one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def recompute(self) -> Proof:
        """Ask every question in one snapshot: cards are issued while we count."""
        await self._connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        # The role's statement timeout is for calls at the counter.
        await self._connection.execute(text("SET LOCAL statement_timeout = 0"))
        lines = tuple([await self._line(question) for question in QUESTIONS])
        totals = (await self._connection.execute(_TOTALS)).one()
        return Proof(lines=lines, **totals._mapping)  # noqa: SLF001 (SQLAlchemy's public name)

    async def _line(self, question: _Question) -> ProofLine:
        counted = "SELECT count(*) AS broken_count, COALESCE(min(thing), '') AS first_broken FROM ({}) AS broken"
        looked_at = (await self._connection.execute(text(question.looked_at))).scalar_one()
        row = (await self._connection.execute(text(counted.format(question.broken)))).one()
        return ProofLine(question.invariant, question.statement, looked_at, row.broken_count, row.first_broken)
