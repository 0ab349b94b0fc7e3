"""The acceptance tests of a record, in their order, as columns (docs/domain/record-formats.md, section 4).

`judge` is a pure function: what the centre knows about the records is handed in as columns of equal length (`Known`),
one row per record, in the order in which they are taken. No Python object stands for a record, but for the few that
dispute a key with another record of the same set.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from libs.records import otr
from libs.records.codes import Kind, ResultCode

Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

UNDECIDED = 255
"""No test has spoken yet; never leaves `judge`."""
GREY_OPEN, GREY_DEBITED, GREY_NOT_DEBITED = 0, 1, 2
"""What the card's next sight says of a grey record (record-formats.md, section 4)."""
# The code of a grey record that is closed as "not debited": no TAC ever vouched for it [convention].
GREY_CLOSED_CODE = 12
NEVER_S = np.int64(2**62)
"""An instant that does not come, in epoch seconds."""

_DAY_S = 86_400
_LOCAL_OFFSET_S = 8 * 3600
_FUTURE_MAX_S = 24 * 3600
_LATE_DAYS = 10
_TOO_LATE_DAYS = 60
_TEST_CARD_TYPE = 0xFF
_SIDE_KINDS = (Kind.LOAD_JOURNAL, Kind.CARD_LOCKED, Kind.METER_READ)
_TTI_COMPLEX = 9

# Codes of records that took their keys: the card has lost the money, whoever gets it (section 3).
TAKING_CODES = (0, 20, 21, 22, 23, 24, 25, 26, 27, 28, 32)
PAID_CODES = (0, 24, 25, 26)
# Warnings about the neighbours of a record: they depend on what had arrived before it. A statement must not, and counts
# such records as accepted; the result file still tells the warning.
ORDER_DEPENDENT_CODES = (24, 25)


@dataclass(frozen=True, slots=True)
class Loads:
    """Confirmed loads of the cards of a set, sorted by card and time; columns of equal length.

    Attributes:
        card: Surrogate of the card.
        time_s: Host time, epoch seconds.
        running_fen: Sum of the amounts up to and with this row, over all rows.
    """

    card: I64
    time_s: I64
    running_fen: I64

    @classmethod
    def none(cls) -> "Loads":
        """No loads at all."""
        empty = np.zeros(0, np.int64)
        return cls(empty, empty, empty)

    def between(self, card: I64, after_s: I64, until_s: I64) -> I64:
        """Sum of loads of each card later than one instant and not later than another, in fen."""
        if not len(self.card):
            return np.zeros(len(card), np.int64)
        # Card and time in one sortable key: cards are below 2^29, seconds below 2^34.
        keys = (self.card << 34) + self.time_s
        running = np.concatenate([np.zeros(1, np.int64), self.running_fen])
        upper = np.searchsorted(keys, (card << 34) + until_s, side="right")
        lower = np.searchsorted(keys, (card << 34) + after_s, side="right")
        # A clock that ran backwards makes an empty span, not a negative one.
        return np.where(upper > lower, running[upper] - running[np.minimum(lower, upper)], 0)


