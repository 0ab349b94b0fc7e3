"""What wallets can prove of themselves: lots against accounts, debits against journals and reservations.

Each check selects one row per thing looked at, as those of `sql_proof`.
"""

_NAME = "'wallets/' || kind || '.' || holder"

# 2: its parts are counted.
_LOTS = f"""
SELECT wallet_id AS place, coalesce(balance, 0) <> credits_fen - debits_fen OR coalesce(held, 0) <> pending_debits_fen
    OR account.wallet <> 2 AS broken,
    format('%s: lots %s, of which held %s; accounts/%s %s, of which held %s', {_NAME}, coalesce(balance, 0),
        coalesce(held, 0), account.name, credits_fen - debits_fen, pending_debits_fen) AS what
FROM wallet JOIN account USING (account_id) LEFT JOIN (
    SELECT wallet_id, sum(amount_fen - taken_fen - expired_fen) AS balance, sum(held_fen) AS held
    FROM wallet_lot GROUP BY wallet_id) AS lots USING (wallet_id)
WHERE account.wallet = 2 OR balance IS NOT NULL
"""
_TAKEN = """
SELECT lot_id AS place, taken_fen <> coalesce(taken, 0) OR held_fen <> coalesce(held, 0) AS broken,
    format('lot %s: taken %s and held %s, debits say %s and %s', lot_id, taken_fen, held_fen, coalesce(taken, 0),
        coalesce(held, 0)) AS what
FROM wallet_lot LEFT JOIN (
    SELECT lot_id, sum(amount_fen - released_fen - reversed_fen) FILTER (WHERE state <> 'HELD') AS taken,
        sum(amount_fen - released_fen - reversed_fen) FILTER (WHERE state = 'HELD') AS held
    FROM wallet_tender_lot JOIN wallet_debit USING (debit_id) GROUP BY lot_id) AS parts USING (lot_id)
"""
_PARTS = """
SELECT debit_id AS place, (tender.amount_fen, tender.released_fen, tender.reversed_fen) IS DISTINCT FROM
    (amount, released, reversed) AS broken,
    format('walletDebits/%s: tender %s is not what it took of its lots', debit_id, number) AS what
FROM wallet_tender AS tender JOIN (
    SELECT debit_id, number, sum(amount_fen) AS amount, sum(released_fen) AS released, sum(reversed_fen) AS reversed
    FROM wallet_tender_lot GROUP BY debit_id, number) AS lots USING (debit_id, number)
"""
# A wallet bears once in a debit, so its account tells which entries are its.
_POSTED = """
WITH tenders AS (
    SELECT debit_id, sum(amount_fen - released_fen) AS posted, sum(reversed_fen) AS reversed
    FROM wallet_tender GROUP BY debit_id
), entered AS (
    SELECT debit_id, sum(entry.amount_fen) AS amount
    FROM wallet_debit JOIN journal USING (journal_id) JOIN entry USING (sequence)
        JOIN wallet_tender USING (debit_id, account_id)
    WHERE side = 1 GROUP BY debit_id
), returned AS (
    SELECT debit_id, sum(entry.amount_fen) AS amount
    FROM wallet_debit JOIN journal ON journal.reference = 'walletDebits/' || debit_id AND event = 'wallet_reversal'
        JOIN entry USING (sequence) JOIN wallet_tender USING (debit_id, account_id)
    WHERE side = 2 GROUP BY debit_id
)
SELECT debit_id AS place, CASE state WHEN 'POSTED' THEN posted ELSE 0 END <> coalesce(entered.amount, 0)
    OR reversed <> coalesce(returned.amount, 0) AS broken,
    format('walletDebits/%s %s: posted %s, given back %s; entries say %s and %s', debit_id, state, posted, reversed,
        coalesce(entered.amount, 0), coalesce(returned.amount, 0)) AS what
FROM wallet_debit JOIN tenders USING (debit_id) LEFT JOIN entered USING (debit_id) LEFT JOIN returned USING (debit_id)
"""
_HELD = """
SELECT debit_id AS place, (wallet_debit.state = 'HELD') <> (coalesce(reservation.state, '') = 'PENDING')
    OR (reservation.journal_id IS NOT NULL AND reservation.journal_id IS DISTINCT FROM wallet_debit.journal_id)
    AS broken,
    format('walletDebits/%s is %s, its reservation is %s', debit_id, wallet_debit.state,
        coalesce(reservation.state, 'not there')) AS what
FROM wallet_debit LEFT JOIN reservation ON reservation_id = debit_id
"""
WALLET_CHECKS: tuple[tuple[str, str, str], ...] = (
    ("I6", "The lots of every wallet sum to the balance of its account, held ones to what it holds.", _LOTS),
    ("I6", "What was taken of every lot, and is held of it, stands in debits.", _TAKEN),
    ("I6", "Every tender is what it took of its lots.", _PARTS),
    ("I6", "Every debit of wallets, and what was given back of it, stands in the entries of its wallets.", _POSTED),
    ("I14", "A debit of wallets is held exactly as long as its reservation is pending.", _HELD),
)
