"""What the gateway hears of published lists."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from citycard.blacklist.v1 import events_pb2 as blacklist_events_pb
from google.protobuf.message import Message

from libs.errors import DependencyUnavailable
from libs.runtime.events import EventMeta
from libs.runtime.logging import get_logger
from services.terminal_gw.adapters.unit_of_work import GatewayUnitOfWork
from services.terminal_gw.application.download_list import ListFiles
from services.terminal_gw.application.list_ports import ArtefactUnknown

log = get_logger("citycard.terminal_gw.lists")

Handler = Callable[[Any, EventMeta, GatewayUnitOfWork], Awaitable[None]]


def list_handlers(files: ListFiles) -> Mapping[type[Message], Handler]:
    """What is done on each event; the consumer commits."""

    async def on_published(event: blacklist_events_pb.ListPublished, meta: EventMeta, uow: GatewayUnitOfWork) -> None:
        try:
            await files.prefetch(event.list, event.version, event.base_version)
        except (DependencyUnavailable, ArtefactUnknown) as error:
            # Only a head start: the first terminal that asks fetches it.
            log.info("lists.not_prefetched", list=event.list, version=event.version, reason=str(error))

    return {blacklist_events_pb.ListPublished: on_published}
