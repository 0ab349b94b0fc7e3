"""Apportion a judged set, in its transaction: shares fall into the windows that their parties had at acceptance."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import numpy as np

from libs.records import otr
from services.clearing.domain.apportion import Apportioned, Discount, Rules, Share, apportion
from services.clearing.domain.judgement import I64, Judgement
from services.clearing.domain.participant import Participant


def sharers_of(rules: Sequence[Rules], participants: Mapping[str, Participant]) -> list[int]:
    """Surrogates of the participants whose windows a set may touch by a share: they are held open with the others."""
    names = {name for one in rules for name in one.sharers()}
    return sorted(participants[name].number for name in names if name in participants)


def apportion_set(
    records: otr.Records, judgement: Judgement, participant: I64, settlement_day: I64, rest_fen: I64 | None,
    rules: Sequence[Rules], ids: Mapping[int, str], days: Sequence[Mapping[int, date]], slice_of: I64,
    sharers: Sequence[int],
) -> Apportioned:  # fmt: skip
    """Split fares and sum discounts of a set.

    Args:
        records: (n,) OTR.
        judgement: Their verdicts.
        participant: (n,) surrogate of whose record it is.
        settlement_day: (n,) days since 1970.
        rest_fen: (n,) what of late records is not paid, or None.
        rules: All versions.
        ids: Id of every participant by its surrogate.
        days: For each slice of the set, the window of each participant (surrogate), sharers included.
        slice_of: (n,) slice of each record.
        sharers: As `sharers_of` says.
    """
    if not rules:
        return Apportioned()
    # Slices that were accepted on the same days of all sharers are taken together: nearly always that is all of them.
    bands: dict[tuple[date, ...], list[int]] = {}
    for place, of_slice in enumerate(days):
        bands.setdefault(tuple(of_slice[one] for one in sharers), []).append(place)
    shares: list[Share] = []
    discounts: list[Discount] = []
    for windows, places in sorted(bands.items()):
        asked = np.isin(slice_of, places)
        made = apportion(records, judgement, participant, settlement_day, rest_fen, rules, ids, asked)
        fell = dict(zip(sharers, windows, strict=True))
        shares += [one if one.party == one.owner else replace(one, party_day=fell[one.party]) for one in made.shares]
        discounts += made.discounts
    return Apportioned(tuple(shares), tuple(discounts))
