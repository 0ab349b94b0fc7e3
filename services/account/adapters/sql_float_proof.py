"""What of the proof concerns closed days of the float; `sql_proof` runs it."""

# The three sums by the purses, as they were counted, and by the entries of the card float, which are another witness.
_DAYS = """
SELECT float_day.day AS place, (float_day.issued_fen, float_day.used_fen, float_day.refunded_fen, balance_fen)
        IS DISTINCT FROM (coalesce(counted.issued_fen, 0), coalesce(counted.used_fen, 0),
            coalesce(counted.refunded_fen, 0), coalesce(counted.liability_fen, 0))
    OR float_day.issued_fen - float_day.used_fen - float_day.refunded_fen <> balance_fen AS broken,
    format('%s: purses %s - %s - %s = %s, book %s - %s - %s = %s fen', float_day.day, counted.issued_fen,
        counted.used_fen, counted.refunded_fen, counted.liability_fen, float_day.issued_fen, float_day.used_fen,
        float_day.refunded_fen, balance_fen) AS what
FROM float_day LEFT JOIN float_book ON float_book.day = float_day.day AND chart_number = :float
LEFT JOIN (SELECT day, sum(issued_fen) AS issued_fen, sum(used_fen) AS used_fen, sum(refunded_fen) AS refunded_fen,
    sum(liability_fen) AS liability_fen FROM float_line GROUP BY day) AS counted ON counted.day = float_day.day
"""
_PLACES = """
SELECT float_day.day AS place,
    balance_fen IS DISTINCT FROM coalesce(entry.credits_after_fen - entry.debits_after_fen, 0) AS broken,
    format('%s: 2201 %s, its entries up to journal %s say %s fen', float_day.day, balance_fen, float_close.place,
        coalesce(entry.credits_after_fen - entry.debits_after_fen, 0)) AS what
FROM float_day JOIN float_close USING (day)
LEFT JOIN float_book ON float_book.day = float_day.day AND chart_number = :float
LEFT JOIN LATERAL (SELECT credits_after_fen, debits_after_fen FROM entry
    WHERE account_id = (SELECT account_id FROM account WHERE name = :float) AND sequence <= float_close.place
        AND debits_after_fen IS NOT NULL ORDER BY sequence DESC, leg_number DESC LIMIT 1) AS entry ON true
"""
# `domain.float.FloatDay.canonical` says the same.
_DIGESTS = """
SELECT day AS place, digest <> sha256(convert_to(
        'float-1|' || day || '|' || float_close.place || E'\\n' || coalesce(lines.body, '')
        || 'book|' || issued_fen || '|' || used_fen || '|' || refunded_fen || E'\\n' || coalesce(numbers.body, ''),
        'UTF8')) AS broken,
    format('the float of %s is not what was sealed', day) AS what
FROM float_day JOIN float_close USING (day)
LEFT JOIN (SELECT day, string_agg(product || '|' || age_days_min || '|' || card_count || '|' || issued_fen || '|'
        || used_fen || '|' || refunded_fen || '|' || liability_fen || '|' || dormant_count || '|' || dormant_fen
        || E'\\n', '' ORDER BY product, age_days_min) AS body FROM float_line GROUP BY day) AS lines USING (day)
LEFT JOIN (SELECT day, string_agg(chart_number || '|' || balance_fen || E'\\n', '' ORDER BY chart_number) AS body
    FROM float_book GROUP BY day) AS numbers USING (day)
"""
# Bank and book differ by open things and by what a person decided, and by nothing else.
_MATCHES = """
SELECT bank_match.line_id AS place, bank_line.amount_fen <> CASE side WHEN 1 THEN entry.amount_fen
        ELSE -entry.amount_fen END OR entry.account_id <> bank_statement.account_id AS broken,
    format('bank line %s is matched with another amount or account', bank_match.line_id) AS what
FROM bank_match JOIN bank_line USING (line_id) JOIN bank_statement USING (statement_id)
JOIN entry USING (sequence, leg_number)
"""
FLOAT_CHECKS: tuple[tuple[str, str, str], ...] = (
    ("I6", "On every closed day of the float issued - used - refunded = liability, by purses and by the book.", _DAYS),
    ("I6", "On every closed day of the float the book says what its entries up to that place say.", _PLACES),
    ("I6", "Every line of the bank is matched with an entry of its account and amount.", _MATCHES),
    ("I13", "Every closed day of the float is what was sealed.", _DIGESTS),
)
