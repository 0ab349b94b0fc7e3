"""Builders with defaults: a test states only what matters."""

import hashlib
import itertools
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from libs.runtime.requests import RequestKey
from services.account.domain.batch import CreditLine, IssuedCards, Movements, PostedBatch
from services.account.domain.book import Leg, Posting
from services.account.domain.chart import Side
from services.account.domain.columns import KeyColumns
from services.account.domain.purse import PurseKey

NOON = datetime(2018, 9, 1, 4, 0, tzinfo=UTC)
NOON_S = int(NOON.timestamp())
_ids = itertools.count(1)


def an_id() -> uuid.UUID:
    return uuid.UUID(int=next(_ids) + (1 << 100))


def a_key(number: int = 1, generation: int = 1, scheme: str = "jt") -> PurseKey:
    return PurseKey("cj" if scheme == "cj" else "jt", f"3104{number:016d}", generation)


def a_request(
    request_id: uuid.UUID | None = None, content: str = "", caller: str = "citycard://service/card"
) -> RequestKey:
    digest = hashlib.sha256(content.encode()).digest()
    return RequestKey(caller, "citycard.account.v1.AccountService/Test", str(request_id or an_id()), digest)


def debit(account: str, amount_fen: int, purse: PurseKey | None = None) -> Leg:
    return Leg(account, Side.DEBIT, amount_fen, purse)


def credit(account: str, amount_fen: int, purse: PurseKey | None = None) -> Leg:
    return Leg(account, Side.CREDIT, amount_fen, purse)


def a_posting(*legs: Leg, event: str = "deposit_paid", reference: str = "tests/1", at: datetime = NOON) -> Posting:
    return Posting(event, reference, legs or (debit("1221.north", 100), credit("2202", 100)), at)


def a_load(key: PurseKey, amount_fen: int, outlet: str = "north", at: datetime = NOON) -> Posting:
    return a_posting(
        debit(f"1221.{outlet}", amount_fen),
        credit("2207", amount_fen),
        debit("2207", amount_fen),
        credit("2201", amount_fen, key),
        event="load",
        reference="loads/1",
        at=at,
    )


def issued(
    *keys: PurseKey, opening_fen: int = 0, deposit_fen: int = 0, price_fen: int = 0, outlet: str = "north"
) -> IssuedCards:
    return IssuedCards(
        KeyColumns.of(list(keys)),
        np.full(len(keys), opening_fen, dtype=np.int64),
        np.full(len(keys), deposit_fen, dtype=np.int64),
        price_fen,
        outlet,
        NOON,
    )


# Purse, counter, amount, balance before; time is NOON plus the counter in minutes.
Row = tuple[PurseKey, int, int, int]


def movements(rows: Sequence[Row]) -> Movements:
    columns = np.array([row[1:] for row in rows], dtype=np.int64).reshape(-1, 3)
    return Movements(
        KeyColumns.of([row[0] for row in rows]),
        columns[:, 0],
        columns[:, 1],
        columns[:, 2],
        NOON_S + 60 * columns[:, 0],
    )


def a_batch(*rows: Row, account: str = "2203.metro", batch_id: uuid.UUID | None = None) -> PostedBatch:
    total = sum(row[2] for row in rows)
    lines = (CreditLine(account, total),) if total else ()
    return PostedBatch(str(batch_id or an_id()), lines, total, movements(rows), NOON)
