"""The only place that builds adapters and hands them to use cases."""

import grpc
from citycard.clearing.v1.apportionment_service_pb2_grpc import add_ApportionmentServiceServicer_to_server
from citycard.clearing.v1.calendar_service_pb2_grpc import add_CalendarServiceServicer_to_server
from citycard.clearing.v1.clearing_service_pb2_grpc import add_ClearingServiceServicer_to_server
from citycard.clearing.v1.day_service_pb2_grpc import add_DayServiceServicer_to_server
from citycard.clearing.v1.dispute_service_pb2_grpc import add_DisputeServiceServicer_to_server
from citycard.clearing.v1.replay_service_pb2_grpc import add_ReplayServiceServicer_to_server
from citycard.clearing.v1.settlement_service_pb2_grpc import add_SettlementServiceServicer_to_server
from citycard.clearing.v1.statement_service_pb2_grpc import add_StatementServiceServicer_to_server
from citycard.clearing.v1.suspense_service_pb2_grpc import add_SuspenseServiceServicer_to_server
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub

from libs.keystore.sealed import Passphrase, SealedKeyStore
from libs.runtime.client import Clients
from libs.runtime.consumer import Consumer
from libs.runtime.database import check_database, create_engine
from libs.runtime.events import connect_nats
from libs.runtime.relay import Relay
from libs.runtime.server import ServiceParts
from services.clearing.adapters.apportionment_api import ApportionmentApi, ApportionmentUseCases
from services.clearing.adapters.calendar_api import CalendarApi, CalendarUseCases
from services.clearing.adapters.day_api import DayApi
from services.clearing.adapters.day_loop import DayLoop
from services.clearing.adapters.dispute_api import DisputeApi, DisputeUseCases
from services.clearing.adapters.events_in import handlers
from services.clearing.adapters.gateway import GrpcGateway
from services.clearing.adapters.grpc_api import ClearingApi, UseCases
from services.clearing.adapters.loops import Loops, tell_progress
from services.clearing.adapters.remembered import CardMemory
from services.clearing.adapters.replay_api import ReplayApi, ReplayUseCases
from services.clearing.adapters.settlement_api import SettlementApi, SettlementUseCases
from services.clearing.adapters.signer import Signer
from services.clearing.adapters.spill import WindowSpill
from services.clearing.adapters.sql import ClearingUnitOfWork
from services.clearing.adapters.statement_api import StatementApi
from services.clearing.adapters.statement_xlsx import render
from services.clearing.adapters.suspense_api import SuspenseApi, SuspenseUseCases
from services.clearing.application.apportionment import ApportionmentReads, CarryShares, PublishRules
from services.clearing.application.calendars import Calendars, PublishCalendar, SetDayRule
from services.clearing.application.close_window import CloseWindow
from services.clearing.application.day_run import DayReads, RunDay, WorkOnDays
from services.clearing.application.day_work import DayWork
from services.clearing.application.disputes import (
    AnswerDispute,
    DecideAdjustment,
    DisputeReads,
    FileDisputes,
    ProposeAdjustment,
)
from services.clearing.application.fare_audit import FareAudit, PublishFarePack
from services.clearing.application.find_gaps import FindGaps, ListGaps
from services.clearing.application.further_results import FurtherResults, MakeFurtherResults
from services.clearing.application.get_result import GetResult
from services.clearing.application.intake import NoteUpload, Reconcile
from services.clearing.application.judge_files import JudgeFiles
from services.clearing.application.missed_discounts import FindMissedDiscounts, MissedReads, ProposePayback
from services.clearing.application.participants import CreateParticipant, RegisterIssuerKey, SetIndustryLimit
from services.clearing.application.ports import Share
from services.clearing.application.post_set import PostSet
from services.clearing.application.prove import Prove
from services.clearing.application.queries import Queries
from services.clearing.application.rejudge import Rejudge
from services.clearing.application.replay import ReplayDay, WhatIf
from services.clearing.application.settlement import (
    Caps,
    ImportBankReturn,
    LockPeriod,
    MakeInstructions,
    SendInstructions,
    SetPaymentAccount,
    SettlementReads,
)
from services.clearing.application.statement_forms import SettlementModels, StatementForms
from services.clearing.application.suspense import (
    ApproveSuspenseItem,
    CorrectSuspenseItem,
    DecideSuspenseItem,
    InvestigateSuspenseItem,
    SetLiabilityRule,
    SuspenseReads,
)
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
    calendars = CalendarApi(
        CalendarUseCases(
            publish=PublishCalendar(unit_of_work),
            set_day_rule=SetDayRule(unit_of_work, clock),
            reads=Calendars(unit_of_work),
            clock=clock,
        )
    )

    suspense = SuspenseApi(
        SuspenseUseCases(
            investigate=InvestigateSuspenseItem(unit_of_work, clock),
            correct=CorrectSuspenseItem(unit_of_work, clock),
            decide=DecideSuspenseItem(unit_of_work, clock),
            approve=ApproveSuspenseItem(unit_of_work, clock),
            set_rule=SetLiabilityRule(unit_of_work),
            reads=SuspenseReads(unit_of_work, gateway, clock),
            make_results=MakeFurtherResults(unit_of_work, clock, centre_institution_id=centre),
            results=FurtherResults(unit_of_work),
        )
    )

    apportionment = ApportionmentApi(
        ApportionmentUseCases(
            publish=PublishRules(unit_of_work, clock),
            carry=CarryShares(unit_of_work, clock),
            reads=ApportionmentReads(unit_of_work),
        )
    )

    forms = StatementForms(unit_of_work, clock, Signer(settings.statement_key_file), render)
    statements = StatementApi(forms, SettlementModels(unit_of_work, clock))

    settlement = SettlementApi(
        SettlementUseCases(
            set_account=SetPaymentAccount(unit_of_work),
            make=MakeInstructions(unit_of_work, clock),
            send=SendInstructions(unit_of_work),
            take=ImportBankReturn(unit_of_work, clock),
            caps=Caps(unit_of_work, clock),
            lock=LockPeriod(unit_of_work, clock),
            reads=SettlementReads(unit_of_work, clock),
        )
    )
    disputes = DisputeApi(
        DisputeUseCases(
            file=FileDisputes(unit_of_work, clock),
            answer=AnswerDispute(unit_of_work, clock),
            propose=ProposeAdjustment(unit_of_work, clock),
            decide=DecideAdjustment(unit_of_work, clock),
            reads=DisputeReads(unit_of_work),
            clock=clock,
        )
    )

    day_loop = DayLoop(Caps(unit_of_work, clock))
    replay = ReplayDay(unit_of_work, gateway, keys, centre_institution_id=centre)
    work = DayWork(
        unit_of_work,
        clock,
        close=CloseWindow(unit_of_work, clock, reconcile, centre_institution_id=centre),
        replay=replay,
        carry=CarryShares(unit_of_work, clock),
        results=MakeFurtherResults(unit_of_work, clock, centre_institution_id=centre),
        forms=forms,
        instruct=MakeInstructions(unit_of_work, clock),
    )
    day_loop.work = WorkOnDays(unit_of_work, clock, work.stages())
    days = DayApi(RunDay(unit_of_work, clock, day_loop.wake), DayReads(unit_of_work))

    replays = ReplayApi(
        ReplayUseCases(
            replay=replay,
            what_if=WhatIf(unit_of_work, gateway),
            find=FindMissedDiscounts(unit_of_work, gateway, clock),
            reads=MissedReads(unit_of_work),
            payback=ProposePayback(unit_of_work, clock),
        )
    )

    def register(server: grpc.aio.Server) -> None:
        add_ClearingServiceServicer_to_server(api, server)
        add_CalendarServiceServicer_to_server(calendars, server)
        add_SuspenseServiceServicer_to_server(suspense, server)
        add_ApportionmentServiceServicer_to_server(apportionment, server)
        add_StatementServiceServicer_to_server(statements, server)
        add_SettlementServiceServicer_to_server(settlement, server)
        add_DisputeServiceServicer_to_server(disputes, server)
        add_DayServiceServicer_to_server(days, server)
        add_ReplayServiceServicer_to_server(replays, server)

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
        register=register,
        service_names=(
            "citycard.clearing.v1.ClearingService",
            "citycard.clearing.v1.CalendarService",
            "citycard.clearing.v1.SuspenseService",
            "citycard.clearing.v1.ApportionmentService",
            "citycard.clearing.v1.StatementService",
            "citycard.clearing.v1.SettlementService",
            "citycard.clearing.v1.DisputeService",
            "citycard.clearing.v1.DayService",
            "citycard.clearing.v1.ReplayService",
        ),
        background=[
            ("relay", relay.run),
            ("events", consumer.run),
            ("judge", loops.judge),
            *([("reconcile", loops.reconcile), ("gaps", loops.gaps)] if settings.shard == 0 else []),
            # Stages are leases: whichever worker is there does them.
            ("days", day_loop.run),
        ],
        ready=ready,
        close=close,
    )
