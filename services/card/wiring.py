"""The only place that builds the adapters of the card service and hands them to its use cases."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.card.v1 import card_service_pb2, error_reason_pb2, events_pb2
from citycard.card.v1.card_service_pb2_grpc import add_CardServiceServicer_to_server

from libs.clock import Clock
from libs.keystore.port import KeyStore
from libs.keystore.sealed import Passphrase, SealedKeyStore
from libs.runtime.client import Clients
from libs.runtime.database import check_database, create_engine
from libs.runtime.events import connect_nats
from libs.runtime.relay import Relay
from libs.runtime.server import ServiceParts
from services.card.adapters.grpc_api import CardApi, UseCases
from services.card.adapters.holder_cipher import HolderCipher
from services.card.adapters.keys import StoredKeys
from services.card.adapters.ledger import GrpcLedger
from services.card.adapters.sql import SqlUnitOfWork
from services.card.application.authorise_load import AuthoriseLoad
from services.card.application.batch_issue_cards import BatchIssueCards
from services.card.application.cancel_loss_report import CancelLossReport
from services.card.application.confirm_load import ConfirmLoad
from services.card.application.create_product import CreateProduct
from services.card.application.get_card import GetCard
from services.card.application.get_load import GetLoad
from services.card.application.get_product import GetProduct
from services.card.application.issue_card import IssueCard
from services.card.application.list_cards import ListCards
from services.card.application.list_loads import ListLoads
from services.card.application.list_products import ListProducts
from services.card.application.list_stock import ListStock
from services.card.application.ports import Keys, Ledger, OpenUnitOfWork
from services.card.application.prove import Prove
from services.card.application.receive_stock import ReceiveStock
from services.card.application.report_loss import ReportLoss
from services.card.application.reverse_load import ReverseLoad
from services.card.application.settle_load import SettleLoad
from services.card.application.sweep_loads import SweepLoads
from services.card.settings import CardSettings

# What enciphers the holders of a test deployment that names no key: everybody can read it here.
_TEST_HOLDER_SECRET = b"citycard test holders: not a secret at all"
# Loaded so that reasons and events are in the descriptor pool for error texts and reflection.
_CONTRACT = (error_reason_pb2, events_pb2)


def build_use_cases(
    unit_of_work: OpenUnitOfWork, ledger: Ledger, keys: Keys, clock: Clock, settings: CardSettings
) -> tuple[UseCases, SweepLoads]:
    """The use cases and the sweep over any adapters."""
    settle = SettleLoad(unit_of_work, ledger, clock, timedelta(seconds=settings.ledger_in_flight_s))
    use_cases = UseCases(
        create_product=CreateProduct(unit_of_work, clock),
        get_product=GetProduct(unit_of_work),
        list_products=ListProducts(unit_of_work),
        receive_stock=ReceiveStock(unit_of_work, clock),
        list_stock=ListStock(unit_of_work),
        issue_card=IssueCard(unit_of_work, clock),
        batch_issue_cards=BatchIssueCards(unit_of_work, clock),
        get_card=GetCard(unit_of_work, ledger),
        list_cards=ListCards(unit_of_work),
        report_loss=ReportLoss(unit_of_work, clock),
        cancel_loss_report=CancelLossReport(unit_of_work, clock),
        authorise_load=AuthoriseLoad(
            unit_of_work, ledger, keys, settle, clock, uuid4, timedelta(seconds=settings.load_confirm_wait_s)
        ),
        confirm_load=ConfirmLoad(unit_of_work, keys, settle),
        reverse_load=ReverseLoad(unit_of_work, settle),
        get_load=GetLoad(unit_of_work),
        list_loads=ListLoads(unit_of_work),
        prove=Prove(unit_of_work),
    )
    return use_cases, SweepLoads(unit_of_work, settle, clock, timedelta(seconds=settings.load_request_wait_s))


def open_key_store(settings: CardSettings) -> KeyStore:
    """The issuer's keys.

    Raises:
        KeyFileUnreadable, PublicKeyRefused: The file does not open, or holds test keys in production.
    """
    passphrase = Passphrase(settings.key_passphrase_file.read_bytes())
    return SealedKeyStore.open(settings.key_file, passphrase, deployment=settings.deployment)


async def build_parts(settings: CardSettings) -> ServiceParts:
    """The card service, ready to be run."""
    clock = settings.clock()
    engine = create_engine(settings)
    clients = Clients(settings)
    cipher = (
        HolderCipher.from_file(settings.holder_key_file)
        if settings.holder_key_file
        else HolderCipher(_TEST_HOLDER_SECRET)
    )
    use_cases, sweep = build_use_cases(
        partial(SqlUnitOfWork, engine, cipher, clock),
        GrpcLedger(clients.stub(AccountServiceStub)),
        StoredKeys(open_key_store(settings)),
        clock,
        settings,
    )

    async def relay() -> None:
        nats = await connect_nats(settings)
        try:
            await Relay(engine, nats, settings.service, replicas=settings.nats_stream_replicas).run()
        finally:
            await nats.close()

    async def close() -> None:
        await clients.close()
        await engine.dispose()

    return ServiceParts(
        name=settings.service,
        register=partial(add_CardServiceServicer_to_server, CardApi(use_cases)),
        service_names=(card_service_pb2.DESCRIPTOR.services_by_name["CardService"].full_name,),
        background=(("relay", relay), ("load-sweep", _every(settings.load_sweep_period_s, sweep))),
        ready=partial(check_database, engine),
        close=close,
    )


def _every(period_s: float, job: SweepLoads) -> Callable[[], Coroutine[Any, Any, None]]:
    async def loop() -> None:
        while True:
            await job()
            await asyncio.sleep(period_s)

    return loop