@dataclass(frozen=True, slots=True)
class Known:
    """What the centre knows about each record before it is judged; all columns have one row per record.

    Attributes:
        received_s: When the file was stored durably, epoch seconds.
        participant: Surrogate of the participant that is paid; -1 when its acquirer is not the sender's to bring.
        terminal: Terminal number registered.
        psam: PSAM number registered.
        psam_revoked_s: When the PSAM was revoked; NEVER_S while it is good.
        same_taken: The same 128 bytes were taken before.
        u1_taken: A record with the same terminal number and sequence took the key before.
        own_issuer: The issuer is one of ours.
        card: Surrogate of the card in the generation that was alive at the transaction; 0 when unknown.
        generation: Generation of that card; 0 when unknown.
        start_day: First day of validity, days since 1970 in local time.
        expiry_day: Last day of validity.
        key: Key version and algorithm are registered for the issuer.
        tac: The TAC is right; looked at only where a record needs one.
        u2_taken: A record of the same card with the same counter took the key before.
        counter_highest: Highest counter taken of the card; one below the first counter when none was.
        previous: The record with the counter before this one was taken before.
        previous_after_fen: Balance of the card after that record.
        previous_s: Time of that record, epoch seconds.
        listed: A blacklist entry of the card was in force at the transaction.
        limit_fen: Amount limit of the industry in force at the transaction.
        loads: Loads of the cards.
        grey: What became of grey records: GREY_OPEN, GREY_DEBITED or GREY_NOT_DEBITED; None for first verdicts, which
            leave them open.
    """

    received_s: I64
    participant: I64
    terminal: Bools
    psam: Bools
    psam_revoked_s: I64
    same_taken: Bools
    u1_taken: Bools
    own_issuer: Bools
    card: I64
    generation: I64
    start_day: I64
    expiry_day: I64
    key: Bools
    tac: Bools
    u2_taken: Bools
    counter_highest: I64
    previous: Bools
    previous_after_fen: I64
    previous_s: I64
    listed: Bools
    limit_fen: I64
    loads: Loads
    grey: U8 | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdicts on a set.

    Attributes:
        codes: (n,) result code of each record.
        takes: (n,) whether the record took its keys with this verdict.
        waits: (n,) whether it is kept to be decided later or for its content: pending codes and kinds without posting.
    """

    codes: U8
    takes: Bools
    waits: Bools


def needs_tac(records: otr.Records) -> Bools:
    """Which records are judged by a TAC: kinds 01-04 and 06, and 09 with TTI 09."""
    kind = records["kind"]
    plain = (kind >= Kind.PURCHASE) & (kind <= Kind.CORRECTION)
    with_pass = (kind == Kind.PASS_USED) & (records["tti"] == _TTI_COMPLEX)
    needed: Bools = plain | (kind == Kind.REFUND_DEBIT) | with_pass
    return needed


def judge(
    records: otr.Records, digests: npt.NDArray[np.void], times_s: I64, known: Known, *, production: bool,
    malformed: Bools | None = None,
) -> Judgement:  # fmt: skip
    """Give every record its result code; the first test that fails decides.

    Args:
        records: (n,) OTR, in the order in which they are taken.
        digests: (n,) `V16` digest of the 128 bytes of each.
        times_s: (n,) transaction time, epoch seconds; nonsense where the format is wrong.
        known: What the centre knows.
        production: Refuse test records and test cards.
        malformed: (n,) what acceptance test 1 said, if it was asked before.
    """
    count = len(records)
    codes = np.full(count, UNDECIDED, np.uint8)

    def refuse(mask: Bools, code: ResultCode) -> None:
        codes[mask & (codes == UNDECIDED)] = code

    kind = records["kind"]
    refuse(otr.check_format(records) != otr.FormatFault.NONE if malformed is None else malformed, ResultCode.FORMAT)
    if production:
        test = (records["flags"] & otr.Flag.TEST).astype(np.bool_) | (records["card_main_type"] == _TEST_CARD_TYPE)
        refuse(test, ResultCode.TEST_RECORD)
    refuse(known.participant < 0, ResultCode.ACQUIRER_UNKNOWN)
    # A meter read belongs to no card and no module (section 1): in the place of the PSAM stands the meter.
    cardless = kind == Kind.METER_READ
    refuse(~(known.terminal & (known.psam | cardless)), ResultCode.TERMINAL_UNKNOWN)
    refuse(known.same_taken, ResultCode.DUPLICATE)
    # A repetition within the set is judged by what became of the first: set aside here, answered at the end.
    repeats, first = _repetitions(digests, codes == UNDECIDED)
    codes[repeats] = ResultCode.DUPLICATE
    refuse(~known.own_issuer & ~cardless, ResultCode.PENDING)
    refuse((known.card == 0) & ~cardless, ResultCode.CARD_UNKNOWN)
    grey = kind == Kind.GREY
    refuse(grey & known.u1_taken, ResultCode.DUPLICATE)
    decided = np.zeros(count, np.uint8) if known.grey is None else known.grey
    refuse(grey & (decided == GREY_NOT_DEBITED), ResultCode(GREY_CLOSED_CODE))
    # A grey record counts only because a later record with a right TAC continues it: it needs none of its own.
    debited = grey & (decided == GREY_DEBITED)
    refuse(grey & ~debited, ResultCode.PENDING)
    tac_needed = needs_tac(records)
    side = np.isin(kind, _SIDE_KINDS) | ((kind == Kind.PASS_USED) & ~tac_needed)
    refuse(side, ResultCode.ACCEPTED)
    refuse(~known.key & ~debited, ResultCode.KEY_UNKNOWN)
    refuse(~known.tac & ~debited, ResultCode.TAC_WRONG)
    refuse(known.u1_taken | known.u2_taken, ResultCode.CONFLICT)
    takes = _take_keys(records, known.card, codes == UNDECIDED)
    codes[(codes == UNDECIDED) & ~takes] = ResultCode.CONFLICT
    _judge_takers(records, times_s, known, codes, np.flatnonzero(takes))
    if repeats.any():
        # The bytes are the same, so is the verdict, unless the first took the keys or was kept.
        answered = np.isin(codes[first], (ResultCode.CARD_UNKNOWN, ResultCode.TAC_WRONG, ResultCode.KEY_UNKNOWN,
                                          ResultCode.CONFLICT, ResultCode.PENDING))  # fmt: skip
        codes[repeats] = np.where(answered, codes[first], ResultCode.DUPLICATE)[repeats]
    pending = np.isin(codes, (ResultCode.CONFLICT, ResultCode.CARD_UNKNOWN, ResultCode.KEY_UNKNOWN,
                              ResultCode.TERMINAL_UNKNOWN, ResultCode.PENDING))  # fmt: skip
    waits = (pending | (side & (codes == ResultCode.ACCEPTED))) & ~repeats
    return Judgement(codes, takes, waits)


def rows_of(records: otr.Records, rows: npt.NDArray[np.intp]) -> otr.Records:
    """`records[rows]`, copied as bytes: NumPy would go through every field of every record, twenty times slower."""
    picked: otr.Records = otr.raw(records)[rows].view(otr.OTR)[:, 0]
    return picked


def decide_grey(
    balance_fen: I64, amount_fen: I64, *, counter_taken: Bools, following: Bools, following_before_fen: I64,
    loaded_fen: I64,
) -> U8:  # fmt: skip
    """What became of grey records, by the card's later records, all of which carry a right TAC (section 4, b and c).

    Args:
        balance_fen: (n,) balance before the grey record, as the card said.
        amount_fen: (n,) amount asked.
        counter_taken: (n,) another record of the card used the counter of the grey one: it cannot have debited.
        following: (n,) the record with the next counter is there.
        following_before_fen: (n,) the balance before that one.
        loaded_fen: (n,) loads of the card between the two.
    """
    debited = following & (following_before_fen == balance_fen - amount_fen + loaded_fen)
    # A balance that fits neither way waits for the 30 days: something else of this card is missing too.
    return np.select([counter_taken, debited], [GREY_NOT_DEBITED, GREY_DEBITED], default=GREY_OPEN).astype(np.uint8)


def _repetitions(digests: npt.NDArray[np.void], open_rows: Bools) -> tuple[Bools, npt.NDArray[np.intp]]:
    """Which open rows repeat the bytes of an earlier open row, and the row they repeat."""
    rows = np.flatnonzero(open_rows)
    first = np.arange(len(digests))
    repeats = np.zeros(len(digests), np.bool_)
    # Half a digest finds who may be alike; whole ones are compared only among those.
    halves = np.ascontiguousarray(digests).view(np.uint64)[::2]
    rows = rows[_shared(halves[rows])]
    if len(rows):
        _, where, inverse = np.unique(digests[rows], return_index=True, return_inverse=True)
        first[rows] = rows[where[inverse]]
        repeats[rows] = first[rows] != rows
    return repeats, first


def _take_keys(records: otr.Records, card: I64, candidates: Bools) -> Bools:
    """Who takes U1 (terminal, seq) and U2 (card, counter) when several records of the set want the same.

    Only a record that gets both takes either. Disputes are rare and judged one by one, in order; all others at once.
    """
    rows = np.flatnonzero(candidates)
    takes = candidates.copy()
    if not len(rows):
        return takes
    # 72 bits folded into 64: two keys that fall together are looked at one by one below, by their bytes.
    folded = (otr.terminal_numbers(records) << np.uint64(32)) + records["terminal_seq"]
    u2 = (card[rows] << 16) | records["card_counter"][rows].astype(np.int64)
    disputed = np.flatnonzero(_shared(folded[rows]) | _shared(u2))
    u1 = otr.terminal_keys(rows_of(records, rows[disputed]))
    taken_u1: set[bytes] = set()
    taken_u2: set[int] = set()
    for key1, place in zip(u1.tolist(), disputed.tolist(), strict=True):
        key2 = int(u2[place])
        if key1 in taken_u1 or key2 in taken_u2:
            takes[rows[place]] = False
        else:
            taken_u1.add(key1)
            taken_u2.add(key2)
    return takes


def _shared(keys: npt.NDArray[np.generic]) -> Bools:
    """Which keys occur more than once."""
    ordered = np.sort(keys)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    shared: Bools = np.isin(keys, twice) if len(twice) else np.zeros(len(keys), np.bool_)
    return shared


def _judge_takers(records: otr.Records, times_s: I64, known: Known, codes: U8, rows: npt.NDArray[np.intp]) -> None:
    """Tests 10 to 19, for records that have taken their keys."""
    if not len(rows):
        return
    time_s, received_s = times_s[rows], known.received_s[rows]
    transaction_day = (time_s + _LOCAL_OFFSET_S) // _DAY_S
    age = (received_s + _LOCAL_OFFSET_S) // _DAY_S - transaction_day
    amount = records["amount_fen"][rows].astype(np.int64)
    highest, continues = _sequence(records, times_s, known, rows)
    counter = records["card_counter"][rows].astype(np.int64)
    verdict = np.select(
        [
            time_s > received_s + _FUTURE_MAX_S,
            known.psam_revoked_s[rows] <= time_s,
            age > _TOO_LATE_DAYS,
            transaction_day < known.start_day[rows],
            transaction_day > known.expiry_day[rows],
            known.listed[rows],
            amount > known.limit_fen[rows],
            age > _LATE_DAYS,
            counter > highest + 1,
            ~continues,
        ],
        [
            ResultCode.IN_FUTURE,
            ResultCode.PSAM_REVOKED,
            ResultCode.TOO_LATE,
            ResultCode.CARD_NOT_ENABLED,
            ResultCode.CARD_EXPIRED,
            ResultCode.BLACKLISTED,
            ResultCode.OVER_LIMIT,
            ResultCode.ACCEPTED_LATE,
            ResultCode.ACCEPTED_COUNTER_GAP,
            ResultCode.ACCEPTED_BALANCE_JUMP,
        ],
        default=ResultCode.ACCEPTED,
    )
    codes[rows] = verdict.astype(np.uint8)


def _sequence(records: otr.Records, times_s: I64, known: Known, rows: npt.NDArray[np.intp]) -> tuple[I64, Bools]:
    """For each taker: the highest counter taken of its card before it, and whether its balance continues.

    Takers earlier in the set count like those of the database.
    """
    card = known.card[rows]
    counter = records["card_counter"][rows].astype(np.int64)
    balance = records["balance_before_fen"][rows].astype(np.int64)
    amount = records["amount_fen"][rows].astype(np.int64)
    count = len(rows)
    # Highest before: a running maximum within the rows of one card, in the order of taking.
    order = np.lexsort((np.arange(count), card))
    group_start = np.concatenate([[True], card[order][1:] != card[order][:-1]])
    group = np.cumsum(group_start) - 1
    running = np.maximum.accumulate((group << 20) + counter[order]) - (group << 20)
    before = np.concatenate([[-1], running[:-1]])
    before[group_start] = -1
    highest = known.counter_highest[rows].copy()
    highest[order] = np.maximum(highest[order], before)
    # Predecessor: of the database, or an earlier taker of the set.
    previous = known.previous[rows].copy()
    after_fen = known.previous_after_fen[rows].copy()
    previous_s = known.previous_s[rows].copy()
    key = (card << 17) | (counter + 1)
    by_key = np.argsort(key)
    place = np.searchsorted(key[by_key], key - 1)
    found = by_key[np.minimum(place, count - 1)]
    in_set = (key[found] == key - 1) & (found < np.arange(count)) & (counter > 0)
    previous |= in_set
    after_fen[in_set] = (balance - amount)[found[in_set]]
    previous_s[in_set] = times_s[rows][found[in_set]]
    loaded = np.zeros(count, np.int64)
    # Loads explain a rise; they are looked up only where something is to be explained.
    odd = previous & (balance != after_fen)
    if odd.any():
        loaded[odd] = known.loads.between(card[odd], previous_s[odd], times_s[rows][odd])
    return highest, ~previous | (balance == after_fen + loaded)
