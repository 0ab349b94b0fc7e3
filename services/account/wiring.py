"""Builds the account service: adapters on one side, use cases on the other."""

from uuid import uuid4

import grpc
from citycard.account.v1.account_service_pb2_grpc import add_AccountServiceServicer_to_server
from citycard.account.v1.bank_service_pb2_grpc import add_BankServiceServicer_to_server
from citycard.account.v1.float_service_pb2_grpc import add_FloatServiceServicer_to_server
from citycard.account.v1.wallet_service_pb2_grpc import add_WalletServiceServicer_to_server

from libs.runtime.consumer import Consumer, Delivery
from libs.runtime.database import check_database, create_engine
from libs.runtime.events import connect_nats
from libs.runtime.relay import Relay
from libs.runtime.server import ServiceParts
from services.account.adapters.chart_file import standard_chart
from services.account.adapters.events_in import handlers
from services.account.adapters.float_grpc_api import FloatApi, FloatUseCases
from services.account.adapters.float_unit_of_work import AccountFloatUnitOfWork
from services.account.adapters.grpc_api import AccountApi, UseCases
from services.account.adapters.sql_accounts import AccountIds
from services.account.adapters.unit_of_work import AccountUnitOfWork
from services.account.application.charge_window_fee import ChargeWindowFee
from services.account.application.close_bank_item import CloseBankItem
from services.account.application.close_float_days import CloseFloatDays
from services.account.application.close_purse_item import ClosePurseItem
from services.account.application.commit_reservation import CommitReservation
from services.account.application.expire_reservations import ExpireReservations
from services.account.application.fold_batch import FoldBatch
from services.account.application.get_account import GetAccount
from services.account.application.get_balance import GetBalance
from services.account.application.get_bank_reconciliation import GetBankReconciliation
from services.account.application.get_float import GetFloat
from services.account.application.get_journal import GetJournal
from services.account.application.get_purse import GetPurse
from services.account.application.get_reservation import GetReservation
from services.account.application.list_accounts import ListAccounts
from services.account.application.list_bank_items import ListBankItems
from services.account.application.list_dormancy_rules import ListDormancyRules
from services.account.application.list_dormant_purses import ListDormantPurses
from services.account.application.list_entries import ListEntries
from services.account.application.list_float_days import ListFloatDays
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
from services.account.application.set_dormancy_rule import SetDormancyRule
from services.account.application.upload_bank_statement import UploadBankStatement
from services.account.application.void_reservation import VoidReservation
from services.account.bank_wiring import build_bank_parts
from services.account.settings import AccountSettings
from services.account.wallet_wiring import build_wallets


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

    def float_transaction() -> AccountFloatUnitOfWork:
        return AccountFloatUnitOfWork(engine, chart, clock, remembered)

    close_float_days = CloseFloatDays(float_transaction, clock, settings.float_sweep_s)
    float_api = FloatApi(
        FloatUseCases(
            get_float=GetFloat(float_transaction, clock),
            list_float_days=ListFloatDays(float_transaction),
            close_float_days=close_float_days,
            upload_bank_statement=UploadBankStatement(float_transaction, clock),
            get_bank_reconciliation=GetBankReconciliation(float_transaction),
            list_bank_items=ListBankItems(float_transaction),
            close_bank_item=CloseBankItem(float_transaction, clock),
            list_dormant_purses=ListDormantPurses(float_transaction),
            set_dormancy_rule=SetDormancyRule(float_transaction, clock),
            list_dormancy_rules=ListDormancyRules(float_transaction),
        ),
        clock,
    )
    wallets = build_wallets(
        transaction, chart, clock, use_cases.commit_reservation, use_cases.void_reservation, settings.expiry_sweep_s
    )
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

    banks = build_bank_parts(settings, transaction, chart, clock)

    async def ready() -> None:
        await check_database(engine)

    async def close() -> None:
        await banks.close()
        await nats.close()
        await engine.dispose()

    def register(server: grpc.aio.Server) -> None:
        add_AccountServiceServicer_to_server(api, server)
        add_BankServiceServicer_to_server(banks.api, server)
        add_FloatServiceServicer_to_server(float_api, server)
        add_WalletServiceServicer_to_server(wallets.api, server)

    return ServiceParts(
        name="account",
        register=register,
        service_names=(
            "citycard.account.v1.AccountService",
            "citycard.account.v1.BankService",
            "citycard.account.v1.FloatService",
            "citycard.account.v1.WalletService",
        ),
        background=[
            ("relay", relay.run),
            ("events", consumer.run),
            ("expiry", expiry.run),
            ("float", close_float_days.run),
            ("banks", banks.run),
            ("lots", wallets.expire_lots.run),
        ],
        ready=ready,
        close=close,
    )
