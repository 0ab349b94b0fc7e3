"""What the proof asks of bank flows; each line looks at least at one row, so that an empty book is looked at too."""

from services.account.domain.bank_flow import FLOW_EVENTS, UNDO_EVENTS


def _words(events: frozenset[str]) -> str:
    return ", ".join(f"'{event}'" for event in sorted(events))


_BEGUN = _words(FLOW_EVENTS)
_ALL = _words(FLOW_EVENTS | UNDO_EVENTS)
# Journals and reservations of flows have events that nothing else may have.
_FLOWS = f"""
SELECT 0 AS place, flows <> held AS broken,
    format('%s flows, %s reservations of bank events that begin one', flows, held) AS what
FROM (SELECT count(*) AS flows FROM bank_flow) AS counted,
    (SELECT count(*) AS held FROM reservation WHERE event IN ({_BEGUN})) AS begun
UNION ALL
SELECT flow_number, reservation.state <> CASE bank_flow.state WHEN 'AUTHORISING' THEN 'PENDING'
        WHEN 'CAPTURING' THEN 'PENDING' WHEN 'GIVING_UP' THEN 'VOIDED' WHEN 'VOIDED' THEN 'VOIDED'
        ELSE 'COMMITTED' END
    OR coalesce(undo.state, '') <> CASE bank_flow.state WHEN 'UNDOING' THEN 'PENDING' WHEN 'UNDONE' THEN 'COMMITTED'
        ELSE '' END,
    format('bankFlows/%s is %s, its reservation %s, the one that undoes it %s', flow_id, bank_flow.state,
        reservation.state, coalesce(undo.state, 'none'))
FROM bank_flow JOIN reservation ON reservation_id = flow_id
LEFT JOIN reservation AS undo ON undo.reservation_id = undo_id
"""
_ENDS = f"""
SELECT 0 AS place, journals <> ended AS broken,
    format('%s journals of bank flows, %s flows and undoings that are posted', journals, ended) AS what
FROM (SELECT count(*) AS journals FROM journal WHERE event IN ({_ALL})) AS booked,
    (SELECT coalesce(sum(CASE state WHEN 'UNDONE' THEN 2 ELSE 1 END), 0) AS ended FROM bank_flow
        WHERE state IN ('POSTED', 'UNDOING', 'UNDONE')) AS posted
UNION ALL
SELECT flow_number, CASE state WHEN 'POSTED' THEN legs <> captured
        WHEN 'VOIDED' THEN legs <> ended WHEN 'UNDONE' THEN legs <> ended ELSE false END,
    format('bankFlows/%s is %s: %s of %s operations captured, %s ended', flow_id, state, captured, legs, ended)
FROM bank_flow JOIN (SELECT flow_id, count(*) AS legs, count(*) FILTER (WHERE state = 'CAPTURED') AS captured,
        count(*) FILTER (WHERE NOT sent OR state IN ('DECLINED', 'REVERSED')) AS ended
    FROM bank_leg GROUP BY flow_id) AS leg USING (flow_id)
"""
_PENDING = """
SELECT 0 AS place, (pending.debits, pending.credits) IS DISTINCT FROM (open.debits, open.credits) AS broken,
    format('2216: pending %s and %s, open flows %s and %s fen', pending.debits, pending.credits, open.debits,
        open.credits) AS what
FROM (SELECT coalesce(sum(pending_debits_fen), 0) AS debits, coalesce(sum(pending_credits_fen), 0) AS credits
        FROM account WHERE chart_number = '2216') AS pending,
    (SELECT coalesce(sum(amount_fen) FILTER (WHERE (direction = 'DEBIT') = (bank_flow.state <> 'UNDOING')), 0)
            AS debits,
        coalesce(sum(amount_fen) FILTER (WHERE (direction = 'CREDIT') = (bank_flow.state <> 'UNDOING')), 0) AS credits
        FROM bank_leg JOIN bank_flow USING (flow_id)
        WHERE bank_flow.state IN ('AUTHORISING', 'CAPTURING', 'UNDOING')) AS open
"""
_POSTED = f"""
SELECT 0 AS place, (booked.debits, booked.credits) IS DISTINCT FROM (said.debits, said.credits) AS broken,
    format('bank flows booked on 2216: %s and %s, operations sum to %s and %s fen', booked.debits, booked.credits,
        said.debits, said.credits) AS what
FROM (SELECT coalesce(sum(amount_fen) FILTER (WHERE side = 1), 0) AS debits,
        coalesce(sum(amount_fen) FILTER (WHERE side = 2), 0) AS credits
        FROM entry JOIN journal USING (sequence) JOIN account USING (account_id)
        WHERE chart_number = '2216' AND event IN ({_ALL})) AS booked,
    (SELECT coalesce(sum(amount_fen) FILTER (WHERE direction = 'DEBIT' OR bank_flow.state = 'UNDONE'), 0) AS debits,
        coalesce(sum(amount_fen) FILTER (WHERE direction = 'CREDIT' OR bank_flow.state = 'UNDONE'), 0) AS credits
        FROM bank_leg JOIN bank_flow USING (flow_id)
        WHERE bank_flow.state IN ('POSTED', 'UNDOING', 'UNDONE')) AS said
"""
_DAYS = """
SELECT 0 AS place, false AS broken, '' AS what
UNION ALL
SELECT row_number() OVER (ORDER BY participant, bank_day.business_date), used_fen <> coalesce(used, 0),
    format('banks/%s on %s has used %s fen, its operations %s', participant, bank_day.business_date, used_fen,
        coalesce(used, 0))
FROM bank_day LEFT JOIN (SELECT bank, business_date, sum(amount_fen) AS used FROM bank_leg
        JOIN bank_flow USING (flow_id) WHERE bank_flow.state NOT IN ('GIVING_UP', 'VOIDED')
        GROUP BY bank, business_date) AS operations
    ON bank = participant AND operations.business_date = bank_day.business_date
"""
BANK_CHECKS: tuple[tuple[str, str, str], ...] = (
    ("I6", "What flows booked with banks equals the operations that the banks captured.", _POSTED),
    ("I6", "What a bank's day has used of its limit equals its operations that stand.", _DAYS),
    ("I14", "Every bank flow holds, has posted or has let go its reservation, as its state says.", _FLOWS),
    ("I14", "Every bank flow that ended did so once, and at every bank in the same way.", _ENDS),
    ("I14", "Pending sums with banks equal the open flows.", _PENDING),
)
