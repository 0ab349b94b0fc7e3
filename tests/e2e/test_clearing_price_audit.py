"""The fault of the real records that a price audit must find: transfer discounts that no terminal marked."""

import numpy as np

from city.simulation.play import PlayedDay
from libs.fares.rules import load_pack
from libs.records import otr
from services.clearing.domain.audit import DeviationKind, FarePack, audit

# The records do not say the class of a card; it can only be seen from the ratio of the prices.
_UNMARKED, _OTHER_CLASS = 199, 1_937


def test_the_unmarked_transfers_are_found_exactly_and_nothing_is_left_unexplained(real_day: PlayedDay) -> None:
    records = real_day.records
    count = len(records)
    pack = FarePack(1, 0, 0, load_pack("shenzhen"))
    found = audit(records, otr.times_epoch_s(records), np.ones(count, np.int64), np.ones(count, np.bool_), [pack])
    kinds = {kind: int((found.kind == kind).sum()) for kind in DeviationKind}
    assert kinds == {
        DeviationKind.UNMARKED_TRANSFER: _UNMARKED,
        DeviationKind.MARKED_WITHOUT_DISCOUNT: 0,
        DeviationKind.OTHER_CARD_TYPE: _OTHER_CLASS,
        DeviationKind.UNEXPLAINED: 0,
    }
    # All of them come from terminals that never mark a transfer: a fault of terminals, not of passengers.
    numbers = otr.terminal_numbers(records)
    faulty = numbers[found.rows[found.kind == DeviationKind.UNMARKED_TRANSFER]]
    marking = numbers[(records["flags"] & otr.Flag.TRANSFER_DISCOUNT) != 0]
    assert not np.isin(faulty, marking).any()
