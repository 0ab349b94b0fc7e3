"""The calls of bank flows: translate, call one use case, translate back."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from citycard.account.v1 import bank_service_pb2 as pb
from citycard.account.v1.bank_service_pb2_grpc import BankServiceServicer

from libs.clock import Clock
from libs.errors import NotYours, RequestMalformed
from libs.runtime.identity import Context, Role, caller
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import RequestKey, request_key
from services.account.adapters import translate_bank as translate
from services.account.application.close_break import CloseBreak
from services.account.application.drive_bank_flow import DriveBankFlow
from services.account.application.fetch_bank_file import FetchBankFile
from services.account.application.get_bank import GetBank
from services.account.application.get_bank_flow import GetBankFlow
from services.account.application.import_bank_file import ImportBankFile
from services.account.application.list_bank_flows import ListBankFlows
from services.account.application.list_banks import ListBanks
from services.account.application.list_breaks import ListBreaks
from services.account.application.register_bank import RegisterBank
from services.account.application.report_bank_answer import ReportBankAnswer
from services.account.application.reverse_bank_flow import ReverseBankFlow
from services.account.application.start_bank_flow import StartBankFlow
from services.account.domain.bank_errors import BankFileMalformed
from services.account.domain.bank_file import BYTES_MAX
from services.account.domain.bank_order import FlowOrder


@dataclass(frozen=True, slots=True)
class BankUseCases:
    """What the API calls, one per verb."""

    register_bank: RegisterBank
    get_bank: GetBank
    list_banks: ListBanks
    start: StartBankFlow
    drive: DriveBankFlow
    get_flow: GetBankFlow
    list_flows: ListBankFlows
    reverse: ReverseBankFlow
    report_answer: ReportBankAnswer
    import_file: ImportBankFile
    fetch_file: FetchBankFile
    list_breaks: ListBreaks
    close_break: CloseBreak


class BankApi(BankServiceServicer):
    """citycard.account.v1.BankService.

    Args:
        use_cases: What is called.
        clock: For ages.
        wait_s: How long a caller waits for the end of its flow, seconds.
    """

    def __init__(self, use_cases: BankUseCases, clock: Clock, wait_s: float) -> None:
        self._do = use_cases
        self._clock = clock
        self._wait_s = wait_s

    async def RegisterBank(self, request: pb.RegisterBankRequest, context: Context) -> pb.Bank:
        registered = await self._do.register_bank(translate.bank(request.bank), request_key(request, context))
        return translate.bank_to_pb(registered)

    async def GetBank(self, request: pb.GetBankRequest, context: Context) -> pb.Bank:
        participant = translate.bank_id(request.name)
        caller(context).must_own(participant)
        return translate.bank_to_pb(await self._do.get_bank(participant))

    async def ListBanks(self, request: pb.ListBanksRequest, context: Context) -> pb.ListBanksResponse:
        size = page_size(request.page_size)
        after = page_key("ListBanks", request.page_token, (str,))
        found = await self._do.list_banks(str(after[0]) if after else "", size + 1)
        page = found[:size]
        return pb.ListBanksResponse(
            banks=[translate.bank_to_pb(bank) for bank in page],
            next_page_token=page_token("ListBanks", (page[-1].participant,)) if len(found) > size else "",
        )

    async def LoadFromBank(self, request: pb.LoadFromBankRequest, context: Context) -> pb.BankFlow:
        return await self._start(translate.load(request), request_key(request, context))

    async def UnloadToBank(self, request: pb.UnloadToBankRequest, context: Context) -> pb.BankFlow:
        return await self._start(translate.unload(request), request_key(request, context))

    async def PurchaseFromBank(self, request: pb.PurchaseFromBankRequest, context: Context) -> pb.BankFlow:
        caller(context).must_own(request.merchant.removeprefix("participants/"))
        return await self._start(translate.purchase(request), request_key(request, context))

    async def WithdrawCash(self, request: pb.WithdrawCashRequest, context: Context) -> pb.BankFlow:
        identity = caller(context)
        if identity.kind is Role.OUTLET and request.outlet != f"outlets/{identity.id}":
            raise NotYours
        return await self._start(translate.cash(request), request_key(request, context))

    async def TransferBetweenBanks(self, request: pb.TransferBetweenBanksRequest, context: Context) -> pb.BankFlow:
        return await self._start(translate.transfer(request), request_key(request, context))

    async def GetBankFlow(self, request: pb.GetBankFlowRequest, context: Context) -> pb.BankFlow:
        flow = await self._do.get_flow(translate.flow_id(request.name))
        identity = caller(context)
        if identity.kind is Role.PARTICIPANT and not translate.touches(flow, identity.id):
            raise NotYours
        if identity.kind is Role.OUTLET and translate.account_of(flow) != f"1221.{identity.id}":
            raise NotYours
        return translate.flow_to_pb(flow)

    async def ListBankFlows(self, request: pb.ListBankFlowsRequest, context: Context) -> pb.ListBankFlowsResponse:
        bank = translate.bank_id(request.bank)
        caller(context).must_own(bank)
        size = page_size(request.page_size)
        listed = f"ListBankFlows?{request.bank}&{request.state}"
        key = page_key(listed, request.page_token, (int,))
        after = int(key[0] or 0) if key else 0
        found = await self._do.list_flows(after, size + 1, bank, translate.flow_state(request.state))
        page = found[:size]
        return pb.ListBankFlowsResponse(
            flows=[translate.flow_to_pb(row.flow) for row in page],
            next_page_token=page_token(listed, (page[-1].number,)) if len(found) > size else "",
        )

    async def ReverseBankFlow(self, request: pb.ReverseBankFlowRequest, context: Context) -> pb.BankFlow:
        flow = await self._do.reverse(translate.flow_id(request.name), request_key(request, context))
        return translate.flow_to_pb(await self._do.drive(flow.id, self._wait_s))

    async def ReportBankAnswer(
        self, request: pb.ReportBankAnswerRequest, context: Context
    ) -> pb.ReportBankAnswerResponse:
        answer = translate.bank_answer(request.operation)
        operation = UUID(request.operation.operation_id)
        await self._do.report_answer(caller(context).id, operation, answer, request_key(request, context))
        return pb.ReportBankAnswerResponse()

    async def ImportBankFile(
        self, request_iterator: AsyncIterator[pb.ImportBankFileRequest], context: Context
    ) -> pb.BankFile:
        bank = ""
        content = bytearray()
        async for request in request_iterator:
            if not bank:
                bank = request.bank
                caller(context).must_own(translate.bank_id(bank))
            if not bank or request.bank not in ("", bank):
                raise RequestMalformed(field="bank", description="must stand in the first message, and never change")
            content += request.chunk
            if len(content) > BYTES_MAX:
                raise BankFileMalformed(line=0, mistake=f"longer than {BYTES_MAX} bytes")
        if not bank:
            raise RequestMalformed(field="bank", description="must stand in the first message")
        return translate.match_to_pb(await self._do.import_file(translate.bank_id(bank), bytes(content)))

    async def FetchBankFile(self, request: pb.FetchBankFileRequest, context: Context) -> pb.BankFile:
        business_date = translate.day(request.business_date, "business_date")
        return translate.match_to_pb(await self._do.fetch_file(translate.bank_id(request.bank), business_date))

    async def ListBreaks(self, request: pb.ListBreaksRequest, context: Context) -> pb.ListBreaksResponse:
        bank = translate.bank_id(request.bank)
        caller(context).must_own(bank)
        size = page_size(request.page_size)
        listed = f"ListBreaks?{request.bank}&{request.include_closed}&{request.kind}"
        key = page_key(listed, request.page_token, (int,))
        found = await self._do.list_breaks(
            int(key[0] or 0) if key else 0,
            size + 1,
            bank,
            open_only=not request.include_closed,
            kind=translate.break_kind(request.kind),
        )
        page = found[:size]
        now = self._clock.now()
        return pb.ListBreaksResponse(
            breaks=[translate.break_to_pb(row, now) for row in page],
            next_page_token=page_token(listed, (page[-1].id,)) if len(found) > size else "",
        )

    async def CloseBreak(self, request: pb.CloseBreakRequest, context: Context) -> pb.BankBreak:
        number = int(request.name.removeprefix("bankBreaks/"))
        closed = await self._do.close_break(number, request.note, request_key(request, context))
        return translate.break_to_pb(closed, self._clock.now())

    async def _start(self, order: FlowOrder, request: RequestKey) -> pb.BankFlow:
        flow = await self._do.start(order, request)
        return translate.flow_to_pb(await self._do.drive(flow.id, self._wait_s))
