"""Cards of a list file read as columns: one row of packed bytes comes back, never a row per card."""

from typing import Any, Final

import numpy as np

from services.blacklist.application.ports import ListColumns
from services.blacklist.domain.entry import ListMode

# A file names a card number once; of a number that was issued again the newest listed generation counts, also when it
# is one to be ignored: then no row is written, for an ancestor must not stand in for it.
_PACK: Final = """
    SELECT h.version, h.entry_count, h.chain_hash, h.create_time, c.* FROM list_head h CROSS JOIN (
        SELECT count(*) AS card_count,
            string_agg(number, ''::bytea ORDER BY number) AS numbers,
            string_agg(int2send(action::smallint), ''::bytea ORDER BY number) AS actions,
            string_agg(int2send(reason), ''::bytea ORDER BY number) AS reasons,
            string_agg(int2send(mode), ''::bytea ORDER BY number) AS modes,
            string_agg(int8send(floor(extract(epoch FROM effective_time))::bigint), ''::bytea ORDER BY number)
                AS effective_s
        FROM ({cards}) cards) c"""

FULL: Final = _PACK.format(
    cards=f"""
        SELECT number, 1 AS action, reason, mode, effective_time FROM (
            SELECT DISTINCT ON (number) number, reason, mode, effective_time
            FROM entry WHERE listed ORDER BY number, generation DESC, scheme) e
        WHERE mode <> {int(ListMode.IGNORE)}"""
)

INCREMENT: Final = _PACK.format(
    cards=f"""
        WITH touched AS (SELECT DISTINCT number FROM list_change WHERE version > :base),
        now_any AS (
            SELECT DISTINCT ON (number) number, reason, mode, effective_time
            FROM entry JOIN touched USING (number) WHERE listed ORDER BY number, generation DESC, scheme),
        now AS (SELECT * FROM now_any WHERE mode <> {int(ListMode.IGNORE)}),
        cards_then AS (
            SELECT DISTINCT ON (number, scheme, generation) number, scheme, generation, added, reason, mode,
                effective_time
            FROM list_change JOIN touched USING (number) WHERE version <= :base
            ORDER BY number, scheme, generation, version DESC),
        back_then_any AS (
            SELECT DISTINCT ON (number) number, reason, mode, effective_time
            FROM cards_then WHERE added ORDER BY number, generation DESC, scheme),
        back_then AS (SELECT * FROM back_then_any WHERE mode <> {int(ListMode.IGNORE)})
        SELECT now.number, 1 AS action, now.reason, now.mode, now.effective_time
        FROM now LEFT JOIN back_then USING (number)
        WHERE (now.reason, now.mode, now.effective_time)
            IS DISTINCT FROM (back_then.reason, back_then.mode, back_then.effective_time)
        UNION ALL
        SELECT number, 2, reason, mode, (
            SELECT holds_from FROM list_change c WHERE c.number = back_then.number ORDER BY version DESC LIMIT 1)
        FROM back_then WHERE NOT EXISTS (SELECT FROM now WHERE now.number = back_then.number)"""
)


def read(row: Any) -> ListColumns:
    """Unpack the columns of one of the statements above."""

    def column(packed: bytes | None, kind: str) -> Any:
        return np.frombuffer(packed or b"", dtype=kind)

    columns = ListColumns(
        numbers=column(row.numbers, "u1").reshape(-1, 10),
        actions=column(row.actions, ">i2"),
        reasons=column(row.reasons, ">i2"),
        modes=column(row.modes, ">i2"),
        effective_s=column(row.effective_s, ">i8"),
    )
    assert len(columns.numbers) == row.card_count, "a column lost a card"
    return columns
