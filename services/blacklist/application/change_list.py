"""The one way in which the list changes."""

from collections.abc import Callable
from datetime import datetime

from services.blacklist.application.ports import UnitOfWork
from services.blacklist.domain.chain import append
from services.blacklist.domain.entry import CardKey, Entry


async def change_list(uow: UnitOfWork, card: CardKey, at: datetime, decide: Callable[[Entry], Entry]) -> Entry:
    """Apply a decision to a card's entry and make a version if the list then says otherwise.

    The head's lock makes changes follow one another: versions have no holes and the chain no forks. Not committed.

    Args:
        uow: An open transaction.
        card: Whose entry.
        at: The moment of the change, `create_time` of its version.
        decide: The entry after, from the entry before; what it raises passes.
    """
    head = await uow.entries.head_for_update()
    before = await uow.entries.get(card)
    after = decide(before)
    if after == before:
        return before
    if after.says_otherwise(before):
        head, change = append(head, after, before, at)
        after = after.at_version(head.version, before)
        await uow.entries.append(head, change)
        await uow.announce.add([change])
    await uow.entries.save(after)
    return after
