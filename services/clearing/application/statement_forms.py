"""Statements in every form, signed; and what a day's statements net to."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Protocol

from citycard.clearing.v1 import statement_service_pb2 as pb

from libs.clock import Clock
from services.clearing.application.apportionment import institution_of
from services.clearing.application.messages import day, timestamp, verdicts_to_pb
from services.clearing.application.ports import UnitOfWork
from services.clearing.domain.apportion import AUTHORITY
from services.clearing.domain.errors import ParticipantUnknown, StatementUnknown
from services.clearing.domain.errors_settlement import DayBegun, SigningKeyMissing, StatementUnsigned
from services.clearing.domain.fees import fees_of_line
from services.clearing.domain.netting import Model, Net, netting
from services.clearing.domain.participant import Participant
from services.clearing.domain.statement import FIRST_LINK, Statement, statement_lines
from services.clearing.domain.terms import Terms


class Signs(Protocol):
    """The centre's key."""

    @property
    def key_id(self) -> str:
        """Id of the key; empty without one."""
        ...

    @property
    def public_key_pem(self) -> str:
        """The public key; empty without one."""
        ...

    def sign(self, document: bytes) -> bytes:
        """Signature over the text of the purpose and the document."""
        ...


Render = Callable[[pb.StatementDocument, bytes, Participant], bytes]
"""Makes the form for people: document, CSV file, participant."""


@dataclass(frozen=True, slots=True)
class RoleSum:
    """Sums of one issuer's cards at one acquirer on a day."""

    issuer: str
    acquirer: str
    home: bool
    paid_count: int
    paid_fen: int
    pending_count: int
    pending_fen: int


def document_of(
    participant: Participant, statement: Statement, terms: Terms, previous_link: bytes
) -> pb.StatementDocument:
    """A statement for machines: a pure function of what stands."""
    lines = []
    for line in statement_lines(statement):
        fees = fees_of_line(
            participant, terms, institution_of(line.issuer), line.operator, line.gross_fen, line.count
        )  # fmt: skip
        lines.append(
            pb.StatementDocumentLine(
                issuer=line.issuer,
                acquirer=line.acquirer,
                operator_number=line.operator,
                record_count=line.count,
                gross_fen=line.gross_fen,
                subsidy_fen=line.subsidy_fen,
                fees=[
                    pb.StatementFee(
                        fee_class=fee.fee_class,
                        rule=fee.rule,
                        payee=f"participants/{fee.payee}" if fee.payee else "",
                        amount_fen=fee.amount_fen,
                    )
                    for fee in fees
                ],
                adjustment_fen=line.adjustment_fen,
                net_fen=line.net_fen,
            )
        )
    totals = statement.totals
    return pb.StatementDocument(
        name=name_of(participant.id, statement.settlement_date),
        settlement_date=day(statement.settlement_date),
        payout_date=day(statement.payout_date),
        statement_number=statement.number,
        lines=lines,
        adjustments=[
            pb.StatementAdjustment(
                kind=one.kind,
                reference=one.reference,
                original_date=day(one.original_date),
                amount_fen=one.amount_fen,
            )
            for one in terms.adjustments
        ],
        verdicts=verdicts_to_pb(statement.verdicts),
        record_count=totals.record_count,
        list_price_fen=totals.list_price_fen,
        gross_fen=totals.gross_fen,
        subsidy_fen=totals.subsidy_fen,
        fee_fen=totals.fee_fen,
        adjustment_fen=totals.adjustment_fen,
        net_fen=totals.net_fen,
        st_sha256=statement.sha256,
        csv_sha256=hashlib.sha256(statement.csv_file).digest(),
        records_digest=statement.records_digest,
        previous_chain_hash=previous_link,
        chain_hash=statement.chain_hash,
    )


def name_of(participant: str, settlement_date: date) -> str:
    """Resource name of a statement."""
    return f"participants/{participant}/statements/{settlement_date:%Y%m%d}"


