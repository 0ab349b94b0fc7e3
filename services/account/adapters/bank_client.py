"""Banks behind their adapters: one channel each, mutual TLS, a time limit per call, retries as the contract allows."""

import asyncio
import ssl
from collections.abc import Awaitable
from datetime import date, datetime
from typing import Any

import grpc
from citycard.common.v1.types_pb2 import Date
from citycard.participant.v1 import bank_adapter_service_pb2 as pb
from citycard.participant.v1.bank_adapter_service_pb2_grpc import BankAdapterServiceStub

from libs.runtime.client import TlsFiles, open_channel
from services.account.adapters.translate import timestamp
from services.account.domain.bank import Bank
from services.account.domain.bank_errors import BankFileMalformed, BankSilent
from services.account.domain.bank_file import BYTES_MAX
from services.account.domain.bank_leg import BankAnswer, BankLeg, BankState, Direction, Verb

_SERVICES = list(pb.DESCRIPTOR.services_by_name.values())
_DIRECTIONS = {Direction.DEBIT: pb.BANK_DIRECTION_DEBIT, Direction.CREDIT: pb.BANK_DIRECTION_CREDIT}
_STATES = {pb.BankOperationState.Value(f"BANK_OPERATION_STATE_{state.value}"): state for state in BankState}
_FILE_TIMEOUT_S = 60.0
_REFERENCE_MAX = 64


class GrpcBanks:
    """`BankGateway` over gRPC.

    Args:
        tls: Who we are, and which authority banks' certificates descend from.
    """

    def __init__(self, tls: TlsFiles) -> None:
        self._tls = tls
        self._channels: dict[tuple[str, str], grpc.aio.Channel] = {}

    async def ask(self, bank: Bank, verb: Verb, leg: BankLeg, purpose: str, expire_time: datetime) -> BankAnswer:
        """See the port."""
        stub: Any = await self._stub(bank)
        name = str(leg.operation)
        if verb is Verb.AUTHORISE:
            authorise = pb.AuthoriseOperationRequest(
                operation_id=name,
                direction=_DIRECTIONS[leg.direction],
                account_token=leg.account_token,
                amount_fen=leg.amount_fen,
                business_date=_date(leg.business_date),
                expire_time=timestamp(expire_time),
                purpose=purpose,
            )
            answer = await _answered(bank, stub.AuthoriseOperation(authorise, timeout=bank.call_timeout_s))
        elif verb is Verb.CAPTURE:
            capture = pb.CaptureOperationRequest(operation_id=name, amount_fen=leg.amount_fen)
            answer = await _answered(bank, stub.CaptureOperation(capture, timeout=bank.call_timeout_s))
        elif verb is Verb.REVERSE:
            reverse = pb.ReverseOperationRequest(operation_id=name)
            answer = await _answered(bank, stub.ReverseOperation(reverse, timeout=bank.call_timeout_s))
        else:
            query = pb.GetOperationRequest(operation_id=name)
            answer = await _answered(bank, stub.GetOperation(query, timeout=bank.call_timeout_s))
        return _read(bank, leg, answer)

    async def daily_file(self, bank: Bank, business_date: date) -> bytes:
        """See the port."""
        stub: Any = await self._stub(bank)
        content = bytearray()
        request = pb.ReadDailyFileRequest(business_date=_date(business_date))
        try:
            async for part in stub.ReadDailyFile(request, timeout=_FILE_TIMEOUT_S):
                content += part.chunk
                if len(content) > BYTES_MAX:
                    raise BankFileMalformed(line=0, mistake=f"longer than {BYTES_MAX} bytes")
        except grpc.aio.AioRpcError as error:
            raise BankSilent(bank=bank.participant, why=error.code().name) from error
        return bytes(content)

    async def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    async def _stub(self, bank: Bank) -> BankAdapterServiceStub:
        key = (bank.participant, bank.address)
        if key not in self._channels:
            await self._check_name(bank)
        if key not in self._channels:
            # Still missing after the wait: nobody else has opened it meanwhile.
            self._channels[key] = open_channel(bank.address, self._tls, _SERVICES)
        return BankAdapterServiceStub(self._channels[key])

    async def _check_name(self, bank: Bank) -> None:
        """Look at the certificate behind the address once, before anything is sent there.

        gRPC holds the certificate against the host's name; whether it is this bank's, the URI name in it says.
        """
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(self._tls.ca))
        context.load_cert_chain(self._tls.cert, self._tls.key)
        context.set_alpn_protocols(["h2"])
        host, _, port = bank.address.rpartition(":")
        try:
            async with asyncio.timeout(bank.call_timeout_s):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
        except (OSError, TimeoutError) as error:
            raise BankSilent(bank=bank.participant, why=f"no connection: {type(error).__name__}") from error
        certificate = writer.get_extra_info("peercert") or {}
        writer.transport.abort()
        names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
        if names != [f"citycard://participant/{bank.participant}"]:
            raise BankSilent(bank=bank.participant, why="its certificate is another's")


async def _answered(bank: Bank, call: Awaitable[pb.BankOperation]) -> pb.BankOperation:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        # Whatever the status says of the call, it says nothing of the operation: the bank is asked again.
        raise BankSilent(bank=bank.participant, why=error.code().name) from error


def _read(bank: Bank, leg: BankLeg, answer: pb.BankOperation) -> BankAnswer:
    """The bank's word, if it is one.

    Raises:
        BankSilent: It speaks of another operation, of the other direction, or of no state that we know.
    """
    state = _STATES.get(answer.state)
    if answer.operation_id != str(leg.operation) or state is None or answer.amount_fen < 0:
        raise BankSilent(bank=bank.participant, why="the answer is none to the question")
    if state in (BankState.HELD, BankState.CAPTURED) and answer.direction != _DIRECTIONS[leg.direction]:
        # As much as another amount: what it holds is not what it was asked for.
        return BankAnswer(state, -answer.amount_fen, answer.reference[:_REFERENCE_MAX])
    return BankAnswer(state, answer.amount_fen, answer.reference[:_REFERENCE_MAX], answer.refusal[:_REFERENCE_MAX])


def _date(day: date) -> Date:
    return Date(year=day.year, month=day.month, day=day.day)
