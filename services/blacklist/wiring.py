"""Puts the blacklist together."""

from datetime import timedelta

from citycard.blacklist.v1.blacklist_service_pb2_grpc import add_BlacklistServiceServicer_to_server

from libs.runtime.background import Loop
from libs.runtime.consumer import Consumer
from libs.runtime.database import check_database, create_engine
from libs.runtime.events import connect_nats
from libs.runtime.relay import Relay
from libs.runtime.server import ServiceParts
from services.blacklist.adapters.events_in import handlers
from services.blacklist.adapters.grpc_api import BlacklistApi
from services.blacklist.adapters.redis_copy import NoFastCopy, RedisCopy, open_redis
from services.blacklist.adapters.sql import BlacklistUnitOfWork
from services.blacklist.application.add_entry import AddEntry
from services.blacklist.application.check_card import CheckCard
from services.blacklist.application.get_list_file import GetListFile
from services.blacklist.application.get_version import GetVersion
from services.blacklist.application.known_head import KnownHead
from services.blacklist.application.list_entries import ListEntries
from services.blacklist.application.prove import Prove
from services.blacklist.application.record_loss import RecordLoss
from services.blacklist.application.remove_entry import RemoveEntry
from services.blacklist.domain.chain import Head
from services.blacklist.settings import BlacklistSettings


async def build_parts(settings: BlacklistSettings) -> ServiceParts:
    """Connect to what the settings name and hand the parts to the chassis."""
    clock = settings.clock()
    engine = create_engine(settings)
    nats = await connect_nats(settings)
    redis = open_redis(settings.redis_url, settings.redis_timeout_s) if settings.redis_url else None
    copy = RedisCopy(redis, engine, settings.redis_poll_s) if redis is not None else None
    delay = timedelta(seconds=settings.effective_delay_s)

    def committed(head: Head) -> None:
        known_head.tell(head)
        if copy is not None:
            copy.wake()

    def unit_of_work() -> BlacklistUnitOfWork:
        return BlacklistUnitOfWork(engine, clock, committed)

    def snapshot() -> BlacklistUnitOfWork:
        return BlacklistUnitOfWork(engine, clock, snapshot=True)

    get_version = GetVersion(unit_of_work)
    known_head = KnownHead(get_version, settings.version_age_s_max)
    api = BlacklistApi(
        add_entry=AddEntry(unit_of_work, clock, delay),
        remove_entry=RemoveEntry(unit_of_work, clock),
        check_card=CheckCard(unit_of_work, clock, known_head, copy or NoFastCopy()),
        get_version=get_version,
        list_entries=ListEntries(unit_of_work),
        get_list_file=GetListFile(unit_of_work, known_head, settings.centre_institution_id),
        prove=Prove(snapshot),
    )
    relay = Relay(engine, nats, "blacklist", replicas=settings.nats_stream_replicas)
    events = Consumer(
        nats,
        unit_of_work,
        "blacklist",
        "events",
        handlers(RecordLoss(clock, delay)),
        replicas=settings.nats_stream_replicas,
    )
    background: list[Loop] = [("relay", relay.run), ("events", events.run)]
    if copy is not None:
        background.append(("redis", copy.run))

    async def ready() -> None:
        # Redis is not asked: without it every answer is the same.
        await check_database(engine)

    async def close() -> None:
        if redis is not None:
            await redis.aclose()
        await nats.close()
        await engine.dispose()

    return ServiceParts(
        name="blacklist",
        register=lambda server: add_BlacklistServiceServicer_to_server(api, server),
        service_names=("citycard.blacklist.v1.BlacklistService",),
        background=background,
        ready=ready,
        close=close,
    )
