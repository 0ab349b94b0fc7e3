"""What stood in suspense before there were items becomes items."""

from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg

from libs.records import otr
from libs.runtime.migrate import upgrade


def test_records_that_were_taken_and_not_paid_and_those_that_wait_become_items(database: Callable[[str], Any]) -> None:
    urls = database("clearing")
    upgrade("clearing", urls.owner, revision="0005")
    waiting = otr.new_records(1)
    waiting["issuer"] = np.frombuffer(bytes.fromhex("01019901FFFFFFFF"), np.uint8)
    waiting["amount_fen"], waiting["card_class"] = 66_051, 7
    with psycopg.connect(urls.owner, autocommit=True) as owner:
        owner.execute(
            "INSERT INTO participant (id, display_name_zh, display_name_en, institution_id, operator_number, cut_off, "
            "time_zone, fee_rate_bp, served, created_at) VALUES ('bus', '', '', 'A', 1, '22:00', 'UTC', 0, '{}', now())"
        )
        owner.execute(
            "INSERT INTO file (participant, sha256, state, upload_sequence, stored_at, sender_institution, "
            "batch_number, "
            "record_count, total_fen) VALUES ('bus', 'x', 1, 1, now(), 'A', 1, 3, 0)"
        )
        owner.execute(
            "INSERT INTO card (number, generation, jt, issuer_id, issued_s, start_day, expiry_day) "
            "VALUES ('n', 1, false, 'I', 0, 0, 1)"
        )
        for seq, code in ((1, 0), (2, 20), (3, 26)):
            owner.execute(
                "INSERT INTO record VALUES (1, %s, 1, %s, 0, 200, 200, 0, 1, %s, 1, '2025-01-02', 1, %s, %s)",
                (seq, seq, seq, code, bytes([seq]) * 16),
            )
        owner.execute(
            "INSERT INTO waiting_record (digest, content, file_id, file_index, participant, kind, code, "
            "terminal_number, "
            "terminal_seq, card_number, opened_at) VALUES ('w', %s, 1, 9, 1, 1, 31, 1, 9, 'n', now())",
            (waiting.tobytes(),),
        )
        upgrade("clearing", urls.owner)
        rows = owner.execute(
            "SELECT code, debited, amount_fen, issuer, jt, state FROM suspense_item ORDER BY code"
        ).fetchall()
    assert rows == [(20, True, 200, "I", False, 1), (31, False, 66_051, "01019901FFFFFFFF", True, 1)]
