"""The float's calls: translate, call one use case, translate back."""

from dataclasses import dataclass
from datetime import date, timedelta

from citycard.account.v1 import float_service_pb2 as pb
from citycard.account.v1.float_service_pb2_grpc import FloatServiceServicer

from libs.clock import Clock
from libs.runtime.identity import Context, caller
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.account.adapters import float_translate as translate
from services.account.adapters.translate import account_name, purse_key
from services.account.application.close_bank_item import CloseBankItem
from services.account.application.close_float_days import CloseFloatDays
from services.account.application.get_bank_reconciliation import GetBankReconciliation
from services.account.application.get_float import GetFloat
from services.account.application.list_bank_items import ListBankItems
from services.account.application.list_dormancy_rules import ListDormancyRules
from services.account.application.list_dormant_purses import ListDormantPurses
from services.account.application.list_float_days import ListFloatDays
from services.account.application.set_dormancy_rule import SetDormancyRule
from services.account.application.upload_bank_statement import UploadBankStatement
from services.account.domain.float import city_day


@dataclass(frozen=True, slots=True)
class FloatUseCases:
    """What the API calls, one per RPC."""

    get_float: GetFloat
    list_float_days: ListFloatDays
    close_float_days: CloseFloatDays
    upload_bank_statement: UploadBankStatement
    get_bank_reconciliation: GetBankReconciliation
    list_bank_items: ListBankItems
    close_bank_item: CloseBankItem
    list_dormant_purses: ListDormantPurses
    set_dormancy_rule: SetDormancyRule
    list_dormancy_rules: ListDormancyRules


class FloatApi(FloatServiceServicer):
    """citycard.account.v1.FloatService."""

    def __init__(self, use_cases: FloatUseCases, clock: Clock) -> None:
        self._do = use_cases
        self._clock = clock

    @property
    def _today(self) -> date:
        return city_day(self._clock.now())

    async def GetFloat(self, request: pb.GetFloatRequest, context: Context) -> pb.FloatDay:
        """The float of a closed day, or of this moment."""
        day = translate.day_of(request.day, "day") if request.HasField("day") else None
        found = await self._do.get_float(day, recount=request.recount)
        return translate.float_day_to_pb(found, closed=day is not None)

    async def ListFloatDays(self, request: pb.ListFloatDaysRequest, context: Context) -> pb.ListFloatDaysResponse:
        """A page of closed days."""
        size = page_size(request.page_size)
        first = translate.day_of(request.first_day, "first_day") if request.HasField("first_day") else date.min
        last = translate.day_of(request.last_day, "last_day") if request.HasField("last_day") else date.max
        listed = f"ListFloatDays?{first}&{last}"
        key = page_key(listed, request.page_token, (str,))
        if key:
            first = date.fromisoformat(str(key[0])) + timedelta(days=1)
        found = await self._do.list_float_days(first, last, size + 1)
        page = found[:size]
        return pb.ListFloatDaysResponse(
            days=[translate.float_day_to_pb(day, closed=True) for day in page],
            next_page_token=page_token(listed, (page[-1].day.isoformat(),)) if len(found) > size else "",
        )

    async def CloseFloatDay(self, request: pb.CloseFloatDayRequest, context: Context) -> pb.FloatDay:
        """Close a day by hand."""
        found = await self._do.close_float_days(translate.day_of(request.day, "day"))
        return translate.float_day_to_pb(found, closed=True)

    async def UploadBankStatement(
        self, request: pb.UploadBankStatementRequest, context: Context
    ) -> pb.BankReconciliation:
        """Take the bank's statement of a day."""
        statement = translate.statement(request, self._clock.now())
        found = await self._do.upload_bank_statement(statement, request_key(request, context))
        return translate.reconciliation_to_pb(found, self._today)

    async def GetBankReconciliation(
        self, request: pb.GetBankReconciliationRequest, context: Context
    ) -> pb.BankReconciliation:
        """Bank and book at the end of a day."""
        day = translate.day_of(request.day, "day") if request.HasField("day") else self._today
        found = await self._do.get_bank_reconciliation(account_name(request.account), day)
        return translate.reconciliation_to_pb(found, self._today)

    async def ListBankItems(self, request: pb.ListBankItemsRequest, context: Context) -> pb.ListBankItemsResponse:
        """A page of what differs."""
        size = page_size(request.page_size)
        listed = f"ListBankItems?{request.include_closed}&{request.account}"
        key = page_key(listed, request.page_token, (int,))
        found = await self._do.list_bank_items(
            int(key[0] or 0) if key else 0,
            size + 1,
            account_name(request.account) if request.account else None,
            include_closed=request.include_closed,
        )
        page = found[:size]
        return pb.ListBankItemsResponse(
            items=[translate.bank_item_to_pb(item, self._today) for item in page],
            next_page_token=page_token(listed, (page[-1].id,)) if len(found) > size else "",
        )

    async def CloseBankItem(self, request: pb.CloseBankItemRequest, context: Context) -> pb.BankItem:
        """End a difference by a decision."""
        other = int(request.counterpart.removeprefix("bankItems/")) if request.counterpart else None
        number = int(request.name.removeprefix("bankItems/"))
        item = await self._do.close_bank_item(number, other, request.note, request_key(request, context))
        return translate.bank_item_to_pb(item, self._today)

    async def ListDormantPurses(
        self, request: pb.ListDormantPursesRequest, context: Context
    ) -> pb.ListDormantPursesResponse:
        """A page of dormant cards."""
        size = page_size(request.page_size)
        listed = f"ListDormantPurses?{request.include_revived}&{request.product}&{request.purse}"
        key = page_key(listed, request.page_token, (int,))
        found = await self._do.list_dormant_purses(
            int(key[0] or 0) if key else 0,
            size + 1,
            request.product or None,
            purse_key(request.purse) if request.purse else None,
            include_revived=request.include_revived,
        )
        page = found[:size]
        return pb.ListDormantPursesResponse(
            purses=[translate.dormant_to_pb(one) for one in page],
            next_page_token=page_token(listed, (page[-1].id,)) if len(found) > size else "",
        )

    async def SetDormancyRule(self, request: pb.SetDormancyRuleRequest, context: Context) -> pb.DormancyRule:
        """Set from which silence on cards are dormant."""
        from_day = translate.day_of(request.from_day, "from_day") if request.HasField("from_day") else self._today
        rule = await self._do.set_dormancy_rule(
            request.product, request.silence_days, from_day, caller(context).uri, request_key(request, context)
        )
        return translate.rule_to_pb(rule)

    async def ListDormancyRules(
        self, request: pb.ListDormancyRulesRequest, context: Context
    ) -> pb.ListDormancyRulesResponse:
        """All rules of dormancy."""
        return pb.ListDormancyRulesResponse(
            rules=[translate.rule_to_pb(rule) for rule in await self._do.list_dormancy_rules()]
        )
