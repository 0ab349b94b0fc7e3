"""StatementService over gRPC: translate, call one use case, translate back."""

from collections.abc import AsyncIterator

from citycard.clearing.v1 import clearing_service_pb2
from citycard.clearing.v1 import statement_service_pb2 as service
from citycard.clearing.v1.statement_service_pb2_grpc import StatementServiceServicer

from libs.runtime.identity import Context, caller
from services.clearing.adapters.reading import bare, dated, day_of, file_parts
from services.clearing.application.statement_forms import SettlementModels, StatementForms
from services.clearing.domain.netting import Model


class StatementApi(StatementServiceServicer):
    """The servicer."""

    def __init__(self, forms: StatementForms, models: SettlementModels) -> None:
        self._forms = forms
        self._models = models

    async def GetStatementDocument(
        self, request: service.GetStatementDocumentRequest, context: Context
    ) -> service.StatementDocument:
        participant, day = dated(request.name)
        caller(context).must_own(participant)
        return await self._forms.document(participant, day)

    async def GetStatementFile(
        self, request: service.GetStatementFileRequest, context: Context
    ) -> AsyncIterator[clearing_service_pb2.FilePart]:
        participant, day = dated(request.name)
        caller(context).must_own(participant)
        for part in file_parts(await self._forms.file(participant, day, request.form)):
            yield clearing_service_pb2.FilePart(data=part)

    async def SignStatement(self, request: service.SignStatementRequest, context: Context) -> service.SignedStatement:
        return await self._forms.sign(*dated(request.name))

    async def GetSignedStatement(
        self, request: service.GetSignedStatementRequest, context: Context
    ) -> service.SignedStatement:
        participant, day = dated(request.name)
        caller(context).must_own(participant)
        return await self._forms.signed(participant, day)

    async def GetSigningKey(self, request: service.GetSigningKeyRequest, context: Context) -> service.SigningKey:
        return self._forms.signing_key()

    async def SetSettlementModel(
        self, request: service.SetSettlementModelRequest, context: Context
    ) -> service.SettlementModelRule:
        rule = request.rule
        await self._models.set(
            bare(rule.participant), day_of("rule.effective_date", rule.effective_date), Model(rule.model)
        )
        return rule

    async def GetNetting(self, request: service.GetNettingRequest, context: Context) -> service.Netting:
        found = await self._models.netting(day_of("settlement_date", request.settlement_date))
        return service.Netting(
            positions=[
                service.NetPosition(
                    party=one.party,
                    as_acquirer_fen=one.as_acquirer_fen,
                    as_issuer_fen=one.as_issuer_fen,
                    net_fen=one.net_fen,
                )
                for one in found
            ],
            sum_fen=sum(one.net_fen for one in found),
        )

    async def ListRoles(self, request: service.ListRolesRequest, context: Context) -> service.ListRolesResponse:
        found = await self._models.roles(day_of("settlement_date", request.settlement_date))
        return service.ListRolesResponse(
            sums=[
                service.RoleSum(
                    issuer=one.issuer,
                    acquirer=one.acquirer,
                    home=one.home,
                    paid_count=one.paid_count,
                    paid_fen=one.paid_fen,
                    pending_count=one.pending_count,
                    pending_fen=one.pending_fen,
                )
                for one in found
            ]
        )
