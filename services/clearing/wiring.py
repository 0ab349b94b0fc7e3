"""The only place that builds adapters and hands them to use cases."""

from citycard.clearing.v1.clearing_service_pb2_grpc import add_ClearingServiceServicer_to_server
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub

from libs.keystore.sealed import Passphrase, SealedKeyStore
from libs.runtime.client import Clients
from libs.runtime.consumer import Consumer
from libs.runtime.database import check_database, create_engine
from libs.runtime.events import connect_nats
from libs.runtime.relay import Relay
from libs.runtime.server import ServiceParts
from services.clearing.adapters.events_in import handlers
from services.clearing.adapters.gateway import GrpcGateway
from services.clearing.adapters.grpc_api import ClearingApi, UseCases
from services.clearing.adapters.loops import Loops, tell_progress
from services.clearing.adapters.remembered import CardMemory
from services.clearing.adapters.spill import WindowSpill
from services.clearing.adapters.sql import ClearingUnitOfWork
from services.clearing.application.close_window import CloseWindow
from services.clearing.application.fare_audit import FareAudit, PublishFarePack
from services.clearing.application.find_gaps import FindGaps, ListGaps
from services.clearing.application.get_result import GetResult
from services.clearing.application.intake import NoteUpload, Reconcile
from services.clearing.application.judge_files import JudgeFiles
from services.clearing.application.participants import CreateParticipant, RegisterIssuerKey, SetIndustryLimit
from services.clearing.application.ports import Share
from services.clearing.application.post_set import PostSet
from services.clearing.application.prove import Prove
from services.clearing.application.queries import Queries
from services.clearing.application.rejudge import Rejudge
from services.clearing.settings import ClearingSettings


async def build_parts(settings: ClearingSettings) -> ServiceParts:
    """Everything of one process."""
    clock = settings.clock()
    keys = SealedKeyStore.open(
        settings.key_file,
        Passphrase(settings.key_passphrase_file.read_bytes()),
        deployment=settings.deployment,
    )
    engine = create_engine(settings)
    nats = await connect_nats(settings)
    clients = Clients(settings)
    gateway = GrpcGateway(clients.stub(TerminalGatewayServiceStub))

    memory = CardMemory()

    def unit_of_work() -> ClearingUnitOfWork:
        return ClearingUnitOfWork(engine, clock, memory)

    post_set = PostSet(keys, clock, production=settings.deployment == "production")
    judge_files = JudgeFiles(
        unit_of_work, gateway, post_set, keys, clock, set_records_max=settings.set_records_max,
        share=Share(settings.shard, settings.shards),
    )  # fmt: skip
    rejudge = Rejudge(unit_of_work, post_set, clock, set_records_max=settings.set_records_max)
    reconcile = Reconcile(unit_of_work, gateway)
    find_gaps = FindGaps(unit_of_work, clock)
    loops = Loops(
        judge_files, rejudge, reconcile, find_gaps, reconcile_period_s=settings.reconcile_period_s,
        first=settings.shard == 0,
    )  # fmt: skip
    centre = settings.centre_institution_id
    api = ClearingApi(
        UseCases(
            create_participant=CreateParticipant(unit_of_work, clock),
            register_issuer_key=RegisterIssuerKey(unit_of_work),
            set_industry_limit=SetIndustryLimit(unit_of_work, clock),
            queries=Queries(unit_of_work, gateway),
            get_result=GetResult(unit_of_work, gateway, centre_institution_id=centre),
            publish_fare_pack=PublishFarePack(unit_of_work, clock),
            fare_audit=FareAudit(unit_of_work, gateway),
            find_gaps=find_gaps,
            list_gaps=ListGaps(unit_of_work),
            close_window=CloseWindow(unit_of_work, clock, reconcile, centre_institution_id=centre),
            prove=Prove(
                unit_of_work,
                gateway,
                centre_institution_id=centre,
                spill=WindowSpill,
                keys=keys,
                progress=tell_progress,
            ),
            clock=clock,
        )
    )
    relay = Relay(engine, nats, settings.service, replicas=settings.nats_stream_replicas)
    consumer = Consumer(nats, unit_of_work, settings.service, "events", handlers(NoteUpload(), loops.wake))

    async def ready() -> None:
        await check_database(engine)

    async def close() -> None:
        await clients.close()
        await nats.close()
        await engine.dispose()

    return ServiceParts(
        name=settings.service,
        register=lambda server: add_ClearingServiceServicer_to_server(api, server),
        service_names=("citycard.clearing.v1.ClearingService",),
        background=[
            ("relay", relay.run),
            ("events", consumer.run),
            ("judge", loops.judge),
            *([("reconcile", loops.reconcile), ("gaps", loops.gaps)] if settings.shard == 0 else []),
        ],
        ready=ready,
        close=close,
    )
