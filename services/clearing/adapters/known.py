"""What the centre knows of a set of records, before it is judged: a few questions, each about distinct keys.

A record that is new is told from one that was taken by what its terminal sent last and what its card did last: both are
one step into an index per terminal and per card, not per record. Only rows at or below those marks are looked up.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.records import otr
from libs.records.codes import Kind
from libs.runtime.database import driver_connection
from services.clearing.adapters.cards import Cards, catch_up
from services.clearing.adapters.pgcolumns import array, fetch_columns
from services.clearing.adapters.remembered import CardMemory
from services.clearing.domain.judgement import GREY_OPEN, I64, NEVER_S, U8, Bools, Known, Loads, decide_grey, needs_tac
from services.clearing.domain.participant import Participant

_ALL_INDUSTRIES = -1
_NEVER = int(NEVER_S)
# Reading a row too many costs a tenth of stepping into the index anew.
_STRETCH_HOLE_MAX = 16
_Driver = psycopg.AsyncConnection[Any]


async def look_up(
    connection: AsyncConnection,
    records: otr.Records,
    digests: npt.NDArray[np.void],
    times_s: I64,
    received_s: I64,
    senders: Sequence[Participant],
    sender_of: I64,
    *,
    first: bool,
    memory: CardMemory | None = None,
) -> tuple[Known, "Cards"]:
    """All columns of `Known` but `tac`, which is arithmetic, and the cards; arguments as of `Postings.look_up`.

    Args:
        memory: Cards that this process knows; None asks the database about every one.
    """
    driver = await driver_connection(connection)
    terminals = otr.terminal_numbers(records).astype(np.int64)
    terminal, psam, revoked_s, u1_taken, same_taken = await _devices(driver, records, terminals, digests)
    # A repetition is answered as such, whoever its card is (test 5): nothing more is asked about it.
    rows = np.flatnonzero(~same_taken)
    jt = records["card_class"] == 0x07
    if memory is not None:
        await catch_up(driver, memory)
    cards = await Cards.load(driver, records, rows, jt, times_s, memory)
    lives = cards.lives
    card = lives["id"].astype(np.int64)[cards.life]
    counter = records["card_counter"].astype(np.int64)
    last = lives["last_counter"].astype(np.int64)[cards.life]
    highest = np.where(last >= 0, last, lives["counter_first"].astype(np.int64)[cards.life] - 1)
    u2_taken, previous, after_fen, previous_s = await _sequence(driver, card, counter, last)
    follows = (card > 0) & (last >= 0) & (counter == last + 1)
    previous |= follows
    after_fen = np.where(follows, lives["last_after_fen"].astype(np.int64)[cards.life], after_fen)
    previous_s = np.where(follows, lives["last_s"].astype(np.int64)[cards.life], previous_s)
    registered = await connection.execute(text("SELECT issuer_id, key_version, algorithm_id FROM issuer_key"))
    own, key = _issuers(records, {(row.issuer_id, row.key_version, row.algorithm_id) for row in registered})
    generation = lives["generation"].astype(np.int64)[cards.life]
    odd = _odd(records, card, counter, previous, after_fen)
    grey = np.flatnonzero((records["kind"] == Kind.GREY) & (card > 0) & ~u1_taken) if not first else rows[:0]
    odd[grey] = True
    loads = await _loads(driver, cards, odd)
    known = Known(
        received_s=received_s,
        participant=await _participants(connection, records, senders, sender_of),
        terminal=terminal,
        psam=psam,
        psam_revoked_s=revoked_s,
        same_taken=same_taken,
        u1_taken=u1_taken,
        own_issuer=own,
        card=card,
        generation=generation,
        start_day=lives["start_day"].astype(np.int64)[cards.life],
        expiry_day=lives["expiry_day"].astype(np.int64)[cards.life],
        key=key,
        tac=np.zeros(len(records), np.bool_),
        u2_taken=u2_taken,
        counter_highest=highest,
        previous=previous,
        previous_after_fen=after_fen,
        previous_s=previous_s,
        listed=await _listed(driver, cards, times_s),
        limit_fen=await _limits(connection, records["industry"], times_s),
        loads=loads,
        grey=None if first else await _grey(driver, records, times_s, card, u2_taken, loads, grey),
    )
    return known, cards


async def _devices(
    driver: _Driver, records: otr.Records, terminals: I64, digests: npt.NDArray[np.void]
) -> tuple[Bools, Bools, I64, Bools, Bools]:
    """Terminal known, PSAM known, its revocation, U1 taken, the same bytes taken."""
    count = len(records)
    numbers, terminal_of = np.unique(terminals, return_inverse=True)
    query = (
        "SELECT s.place::int4, t.number IS NOT NULL, coalesce(h.seq, -1) FROM unnest(%s) WITH ORDINALITY "
        "AS s (number, place) LEFT JOIN terminal t ON t.number = s.number LEFT JOIN LATERAL (SELECT r.terminal_seq "
        "AS seq FROM record r WHERE r.terminal_number = s.number ORDER BY r.terminal_seq DESC LIMIT 1) h ON true"
    )
    found = await fetch_columns(
        driver, query, (("place", "int4"), ("known", "bool"), ("seq", "int8")), (array("int8", numbers),)
    )
    known, highest = np.zeros(len(numbers), np.bool_), np.zeros(len(numbers), np.int64)
    known[found["place"] - 1], highest[found["place"] - 1] = found["known"], found["seq"]
    psams, psam_of = np.unique(np.ascontiguousarray(records["psam_number"]).view("V10")[:, 0], return_inverse=True)
    registered, revoked_s = np.zeros(len(psams), np.bool_), np.full(len(psams), _NEVER, np.int64)
    query = (
        f"SELECT s.place::int4, coalesce(p.revoked_s, {_NEVER})::int8 FROM unnest(%s) WITH ORDINALITY AS s (number, "
        "place) JOIN psam p ON p.number = s.number"
    )
    rows = await fetch_columns(driver, query, (("place", "int4"), ("revoked_s", "int8")), (array("bytes10", psams),))
    registered[rows["place"] - 1], revoked_s[rows["place"] - 1] = True, rows["revoked_s"]
    u1_taken, same = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    seqs = records["terminal_seq"].astype(np.int64)
    old = np.flatnonzero(seqs <= highest[terminal_of])
    if len(old):
        await _taken(driver, numbers, terminal_of, seqs, digests, old, u1_taken, same)
    # Kinds that post nothing take no key, but their bytes are known all the same.
    side = np.flatnonzero(~needs_tac(records))
    if len(side):
        query = (
            "SELECT s.row FROM unnest(%s, %s) AS s (row, digest) JOIN waiting_record w ON w.digest = s.digest "
            "AND w.code = 0"
        )
        kept = await fetch_columns(
            driver, query, (("row", "int4"),), (array("int4", side), array("bytes16", digests[side]))
        )
        same[kept["row"]] = True
    return known[terminal_of], registered[psam_of], revoked_s[psam_of], u1_taken, same


async def _taken(
    driver: _Driver, numbers: I64, terminal_of: npt.NDArray[np.intp], seqs: I64, digests: npt.NDArray[np.void],
    old: npt.NDArray[np.intp], u1_taken: Bools, same: Bools,
) -> None:  # fmt: skip
    """Fill in, for rows that do not lie above their terminal's mark, whether their key was taken, and by their bytes.

    A file that comes again brings a stretch of each terminal's numbers: one walk through the index finds them all.
    Where the wanted numbers lie far apart, the walk is broken off into pieces.
    """
    # In the order of the index.
    old = old[np.lexsort((seqs[old], terminal_of[old]))]
    place, seq = terminal_of[old].astype(np.int64), seqs[old]
    begins = np.ones(len(old), np.bool_)
    begins[1:] = (place[1:] != place[:-1]) | (seq[1:] - seq[:-1] > _STRETCH_HOLE_MAX)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(old)) - 1
    query = (
        "SELECT s.place::int4, r.terminal_seq, r.digest FROM unnest(%s, %s, %s, %s) AS s (place, terminal, low, high) "
        # The limit is never reached: it keeps the walk a walk, whatever the statistics make the planner believe.
        "CROSS JOIN LATERAL (SELECT terminal_seq, digest FROM record WHERE terminal_number = s.terminal AND "
        "terminal_seq BETWEEN s.low AND s.high ORDER BY terminal_seq LIMIT s.high - s.low + 1) r"
    )
    stretches = (array("int4", place[first]), array("int8", numbers[place[first]]), array("int8", seq[first]),
                 array("int8", seq[last]))  # fmt: skip
    shape = (("place", "int4"), ("seq", "int8"), ("digest", "bytes16"))
    found = await fetch_columns(driver, query, shape, stretches)
    if not len(found):
        return
    # Below 2^20 terminals in a set and 2^32 numbers of each: one sortable key.
    keys = (found["place"].astype(np.int64) << 32) + found["seq"].astype(np.int64)
    wanted = (place << 32) + seq
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    hit = keys[at] == wanted
    u1_taken[old[hit]] = True
    same[old[hit]] = digests[old[hit]] == found["digest"][at[hit]]


async def _sequence(driver: _Driver, card: I64, counter: I64, last: I64) -> tuple[Bools, Bools, I64, I64]:
    """Counter taken; record before it known, balance after that one and its time: of rows not above the last taken."""
    count = len(card)
    taken, previous = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    after_fen, previous_s = np.zeros(count, np.int64), np.zeros(count, np.int64)
    old = np.flatnonzero((card > 0) & (counter <= last))
    if not len(old):
        return taken, previous, after_fen, previous_s
    query = (
        "SELECT s.row, r.counter = s.counter, r.after_fen, r.at_s FROM unnest(%s, %s, %s) AS s (row, card, counter) "
        "CROSS JOIN LATERAL (SELECT card_counter AS counter, balance_before_fen - amount_fen AS after_fen, "
        "transaction_s AS at_s FROM record WHERE card_id = s.card AND card_counter BETWEEN s.counter - 1 AND s.counter "
        "LIMIT 2) r"
    )
    shape = (("row", "int4"), ("same", "bool"), ("after_fen", "int8"), ("time_s", "int8"))
    keys = (array("int4", old), array("int8", card[old]), array("int4", counter[old]))
    found = await fetch_columns(driver, query, shape, keys)
    taken[found["row"][found["same"]]] = True
    before = found[~found["same"]]
    previous[before["row"]] = True
    after_fen[before["row"]] = before["after_fen"]
    previous_s[before["row"]] = before["time_s"]
    return taken, previous, after_fen, previous_s


def _odd(records: otr.Records, card: I64, counter: I64, previous: Bools, after_fen: I64) -> Bools:
    """Rows of cards whose balances do not simply go on: only there may a load explain something.

    Wide on purpose: two rows of one counter count as odd, because which of them is taken is not known yet.
    """
    balance = records["balance_before_fen"].astype(np.int64)
    odd: Bools = previous & (balance != after_fen)
    order = np.lexsort((counter, card))
    step = np.diff(counter[order])
    same_card = np.diff(card[order]) == 0
    after = (balance - records["amount_fen"].astype(np.int64))[order]
    jumps = same_card & ((step == 0) | ((step == 1) & (balance[order][1:] != after[:-1])))
    odd[order[1:][jumps]] = True
    odd &= card > 0
    return odd


async def _grey(
    driver: _Driver, records: otr.Records, times_s: I64, card: I64, u2_taken: Bools, loads: Loads,
    rows: npt.NDArray[np.intp],
) -> U8:  # fmt: skip
    """What the records with the next counters say of grey ones."""
    grey = np.full(len(records), GREY_OPEN, np.uint8)
    if not len(rows):
        return grey
    counter = records["card_counter"].astype(np.int64)[rows]
    query = (
        "SELECT s.row, r.balance_before_fen, r.transaction_s FROM unnest(%s, %s, %s) AS s (row, card, counter) "
        "JOIN record r ON r.card_id = s.card AND r.card_counter = s.counter"
    )
    keys = (array("int4", np.arange(len(rows))), array("int8", card[rows]), array("int4", counter + 1))
    found = await fetch_columns(driver, query, (("row", "int4"), ("before_fen", "int8"), ("at_s", "int8")), keys)
    following, before_fen = np.zeros(len(rows), np.bool_), np.zeros(len(rows), np.int64)
    at_s = times_s[rows].copy()
    following[found["row"]], before_fen[found["row"]], at_s[found["row"]] = True, found["before_fen"], found["at_s"]
    grey[rows] = decide_grey(
        records["balance_before_fen"].astype(np.int64)[rows],
        records["amount_fen"].astype(np.int64)[rows],
        counter_taken=u2_taken[rows],
        following=following,
        following_before_fen=before_fen,
        loaded_fen=loads.between(card[rows], times_s[rows], at_s),
    )
    return grey


async def _listed(driver: _Driver, cards: Cards, times_s: I64) -> Bools:
    listed = np.zeros(len(times_s), np.bool_)
    if not len(cards.numbers):
        return listed
    query = (
        f"SELECT s.place::int4 - 1, l.jt, l.generation, l.effective_s, coalesce(l.removed_s, {_NEVER})::int8 "
        "FROM unnest(%s) WITH ORDINALITY AS s (number, place) JOIN listing l ON l.number = s.number"
    )
    shape = (("place", "int4"), ("jt", "bool"), ("generation", "int4"), ("effective_s", "int8"), ("removed_s", "int8"))
    found = await fetch_columns(driver, query, shape, (array("bytes10", cards.numbers),))
    if not len(found):
        return listed
    place, jt = cards.places(), cards.lives["jt"][cards.life]
    generation = cards.lives["generation"][cards.life]
    # Few cards of a set are on the list: one pass over the columns for each.
    for entry in found:
        of_card = (place == entry["place"]) & (jt == entry["jt"]) & (generation == entry["generation"])
        listed |= of_card & (times_s >= entry["effective_s"]) & (times_s < entry["removed_s"])
    return listed


async def _loads(driver: _Driver, cards: Cards, odd: Bools) -> Loads:
    lives = cards.lives[np.unique(cards.life[odd])]
    if not len(lives):
        return Loads.none()
    query = (
        "SELECT s.row, l.load_s, l.amount_fen FROM unnest(%s, %s, %s, %s) AS s (row, number, jt, generation) "
        "JOIN card_load l ON l.number = s.number AND l.jt = (s.jt = 1) AND l.generation = s.generation"
    )
    keys = (
        array("int4", np.arange(len(lives))), array("bytes10", cards.numbers[lives["place"]]),
        array("int4", lives["jt"].astype(np.int32)), array("int4", lives["generation"]),
    )  # fmt: skip
    rows = await fetch_columns(driver, query, (("row", "int4"), ("load_s", "int8"), ("amount_fen", "int8")), keys)
    if not len(rows):
        return Loads.none()
    owners = lives["id"].astype(np.int64)[rows["row"]]
    times, amounts = rows["load_s"].astype(np.int64), rows["amount_fen"].astype(np.int64)
    order = np.lexsort((times, owners))
    return Loads(owners[order], times[order], np.cumsum(amounts[order]))


def _issuers(records: otr.Records, keys: set[tuple[str, int, int]]) -> tuple[Bools, Bools]:
    """Whether the issuer is ours, and whether the key version and algorithm are registered for it."""
    # Whole numbers, not byte strings: sorting those is ten times faster.
    packed = np.ascontiguousarray(records["issuer"]).view(">u8")[:, 0]
    issuers, issuer = np.unique(packed, return_inverse=True)
    pairs, pair = np.unique(records["key_version"].astype(np.uint16) << 8 | records["algorithm"], return_inverse=True)
    names = [int(one).to_bytes(8, "big").hex().upper() for one in issuers]
    own_ids = {name for name, _, _ in keys}
    own = np.array([name in own_ids for name in names], np.bool_)
    known = np.array([[(name, *divmod(int(one), 256)) in keys for one in pairs] for name in names], np.bool_)
    return own[issuer], known[issuer, pair]


async def _participants(
    connection: AsyncConnection, records: otr.Records, senders: Sequence[Participant], sender_of: I64
) -> I64:
    """Who is paid: by acquirer and operator, where the sender may bring the acquirer's records; else -1."""
    exact: dict[tuple[str, int], int] = {}
    for row in await connection.execute(text("SELECT number, institution_id, operator_number FROM participant")):
        exact[row.institution_id, row.operator_number] = row.number
    acquirers = np.ascontiguousarray(records["acquirer"]).view(">u8")[:, 0].astype(np.uint64)
    order = np.lexsort((records["operator"], acquirers, sender_of))
    operators = records["operator"].astype(np.int64)
    begins = np.ones(len(records), np.bool_)
    for column in (acquirers, operators, sender_of):
        begins[1:] &= column[order][1:] == column[order][:-1]
    begins[1:] = ~begins[1:]
    answers = np.full(int(begins.sum()), -1, np.int64)
    for place, row in enumerate(order[begins].tolist()):
        acquirer = int(acquirers[row]).to_bytes(8, "big").hex().upper()
        sender = senders[int(sender_of[row])]
        if acquirer == sender.institution_id or acquirer in sender.served:
            # Operator 0 stands for all operators of its institution that are no participants themselves.
            whole = exact.get((acquirer, 0), -1)
            answers[place] = exact.get((acquirer, int(operators[row])), whole)
    participant = np.empty(len(records), np.int64)
    participant[order] = answers[np.cumsum(begins) - 1]
    return participant


async def _limits(connection: AsyncConnection, industries: npt.NDArray[Any], times_s: I64) -> I64:
    limits = np.full(len(industries), np.iinfo(np.int64).max, np.int64)
    query = text(
        "SELECT industry, extract(epoch FROM effective_at)::bigint AS effective_s, amount_limit_fen "
        "FROM industry_limit ORDER BY (industry <> -1), industry, effective_at"
    )
    # General limits come first and are overruled; of one industry the last that was in force counts.
    for row in await connection.execute(query):
        of_industry = np.full(len(industries), True) if row.industry == _ALL_INDUSTRIES else industries == row.industry
        limits[of_industry & (times_s >= row.effective_s)] = row.amount_limit_fen
    return limits
