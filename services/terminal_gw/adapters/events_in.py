"""What the gateway hears: the blacklist's newest version."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from citycard.blacklist.v1 import events_pb2 as blacklist_events_pb
from google.protobuf.message import Message

from libs.runtime.events import EventMeta
from services.terminal_gw.adapters.unit_of_work import GatewayUnitOfWork
from services.terminal_gw.application.follow_blacklist import FollowBlacklist

Handler = Callable[[Any, EventMeta, GatewayUnitOfWork], Awaitable[None]]


def handlers(follow: FollowBlacklist) -> Mapping[type[Message], Handler]:
    """What is done on each event; the consumer commits."""

    async def on_changed(event: blacklist_events_pb.BlacklistChanged, meta: EventMeta, uow: GatewayUnitOfWork) -> None:
        await follow.heard(uow, event.version)

    return {blacklist_events_pb.BlacklistChanged: on_changed}
