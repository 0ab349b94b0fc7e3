"""The gRPC face of the gateway."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from citycard.common.v1 import types_pb2 as common_pb
from citycard.terminal_gw.v1 import error_reason_pb2  # noqa: F401 (the texts of the refusals are found through it)
from citycard.terminal_gw.v1 import terminal_gw_pb2 as pb
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service_pb
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceServicer

from libs.clock import Clock
from libs.errors import CallerUnknown
from libs.runtime.identity import Context, Identity, caller
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.terminal_gw.adapters.grpc_sessions import trusted
from services.terminal_gw.adapters.messages import moment, terminal_to_pb, upload_to_pb, write
from services.terminal_gw.adapters.messages_field import introduction_of_pb, printable, readable, sign_in_to_pb
from services.terminal_gw.application.batch_register_terminals import BatchRegisterTerminals
from services.terminal_gw.application.download_blacklist import DownloadBlacklist
from services.terminal_gw.application.get_terminal import GetTerminal, ListTerminals
from services.terminal_gw.application.get_upload import GetUpload, ListUploads, ReadUpload
from services.terminal_gw.application.prove import Prove
from services.terminal_gw.application.revoke_psam import RevokePsam
from services.terminal_gw.application.sign_in import SignIn
from services.terminal_gw.application.trust import Trust
from services.terminal_gw.application.upload_batch import Chunk, UploadBatch
from services.terminal_gw.domain.terminal import TerminalSpec
from services.terminal_gw.domain.upload import Carrier, Start, UploadKey


@dataclass(frozen=True, slots=True)
class UseCases:
    """What the methods call."""

    register: BatchRegisterTerminals
    get_terminal: GetTerminal
    list_terminals: ListTerminals
    revoke_psam: RevokePsam
    sign_in: SignIn
    upload_batch: UploadBatch
    get_upload: GetUpload
    list_uploads: ListUploads
    read_upload: ReadUpload
    download_blacklist: DownloadBlacklist
    prove: Prove


class TerminalGatewayApi(TerminalGatewayServiceServicer):
    """Translates; decides nothing.

    Args:
        use_cases: What to call.
        clock: For GetClock.
        trust: Whose certificate holds.
        upload_bytes_max: Told at sign-in, bytes.
        chunk_bytes_max: Told at sign-in, bytes.
    """

    def __init__(
        self, use_cases: UseCases, clock: Clock, trust: Trust, upload_bytes_max: int, chunk_bytes_max: int
    ) -> None:
        self._do = use_cases
        self._trust = trust
        self._clock = clock
        self._upload_bytes_max = upload_bytes_max
        self._chunk_bytes_max = chunk_bytes_max

    async def BatchRegisterTerminals(
        self, request: service_pb.BatchRegisterTerminalsRequest, context: Context
    ) -> service_pb.BatchRegisterTerminalsResponse:
        """See the contract, as for all methods here."""
        participant = _participant(request.participant)
        caller(context).must_own(participant)
        specs = [
            TerminalSpec(
                spec.terminal_number,
                spec.psam_number,
                spec.operator_number,
                spec.device_number,
                spec.industry_code,
                moment(spec.pair_time) if spec.HasField("pair_time") else None,
                moment(spec.pair_until_time) if spec.HasField("pair_until_time") else None,
            )
            for spec in request.terminals
        ]
        done = await self._do.register(participant, specs, request_key(request, context))
        return service_pb.BatchRegisterTerminalsResponse(
            registered_count=done.registered_count, known_count=done.known_count
        )

    async def GetTerminal(self, request: service_pb.GetTerminalRequest, context: Context) -> pb.Terminal:
        """One terminal."""
        return terminal_to_pb(await self._do.get_terminal(_terminal(request.name), caller(context).may_see))

    async def ListTerminals(
        self, request: service_pb.ListTerminalsRequest, context: Context
    ) -> service_pb.ListTerminalsResponse:
        """A page of terminals."""
        name = f"ListTerminals?participant={request.participant}"
        key = page_key(name, request.page_token, (str,))
        asked = _participant(request.participant) or None
        if asked is not None and not caller(context).may_see(asked):
            return service_pb.ListTerminalsResponse()
        size = page_size(request.page_size)
        participant = asked or _only(caller(context))
        terminals = await self._do.list_terminals(participant, str(key[0]) if key else "", size)
        token = page_token(name, (terminals[-1].spec.terminal_number,)) if len(terminals) == size else ""
        return service_pb.ListTerminalsResponse(terminals=map(terminal_to_pb, terminals), next_page_token=token)

    async def RevokePsam(self, request: service_pb.RevokePsamRequest, context: Context) -> pb.Terminal:
        """Revoke the PSAM of a terminal."""
        at = moment(request.revoke_time) if request.HasField("revoke_time") else None
        return terminal_to_pb(
            await self._do.revoke_psam(_terminal(request.terminal), at, request_key(request, context))
        )

    async def SignIn(self, request: service_pb.SignInRequest, context: Context) -> service_pb.SignInResponse:
        """Say who one is and hear what to do."""
        identity = trusted(context, self._trust)
        answer = await self._do.sign_in(identity, introduction_of_pb(request))
        return sign_in_to_pb(answer, self._do.sign_in.thresholds, self._upload_bytes_max, self._chunk_bytes_max)

    async def UploadBatch(
        self, request_iterator: AsyncIterator[service_pb.UploadBatchRequest], context: Context
    ) -> pb.Upload:
        """Receive one batch file."""
        certificate = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
        messages = _messages(request_iterator, context, self._trust, certificate)
        return upload_to_pb(await self._do.upload_batch(messages))

    async def GetUpload(self, request: service_pb.GetUploadRequest, context: Context) -> pb.Upload:
        """One upload."""
        identity = trusted(context, self._trust)
        return upload_to_pb(await self._do.get_upload(UploadKey.parse(request.name), identity.may_see))

    async def ListUploads(
        self, request: service_pb.ListUploadsRequest, context: Context
    ) -> service_pb.ListUploadsResponse:
        """A page of the journal."""
        since = moment(request.store_time_min) if request.HasField("store_time_min") else None
        name = f"ListUploads?store_time_min={since}&sequence_min={request.sequence_min}"
        key = page_key(name, request.page_token, (int,))
        after = int(key[0] or 0) if key else 0
        size = page_size(request.page_size)
        uploads = await self._do.list_uploads(
            _only(caller(context)), max(after, request.sequence_min - 1), size, store_time_min=since
        )
        token = page_token(name, (uploads[-1].sequence,)) if len(uploads) == size else ""
        return service_pb.ListUploadsResponse(uploads=map(upload_to_pb, uploads), next_page_token=token)

    async def ReadUpload(
        self, request: service_pb.ReadUploadRequest, context: Context
    ) -> AsyncIterator[service_pb.ReadUploadResponse]:
        """The bytes of a stored upload."""
        async for offset, data in self._do.read_upload(UploadKey.parse(request.name), request.offset):
            yield service_pb.ReadUploadResponse(offset=offset, data=data)

    async def DownloadBlacklist(
        self, request: service_pb.DownloadBlacklistRequest, context: Context
    ) -> AsyncIterator[service_pb.DownloadBlacklistResponse]:
        """The blacklist for terminals."""
        trusted(context, self._trust)
        async for part in self._do.download_blacklist(request.base_version):
            yield service_pb.DownloadBlacklistResponse(version=part.version, data=part.data)

    async def GetClock(self, request: service_pb.GetClockRequest, context: Context) -> service_pb.GetClockResponse:
        """The centre's clock."""
        response = service_pb.GetClockResponse()
        write(response.centre_time, self._clock.now())
        return response

    async def Prove(self, request: service_pb.ProveRequest, context: Context) -> service_pb.ProveResponse:
        """Recompute."""
        proof = await self._do.prove()
        lines = [
            common_pb.ProofLine(
                invariant=line.invariant,
                statement=line.statement,
                checked_count=line.checked_count,
                broken_count=line.broken_count,
                first_broken=line.first_broken,
            )
            for line in proof.lines
        ]
        return service_pb.ProveResponse(
            lines=lines,
            stored_count=proof.stored.stored_count,
            record_count=proof.stored.record_count,
            total_fen=proof.stored.total_fen,
        )


async def _messages(
    requests: AsyncIterator[service_pb.UploadBatchRequest], context: Context, trust: Trust, certificate: bytes
) -> AsyncIterator[Start | Chunk]:
    sender = trusted(context, trust)
    if sender.participant is None:
        raise CallerUnknown
    async for request in readable(requests):
        # Asked again at every message: whoever is revoked in the middle of a file does not finish it.
        trusted(context, trust)
        if request.WhichOneof("part") == "start":
            said = request.start
            yield Start(
                key=UploadKey(sender.participant, said.sha256),
                size_bytes=said.size_bytes,
                sender=sender.uri,
                certificate=certificate,
                signature=said.signature,
                file_name=printable(said.file_name),
                carrier=Carrier(said.carrier),
            )
        else:
            yield Chunk(request.chunk.offset, request.chunk.data, request.chunk.crc32c)
    trusted(context, trust)


def _participant(name: str) -> str:
    return name.removeprefix("participants/")


def _terminal(name: str) -> str:
    return name.removeprefix("terminals/")


def _only(identity: Identity) -> str | None:
    """Whose rows a list is narrowed to; None for those who see everybody's."""
    return identity.participant
