"""Puts the gateway together."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta

import grpc
from citycard.blacklist.v1.blacklist_service_pb2 import GetVersionRequest
from citycard.blacklist.v1.blacklist_service_pb2_grpc import BlacklistServiceStub
from citycard.blacklist.v1.list_service_pb2_grpc import ListServiceStub
from citycard.terminal_gw.v1.collection_service_pb2_grpc import add_CollectionServiceServicer_to_server
from citycard.terminal_gw.v1.list_service_pb2_grpc import add_TerminalListServiceServicer_to_server
from citycard.terminal_gw.v1.parameters_service_pb2_grpc import add_ParameterServiceServicer_to_server
from citycard.terminal_gw.v1.session_service_pb2_grpc import add_SessionServiceServicer_to_server
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import add_TerminalGatewayServiceServicer_to_server
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from libs.cardlist.signing import EcdsaSigner
from libs.keystore.handles import KeyHandle
from libs.keystore.sealed import Passphrase, SealedKeyStore
from libs.runtime.client import Clients
from libs.runtime.consumer import Consumer
from libs.runtime.database import check_database, create_engine
from libs.runtime.events import connect_nats
from libs.runtime.logging import get_logger
from libs.runtime.refusals import refusal_of
from libs.runtime.relay import Relay
from libs.runtime.server import ServiceParts
from libs.runtime.settings import SettingsInvalid
from services.terminal_gw.adapters.blacklist_client import GrpcBlacklist
from services.terminal_gw.adapters.bodies import CommandBodies
from services.terminal_gw.adapters.events_in import handlers
from services.terminal_gw.adapters.grpc_api import TerminalGatewayApi, UseCases
from services.terminal_gw.adapters.grpc_collection import CollectionApi
from services.terminal_gw.adapters.grpc_parameters import ParameterApi
from services.terminal_gw.adapters.grpc_sessions import SessionApi, SessionLimits, SessionUseCases
from services.terminal_gw.adapters.lists.client import GrpcLists, Patience
from services.terminal_gw.adapters.lists.events_in import list_handlers
from services.terminal_gw.adapters.lists.grpc_api import TerminalListApi
from services.terminal_gw.adapters.signatures import CertificateSignatures
from services.terminal_gw.adapters.unit_of_work import GatewayUnitOfWork
from services.terminal_gw.adapters.work_keys import KeyStoreWorkKeys
from services.terminal_gw.application.acknowledge_lists import AcknowledgeLists, ListWords
from services.terminal_gw.application.batch_register_terminals import BatchRegisterTerminals
from services.terminal_gw.application.collection import Collection, IndexOld
from services.terminal_gw.application.commands import AnswerCommand, BatchIssueCommands, CancelCommand, ListCommands
from services.terminal_gw.application.devices import Devices
from services.terminal_gw.application.download_blacklist import DownloadBlacklist
from services.terminal_gw.application.download_list import ListFiles
from services.terminal_gw.application.follow_blacklist import FollowBlacklist
from services.terminal_gw.application.get_terminal import GetTerminal, ListTerminals
from services.terminal_gw.application.get_upload import GetUpload, ListUploads, ReadUpload
from services.terminal_gw.application.housekeeping import RemoveAbandoned
from services.terminal_gw.application.keep_reports import KeepReports
from services.terminal_gw.application.kept_blacklist import KeptBlacklist
from services.terminal_gw.application.packs import Packs, PublishPack, Rollouts
from services.terminal_gw.application.prove import Prove
from services.terminal_gw.application.revoke_psam import RevokePsam
from services.terminal_gw.application.sessions import SessionHub
from services.terminal_gw.application.sign_in import SignIn
from services.terminal_gw.application.store_upload import StoreUpload
from services.terminal_gw.application.trust import Trust
from services.terminal_gw.application.upload_batch import UploadBatch, UploadLimits
from services.terminal_gw.application.watch_sessions import WatchSessions
from services.terminal_gw.domain.clock import ClockThresholds
from services.terminal_gw.settings import TerminalGatewaySettings

log = get_logger("citycard.terminal_gw")


async def build_parts(settings: TerminalGatewaySettings) -> ServiceParts:
    """Connect to what the settings name and hand the parts to the chassis."""
    clock = settings.clock()
    engine = create_engine(settings)
    nats = await connect_nats(settings)
    clients = Clients(settings)
    patience = Patience()
    # Without retries: terminals repeat their calls themselves, and must hear soon that the blacklist is away.
    channel = clients.channel("blacklist")
    asked = BlacklistServiceStub(channel)
    blacklist = KeptBlacklist(GrpcBlacklist(asked, patience))
    list_source = GrpcLists(ListServiceStub(channel), patience)

    async def probe() -> None:
        await asked.GetVersion(GetVersionRequest())

    list_words = ListWords(list_source, clock)
    list_files = ListFiles(list_source, list_words.fetched)

    def unit_of_work() -> GatewayUnitOfWork:
        return GatewayUnitOfWork(engine, clock)

    thresholds = ClockThresholds(
        timedelta(milliseconds=settings.clock_set_above_ms),
        timedelta(milliseconds=settings.clock_alarm_above_ms),
        timedelta(milliseconds=settings.clock_stop_above_ms),
        timedelta(seconds=settings.clock_period_s),
    )
    instance = uuid.uuid4().hex
    work_keys = _work_keys(settings)
    trust, hub, bodies = Trust(unit_of_work, clock), SessionHub(settings.sessions_max), CommandBodies()
    sign_in = SignIn(unit_of_work, clock, thresholds, work_keys, instance, list_words.note)
    store = StoreUpload(unit_of_work, clock, settings.upload_finishing_max)
    use_cases = UseCases(
        register=BatchRegisterTerminals(unit_of_work, clock),
        get_terminal=GetTerminal(unit_of_work),
        list_terminals=ListTerminals(unit_of_work),
        revoke_psam=RevokePsam(unit_of_work, clock),
        sign_in=sign_in,
        upload_batch=UploadBatch(store, CertificateSignatures(), _limits(settings)),
        get_upload=GetUpload(unit_of_work),
        list_uploads=ListUploads(unit_of_work),
        read_upload=ReadUpload(unit_of_work),
        download_blacklist=DownloadBlacklist(blacklist),
        prove=Prove(unit_of_work),
    )
    api = TerminalGatewayApi(use_cases, clock, trust, settings.upload_bytes_max, settings.chunk_bytes_max)
    keep = KeepReports(unit_of_work, clock, settings.session_flush_s, settings.session_rows_max)
    session_api = SessionApi(
        SessionUseCases(
            sign_in=sign_in,
            hub=hub,
            keep=keep,
            lists=list_words,
            trust=trust,
            devices=Devices(unit_of_work, clock, work_keys),
            issue=BatchIssueCommands(unit_of_work, clock, hub),
            answer=AnswerCommand(unit_of_work, clock),
            cancel=CancelCommand(unit_of_work),
            list_commands=ListCommands(unit_of_work),
        ),
        clock,
        SessionLimits(
            settings.session_heartbeat_s,
            settings.session_message_bytes_max,
            settings.session_write_timeout_s,
            settings.upload_bytes_max,
            settings.chunk_bytes_max,
        ),
    )
    parameter_api = ParameterApi(
        PublishPack(unit_of_work, clock, CertificateSignatures(), settings.pack_bytes_max),
        Packs(unit_of_work, clock),
        Rollouts(unit_of_work, clock, hub, bodies),
        trust,
    )
    collection = Collection(unit_of_work, clock, hub, bodies, _signer(settings))
    collection_api = CollectionApi(collection, trust)
    watch = WatchSessions(unit_of_work, clock, hub, trust, instance)
    index_old = IndexOld(unit_of_work)

    def register(server: grpc.aio.Server) -> None:
        add_TerminalGatewayServiceServicer_to_server(api, server)
        add_TerminalListServiceServicer_to_server(list_api, server)
        add_SessionServiceServicer_to_server(session_api, server)
        add_ParameterServiceServicer_to_server(parameter_api, server)
        add_CollectionServiceServicer_to_server(collection_api, server)

    follow = FollowBlacklist(unit_of_work, blacklist)
    abandoned = RemoveAbandoned(unit_of_work, clock, timedelta(seconds=settings.upload_abandoned_after_s))
    list_api = TerminalListApi(list_files, list_words, AcknowledgeLists(unit_of_work, list_words))
    relay = Relay(engine, nats, "terminal_gw", replicas=settings.nats_stream_replicas)
    events = Consumer(
        nats, unit_of_work, "terminal_gw", "events", handlers(follow), replicas=settings.nats_stream_replicas
    )
    published = Consumer(
        nats, unit_of_work, "terminal_gw", "lists", list_handlers(list_files), replicas=settings.nats_stream_replicas
    )

    async def ready() -> None:
        await check_database(engine)

    async def close() -> None:
        await clients.close()
        await nats.close()
        await engine.dispose()

    return ServiceParts(
        name="terminal_gw",
        register=register,
        service_names=(
            "citycard.terminal_gw.v1.TerminalGatewayService",
            "citycard.terminal_gw.v1.TerminalListService",
            "citycard.terminal_gw.v1.SessionService",
            "citycard.terminal_gw.v1.ParameterService",
            "citycard.terminal_gw.v1.CollectionService",
        ),
        background=[
            ("relay", relay.run),
            ("events", events.run),
            ("lists", published.run),
            ("list_words", list_words.run),
            ("blacklist_watch", lambda: patience.watch(probe)),
            ("blacklist", lambda: _every(settings.blacklist_poll_s, follow.ask)),
            ("reports", keep.run),
            ("trust", lambda: _every(settings.session_watch_s, watch.trust)),
            ("news", lambda: _every(settings.session_news_s, watch.news)),
            ("commands", lambda: _every(settings.session_news_s, watch.commands)),
            ("recollect", lambda: _every(settings.recollect_period_s, lambda: collection.recollect(None))),
            ("index_old", lambda: _every(settings.housekeeping_s, index_old)),
            ("housekeeping", lambda: _every(settings.housekeeping_s, abandoned)),
        ],
        ready=ready,
        close=close,
    )


def _limits(settings: TerminalGatewaySettings) -> UploadLimits:
    return UploadLimits(
        file_bytes_max=settings.upload_bytes_max,
        chunk_bytes_max=settings.chunk_bytes_max,
        streams_max=settings.upload_streams_max,
        group_bytes=settings.upload_group_bytes,
        buffer_bytes_max=settings.upload_buffer_bytes_max,
        flush_s=settings.upload_flush_s,
        idle_timeout_s=settings.upload_idle_timeout_s,
    )


def _work_keys(settings: TerminalGatewaySettings) -> KeyStoreWorkKeys | None:
    if settings.work_key_file is None or settings.work_key_passphrase_file is None:
        return None
    passphrase = Passphrase(settings.work_key_passphrase_file.read_bytes())
    store = SealedKeyStore.open(settings.work_key_file, passphrase, deployment=settings.deployment)
    return KeyStoreWorkKeys(store, KeyHandle.from_label(settings.work_key_label))


def _signer(settings: TerminalGatewaySettings) -> EcdsaSigner:
    key_file = settings.completeness_key_file or settings.tls_key_file
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SettingsInvalid(["CITYCARD_COMPLETENESS_KEY_FILE: must be a P-256 key"])
    return EcdsaSigner(key)


async def _every(pause_s: float, work: Callable[[], Awaitable[object]]) -> None:
    """Repeat until cancelled; a dependency that is away is waited out and makes nobody unready."""
    while True:
        try:
            await work()
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            log.warning("background.waiting", error=str(refusal))
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # The database's driver may take a cancellation that reaches it for its own and finish the statement.
            raise asyncio.CancelledError
        await asyncio.sleep(pause_s)
