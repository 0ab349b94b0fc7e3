"""Builds the account service: adapters on one side, use cases on the other."""

from uuid import uuid4

from citycard.account.v1.account_service_pb2_grpc import add_AccountServiceServicer_to_server

from libs.runtime.consumer import Consumer, Delivery
from libs.runtime.database import check_database, create_engine
from libs.runtime.events import connect_nats
from libs.runtime.relay import Relay
from libs.runtime.server import ServiceParts
from services.account.adapters.chart_file import standard_chart
from services.account.adapters.events_in import handlers
from services.account.adapters.grpc_api import AccountApi, UseCases
from services.account.adapters.sql_accounts import AccountIds
from services.account.adapters.unit_of_work import AccountUnitOfWork
from services.account.application.charge_window_fee import ChargeWindowFee
from services.account.application.close_purse_item import ClosePurseItem
from services.account.application.commit_reservation import CommitReservation
from services.account.application.expire_reservations import ExpireReservations
from services.account.application.fold_batch import FoldBatch
from services.account.application.get_account import GetAccount
from services.account.application.get_balance import GetBalance
from services.account.application.get_journal import GetJournal
from services.account.application.get_purse import GetPurse
from services.account.application.get_reservation import GetReservation
from services.account.application.list_accounts import ListAccounts
from services.account.application.list_entries import ListEntries
from services.account.application.list_journals import ListJournals
from services.account.application.list_purse_items import ListPurseItems
from services.account.application.open_account import OpenAccount
from services.account.application.open_purses import OpenPurses
from services.account.application.post_book_lines import PostBookLines
from services.account.application.post_journal import PostJournal
from services.account.application.post_linked_journals import PostLinkedJournals
from services.account.application.posting_queue import PostingQueue
from services.account.application.prove import Prove
from services.account.application.reserve import Reserve
from services.account.application.reverse_journal import ReverseJournal
from services.account.application.void_reservation import VoidReservation
from services.account.settings import AccountSettings


async def build_parts(settings: AccountSettings) -> ServiceParts:
    """Connect, and hand everything to the chassis."""
    clock = settings.clock()
    chart = standard_chart()
    engine = create_engine(settings)
    nats = await connect_nats(settings)
    remembered = AccountIds()

    def transaction() -> AccountUnitOfWork:
        return AccountUnitOfWork(engine, chart, clock, remembered)

    tolerance_s = settings.terminal_clock_tolerance_s
    queue = PostingQueue(transaction, chart, clock, uuid4)
    use_cases = UseCases(
        open_account=OpenAccount(transaction, chart, clock),
        get_account=GetAccount(transaction),
        list_accounts=ListAccounts(transaction, chart),
        post_journal=PostJournal(queue, chart),
        post_linked_journals=PostLinkedJournals(queue, chart),
        reverse_journal=ReverseJournal(transaction, chart, clock, uuid4),
        get_journal=GetJournal(transaction),
        list_journals=ListJournals(transaction),
        get_balance=GetBalance(transaction),
        list_purse_items=ListPurseItems(transaction),
        close_purse_item=ClosePurseItem(transaction, clock),
        reserve=Reserve(transaction, chart, clock),
        commit_reservation=CommitReservation(transaction, chart, clock, uuid4, tolerance_s),
        void_reservation=VoidReservation(transaction, chart, clock, tolerance_s),
        get_reservation=GetReservation(transaction),
        list_entries=ListEntries(transaction),
        get_purse=GetPurse(transaction),
        prove=Prove(transaction, tolerance_s),
    )
    api = AccountApi(use_cases, chart, clock)
    expiry = ExpireReservations(transaction, chart, clock, settings.expiry_sweep_s, tolerance_s)
    relay = Relay(engine, nats, "account", replicas=settings.nats_stream_replicas)
    consumer = Consumer(
        nats,
        transaction,
        "account",
        "events",
        handlers(
            chart,
            FoldBatch(chart, clock, uuid4, tolerance_s),
            OpenPurses(chart, clock, uuid4, tolerance_s),
            ChargeWindowFee(chart, clock, uuid4),
            PostBookLines(chart, clock, uuid4),
        ),
        # Batches are large: a few at a time are enough to keep the database busy, and all of them are in memory.
        delivery=Delivery(batch=16),
        replicas=settings.nats_stream_replicas,
    )

    async def ready() -> None:
        await check_database(engine)

    async def close() -> None:
        await nats.close()
        await engine.dispose()

    return ServiceParts(
        name="account",
        register=lambda server: add_AccountServiceServicer_to_server(api, server),
        service_names=("citycard.account.v1.AccountService",),
        background=[("relay", relay.run), ("events", consumer.run), ("expiry", expiry.run)],
        ready=ready,
        close=close,
    )
