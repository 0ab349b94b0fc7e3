"""Builds the part of the account service that speaks with banks."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from libs.clock import Clock
from libs.runtime.client import TlsFiles
from services.account.adapters.bank_client import GrpcBanks
from services.account.adapters.grpc_bank_api import BankApi, BankUseCases
from services.account.application.bank_booking import FlowBooks
from services.account.application.bank_ports import BankTransaction
from services.account.application.close_break import CloseBreak
from services.account.application.drive_bank_flow import DriveBankFlow
from services.account.application.fetch_bank_file import FetchBankFile
from services.account.application.get_bank import GetBank
from services.account.application.get_bank_flow import GetBankFlow
from services.account.application.import_bank_file import ImportBankFile
from services.account.application.list_bank_flows import ListBankFlows
from services.account.application.list_banks import ListBanks
from services.account.application.list_breaks import ListBreaks
from services.account.application.match_bank_day import MatchBankDay
from services.account.application.register_bank import RegisterBank
from services.account.application.report_bank_answer import ReportBankAnswer
from services.account.application.reverse_bank_flow import ReverseBankFlow
from services.account.application.start_bank_flow import StartBankFlow
from services.account.application.sweep_bank_flows import SweepBankFlows
from services.account.domain.bank_flow import Pace
from services.account.domain.chart import Chart
from services.account.settings import AccountSettings


@dataclass(frozen=True, slots=True)
class BankParts:
    """What the service runs and closes."""

    api: BankApi
    run: Callable[[], Coroutine[Any, Any, None]]
    close: Callable[[], Coroutine[Any, Any, None]]


def build_bank_parts(settings: AccountSettings, transaction: BankTransaction, chart: Chart, clock: Clock) -> BankParts:
    """Put the use cases together."""
    gateway = GrpcBanks(TlsFiles.of(settings))
    pace = Pace(settings.bank_retry_first_s, settings.bank_retry_last_s)
    books = FlowBooks(chart, uuid4)
    drive = DriveBankFlow(transaction, gateway, books, clock, pace)
    match = MatchBankDay(transaction, books, clock)
    import_file = ImportBankFile(transaction, match)
    use_cases = BankUseCases(
        register_bank=RegisterBank(transaction, chart),
        get_bank=GetBank(transaction),
        list_banks=ListBanks(transaction),
        start=StartBankFlow(transaction, chart, clock, uuid4),
        drive=drive,
        get_flow=GetBankFlow(transaction),
        list_flows=ListBankFlows(transaction),
        reverse=ReverseBankFlow(transaction, chart, books, clock),
        report_answer=ReportBankAnswer(transaction, books, clock, pace),
        import_file=import_file,
        fetch_file=FetchBankFile(transaction, gateway, import_file),
        list_breaks=ListBreaks(transaction),
        close_break=CloseBreak(transaction, clock),
    )
    sweep = SweepBankFlows(transaction, drive, match, clock, settings.bank_sweep_s)
    return BankParts(BankApi(use_cases, clock, settings.bank_wait_s), sweep.run, gateway.close)
