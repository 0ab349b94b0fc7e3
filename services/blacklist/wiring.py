"""Puts the blacklist together."""

from datetime import timedelta

import grpc
from citycard.blacklist.v1.blacklist_service_pb2_grpc import add_BlacklistServiceServicer_to_server
from citycard.blacklist.v1.list_service_pb2_grpc import add_ListServiceServicer_to_server

from libs.runtime.background import Loop
from libs.runtime.consumer import Consumer
from libs.runtime.database import check_database, create_engine
from libs.runtime.events import connect_nats
from libs.runtime.logging import get_logger
from libs.runtime.relay import Relay
from libs.runtime.server import ServiceParts
from services.blacklist.adapters.events_in import handlers
from services.blacklist.adapters.grpc_api import BlacklistApi
from services.blacklist.adapters.list_keys import ListKeys, read_public_keys, read_signing_key
from services.blacklist.adapters.lists.grpc_api import ListApi, ListUseCases
from services.blacklist.adapters.loops import Alarm, DelayMetrics, repeat
from services.blacklist.adapters.redis_copy import NoFastCopy, RedisCopy, open_redis
from services.blacklist.adapters.sql import BlacklistUnitOfWork
from services.blacklist.application.add_entry import AddEntry
from services.blacklist.application.change_rows import BatchChangeRows
from services.blacklist.application.check_card import CheckCard
from services.blacklist.application.expire import Expire
from services.blacklist.application.get_artefact import GetArtefact
from services.blacklist.application.get_list_file import GetListFile
from services.blacklist.application.get_version import GetVersion
from services.blacklist.application.known_head import KnownHead
from services.blacklist.application.list_entries import ListEntries
from services.blacklist.application.prove import Prove
from services.blacklist.application.publish import DropOldFiles, Publish
from services.blacklist.application.rank import GetRanking, SetRanking
from services.blacklist.application.record_loss import RecordLoss
from services.blacklist.application.remove_entry import RemoveEntry
from services.blacklist.application.report import GetDelays, GetEntryJourney, ListHits, ReportHits, ReportHops
from services.blacklist.application.small_lists import KnownSmallLists
from services.blacklist.domain.chain import Head
from services.blacklist.settings import BlacklistSettings

log = get_logger("citycard.blacklist")

_MEASURE_S = 15.0


async def build_parts(settings: BlacklistSettings) -> ServiceParts:
    """Connect to what the settings name and hand the parts to the chassis."""
    clock = settings.clock()
    engine = create_engine(settings)
    nats = await connect_nats(settings)
    redis = open_redis(settings.redis_url, settings.redis_timeout_s) if settings.redis_url else None
    copy = RedisCopy(redis, engine, settings.redis_poll_s) if redis is not None else None
    delay = timedelta(seconds=settings.effective_delay_s)
    notice = timedelta(seconds=settings.liability_notice_s)
    keys = _list_keys(settings)

    publishing, expiring = Alarm(), Alarm()

    def committed(head: Head) -> None:
        known_head.tell(head)
        publishing.ring()
        if copy is not None:
            copy.wake()

    def unit_of_work() -> BlacklistUnitOfWork:
        return BlacklistUnitOfWork(engine, clock, committed, notice=notice)

    def rows_changed() -> None:
        small_lists.forget()
        publishing.ring()

    def snapshot() -> BlacklistUnitOfWork:
        return BlacklistUnitOfWork(engine, clock, snapshot=True)

    get_version = GetVersion(unit_of_work)
    known_head = KnownHead(get_version, settings.version_age_s_max)
    small_lists = KnownSmallLists(unit_of_work, settings.version_age_s_max)
    publish = None if keys is None else Publish(unit_of_work, clock, keys.signer, keys.verifier)
    expire = Expire(unit_of_work, clock, rows_changed)
    get_delays = GetDelays(unit_of_work, clock)
    list_api = ListApi(
        ListUseCases(
            change_rows=BatchChangeRows(unit_of_work, clock, rows_changed),
            get_artefact=GetArtefact(unit_of_work, clock, publish),
            report_hops=ReportHops(unit_of_work, clock),
            report_hits=ReportHits(unit_of_work),
            list_hits=ListHits(unit_of_work),
            get_entry_journey=GetEntryJourney(unit_of_work),
            get_delays=get_delays,
            set_ranking=SetRanking(unit_of_work),
            get_ranking=GetRanking(unit_of_work),
        ),
        unit_of_work,
        clock,
        delay,
        keys.announced() if keys is not None else (),
    )
    api = BlacklistApi(
        add_entry=AddEntry(unit_of_work, clock, delay),
        remove_entry=RemoveEntry(unit_of_work, clock),
        check_card=CheckCard(unit_of_work, clock, known_head, copy or NoFastCopy(), small_lists),
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
    drop = DropOldFiles(unit_of_work, clock, timedelta(seconds=settings.file_keep_s))
    measure = DelayMetrics(get_delays)
    background: list[Loop] = [
        ("relay", relay.run),
        ("events", events.run),
        ("expire", lambda: repeat(expire, expiring, 0.0, settings.expire_poll_s)),
        ("drop_files", lambda: repeat(drop, Alarm(), 0.0, settings.file_keep_s / 4)),
        ("measure", lambda: repeat(measure, Alarm(), 0.0, _MEASURE_S)),
    ]
    if publish is not None:
        work = publish
        background.append(
            ("publish", lambda: repeat(work, publishing, settings.publish_pause_s, settings.publish_poll_s))
        )
    if copy is not None:
        background.append(("redis", copy.run))

    def register(server: grpc.aio.Server) -> None:
        add_BlacklistServiceServicer_to_server(api, server)
        add_ListServiceServicer_to_server(list_api, server)

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
        register=register,
        service_names=("citycard.blacklist.v1.BlacklistService", "citycard.blacklist.v1.ListService"),
        background=background,
        ready=ready,
        close=close,
    )


def _list_keys(settings: BlacklistSettings) -> ListKeys | None:
    path = settings.list_signing_key_file
    if path is None and settings.deployment == "test":
        path = settings.tls_key_file
    if path is None:
        # Terminals that are given interchange files only need no signature.
        log.warning("lists.unsigned", setting="CITYCARD_LIST_SIGNING_KEY_FILE")
        return None
    others = settings.list_other_keys_file
    return ListKeys(
        read_signing_key(path, "LIST_SIGNING_KEY_FILE"),
        [] if others is None else read_public_keys(others, "LIST_OTHER_KEYS_FILE"),
    )