class StatementForms:
    """Documents, files and signatures of statements."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock, signer: Signs, render: Render) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._signer = signer
        self._render = render

    async def document(self, participant: str, settlement_date: date) -> pb.StatementDocument:
        """The statement for machines.

        Raises:
            StatementUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            _, document = await self._document(uow, participant, settlement_date)
        return document

    async def file(self, participant: str, settlement_date: date, form: int) -> bytes:
        """One form as a file; `form` is a `StatementForm`.

        Raises:
            StatementUnknown: There is none.
        """
        async with self._unit_of_work() as uow:
            statement, document = await self._document(uow, participant, settlement_date)
            found = await uow.participants.find(participant)
        if form == pb.STATEMENT_FORM_ST:
            return statement.st_file
        if form == pb.STATEMENT_FORM_CSV:
            return statement.csv_file
        if form == pb.STATEMENT_FORM_PROTOBUF:
            return document.SerializeToString(deterministic=True)
        return self._render(document, statement.csv_file, found)

    async def sign(self, participant: str, settlement_date: date) -> pb.SignedStatement:
        """The signed statement; signed once, with the key of that moment.

        Raises:
            StatementUnknown, SigningKeyMissing: In this order.
        """
        async with self._unit_of_work() as uow:
            _, document = await self._document(uow, participant, settlement_date)
            stands: pb.SignedStatement | None = await uow.signatures.find(participant, settlement_date)
            if stands is not None:
                return stands
            if not self._signer.key_id:
                raise SigningKeyMissing
            content = document.SerializeToString(deterministic=True)
            signed = pb.SignedStatement(
                document=content,
                key_id=self._signer.key_id,
                signature=self._signer.sign(content),
                sign_time=timestamp(self._clock.now()),
            )
            if not await uow.signatures.add(participant, settlement_date, signed):
                # Somebody else signed it meanwhile: the first signature stands.
                stands = await uow.signatures.find(participant, settlement_date)
                assert stands is not None, "a signature is never removed"
                return stands
            await uow.commit()
        return signed

    async def signed(self, participant: str, settlement_date: date) -> pb.SignedStatement:
        """The signed statement.

        Raises:
            StatementUnknown, StatementUnsigned: In this order.
        """
        async with self._unit_of_work() as uow:
            await self._document(uow, participant, settlement_date)
            found: pb.SignedStatement | None = await uow.signatures.find(participant, settlement_date)
        if found is None:
            raise StatementUnsigned(statement=name_of(participant, settlement_date))
        return found

    def signing_key(self) -> pb.SigningKey:
        """The public key.

        Raises:
            SigningKeyMissing: The service was given none.
        """
        if not self._signer.key_id:
            raise SigningKeyMissing
        return pb.SigningKey(key_id=self._signer.key_id, public_key_pem=self._signer.public_key_pem)

    async def _document(
        self, uow: UnitOfWork, participant: str, settlement_date: date
    ) -> tuple[Statement, pb.StatementDocument]:
        statement: Statement | None = await uow.windows.statement(participant, settlement_date)
        if statement is None:
            raise StatementUnknown(statement=name_of(participant, settlement_date))
        found = await uow.participants.find(participant)
        # A document names the fee in force when the window was closed, whatever the terms are now.
        fee_rate_bp, previous = await uow.signatures.context(found.number, settlement_date, statement.number)
        then = replace(found, fee_rate_bp=fee_rate_bp)
        terms = await uow.windows.terms(found.number, settlement_date)
        return statement, document_of(then, statement, terms, previous or FIRST_LINK)


class SettlementModels:
    """How participants are settled, and what days net to."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def set(self, participant: str, effective_on: date, model: Model) -> None:
        """Set the model from a day on; setting the same again changes nothing.

        Raises:
            ParticipantUnknown, DayBegun: In this order.
        """
        async with self._unit_of_work() as uow:
            found = await uow.participants.find(participant)
            if found is None:
                raise ParticipantUnknown(participant=participant)
            if await uow.signatures.model_rule(found.number, effective_on) != model:
                now: datetime = self._clock.now()
                if effective_on <= found.settlement_date(now):
                    raise DayBegun(participant=participant, settlement_date=effective_on.isoformat())
                await uow.signatures.set_model(found.number, effective_on, model)
                await uow.commit()

    async def netting(self, settlement_date: date) -> Sequence[Net]:
        """Nets of the statements of a day; they sum to zero."""
        async with self._unit_of_work() as uow:
            statements = await uow.signatures.statements_of(settlement_date)
            subsidies = [
                (one.funder, one.amount_fen)
                for number, _ in statements
                for one in (await uow.windows.terms(number, settlement_date)).fundings
                if one.funder.startswith(AUTHORITY)
            ]
        return netting([line for _, statement in statements for line in statement_lines(statement)], subsidies)

    async def roles(self, settlement_date: date) -> Sequence[RoleSum]:
        """Sums of a day by issuer and acquirer."""
        async with self._unit_of_work() as uow:
            found: list[RoleSum] = await uow.signatures.roles(settlement_date)
        return found
