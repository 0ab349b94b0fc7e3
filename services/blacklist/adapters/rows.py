"""Rows of the tables as domain objects."""

from typing import Any

from services.blacklist.domain.entry import CardKey, Entry, Listing, ListMode, ListReason


def listing_of_row(row: Any) -> Listing:
    """What an entry or a change says."""
    return Listing(ListReason(row.reason), ListMode(row.mode), row.effective_time, row.report_time, row.until_time)


def card_of_row(row: Any) -> CardKey:
    """Whose entry or change it is."""
    return CardKey(row.scheme, bytes(row.number).hex(), row.generation)


def entry_of_row(row: Any) -> Entry:
    """An entry from a row of its table."""
    return Entry(
        card=card_of_row(row),
        shown=None if row.reason is None else listing_of_row(row),
        listed=row.listed,
        loss_open=row.loss_open,
        loss_time=row.loss_time,
        decided=row.decided,
        remove_time=row.remove_time,
        added_version=row.added_version,
        removed_version=row.removed_version,
        changed_version=row.changed_version,
    )
